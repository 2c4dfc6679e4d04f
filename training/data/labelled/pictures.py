"""Picture files: which there are, whether each can be read, and its numbers. Needs Pillow."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...common.errors import UserError
from ...common.program.doors import door
from ...common.program.threads import HelperThreads
from ...common.small_files import expanded
from ..readers.raw import Faults
from ..readers.refusals import IMAGES, placeholder
from .folders import files_in_class_folders
from .labelled import Samples

ENDINGS = (*sorted(IMAGES), ".jfif", ".avif", ".ppm", ".pgm")
DIGITS = "digits"
RESIZE = ("crop", "pad", "stretch")
"""To another shape: cut off at two sides, add black at two sides, or change the proportions."""
_GREY = frozenset(("1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N"))
_LARGEST_AS_IT_IS, _USUAL_SIZE = 96, 64
_SIXTEEN_BITS, _DIGITS_WHITE = 65535.0, 16.0
_ORIENTATION, _FIRST_THAT_LIES = 0x0112, 5
"""The EXIF tag, and its first value by which height and width change places."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures with their classes, and what they are."""

    samples: Samples[Any]
    """Files, or float32 [1, height, width] from 0 to 1."""
    contents: Sequence[object]
    """A value for each picture that is equal for exact copies."""
    sizes: Counter[tuple[int, int]]
    """How many there are of each height and width, as they are seen."""
    is_grey: bool

    def size_for(self, size: int | None) -> tuple[int, int]:
        """Return the height and width that all get: `size`; or their own, if all have one that is small; or 64."""
        one, *others = self.sizes
        is_small = not others and max(one) <= _LARGEST_AS_IT_IS
        return one if size is None and is_small else (size or _USUAL_SIZE,) * 2

    def describe(self, size: tuple[int, int], channels: int) -> str:
        """Return the size that all get, those that they have, if others, and the channels."""
        text = f"{size[0]} x {size[1]}"
        if set(self.sizes) != {size}:
            least, most = min(self.sizes, key=math.prod), max(self.sizes, key=math.prod)
            between = "" if least == most else f" to {most[0]} x {most[1]}"
            text = f"made {text} (they are {least[0]} x {least[1]}{between})"
        return f"{text}, {channels} channel{'s' * (channels > 1)}"


@door("data", "mend it, write it again, or remove it")
def find_pictures(data: str) -> Pictures:
    """Return the pictures of a folder of class folders, or of `digits`, those of scikit-learn.

    Each file is decoded once. Raises `UserError` with all that cannot be read, and without Pillow or scikit-learn.
    """
    if data == DIGITS:
        return _digits()
    _need("PIL.Image", "Pillow")
    samples = files_in_class_folders(expanded(data), ENDINGS, "picture")
    faults, sizes, modes, several = Faults(samples.source), Counter[tuple[int, int]](), set[str](), 0
    with HelperThreads() as pool:
        for found in pool.map(_look_at, samples.items):
            if isinstance(found, str):
                faults.add(found)
                continue
            size, mode, has_several = found
            sizes[size] += 1
            modes.add(mode)
            several += has_several
    faults.check()
    if several:
        note = (
            f"{several:,} {'file holds' if several == 1 else 'files hold'} several pictures: the first of each is taken"
        )
        samples = replace(samples, notes=(*samples.notes, note))
    return Pictures(samples=samples, contents=_contents(samples.items), sizes=sizes, is_grey=modes <= _GREY)


def _digits() -> Pictures:
    """Return the optical recognition of handwritten digits of the UCI repository (Alpaydin and Kaynak, 1998)."""
    _need("sklearn.datasets", "scikit-learn")
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = list((found.images[:, None] / _DIGITS_WHITE).astype(np.float32))
    labels = [str(label) for label in found.target]
    samples = Samples(source=DIGITS, word="picture", items=pictures, labels=labels, own=[""] * len(labels))
    contents = [picture.tobytes() for picture in pictures]
    return Pictures(samples=samples, contents=contents, sizes=Counter({(8, 8): len(labels)}), is_grey=True)


def _contents(paths: Sequence[Path]) -> list[object]:
    """Return what tells exact copies: the hash of a file if others have its size, else its number."""
    sizes = [path.stat().st_size for path in paths]
    counts = Counter(sizes)
    return [
        hashlib.blake2b(path.read_bytes(), digest_size=16).digest() if counts[size] > 1 else number
        for number, (path, size) in enumerate(zip(paths, sizes, strict=True))
    ]


def read_picture(picture: Path | np.ndarray, size: tuple[int, int], channels: int, resize: str) -> np.ndarray:
    """Return a picture as float32 [channels, height, width] from 0 to 1, of `size` (height, width), turned as it is seen.

    What is transparent becomes white; of several pictures in a file the first is taken. Raises `UserError` with the path for
    a file that cannot be read.
    """
    from PIL import Image, ImageOps

    image = Image.fromarray(picture[0]) if isinstance(picture, np.ndarray) else _open(picture, size)
    has_floats, box = image.mode == "F", (size[1], size[0])
    if not has_floats:
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != box:
        how = Image.Resampling.BILINEAR
        if resize == "crop":
            image = ImageOps.fit(image, box, how)
        elif resize == "pad":
            image = ImageOps.pad(image, box, how)
        else:
            image = image.resize(box, how)
    values = np.asarray(image, np.float32) / (1.0 if has_floats else 255.0)
    return np.repeat(values[None], channels, 0) if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _look_at(path: Path) -> tuple[tuple[int, int], str, bool] | str:
    from PIL import Image

    try:
        _open(path, (1, 1))
        with Image.open(path) as opened:
            lies = opened.getexif().get(_ORIENTATION, 1) >= _FIRST_THAT_LIES
            size = (opened.width, opened.height) if lies else (opened.height, opened.width)
            return size, opened.mode, getattr(opened, "n_frames", 1) > 1
    except UserError as error:
        return str(error)


def _open(path: Path, size: tuple[int, int]) -> Any:
    """Return a picture of mode F (numbers from 0 to 1) if it has 16 bits, else of any mode that loses nothing by `convert`."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            opened.draft(None, (2 * size[1], 2 * size[0]))  # a JPEG is decoded small, but not below this
            image = ImageOps.exif_transpose(opened)
            image.load()
    except Exception as error:  # Pillow's plug-ins raise what they like for broken files
        raise UserError(_why(path, error)) from None
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.asarray(image).astype(np.float32) / _SIXTEEN_BITS)
    if image.mode in ("I", "F"):
        raise UserError(f"{path}: numbers of 32 bits, whose black and white are not known; save it with 8 or 16 bits")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image


def _why(path: Path, error: Exception) -> str:
    if not path.is_file():
        return f"{path}: is no file, or a link that leads nowhere; remove it"
    if not path.stat().st_size:
        return f"{path}: is empty (0 bytes); copy or download it again, or remove it"
    if (message := placeholder(path)) is not None:
        return f"{path}: {message}"
    if path.suffix.lower() in (".heic", ".avif"):
        return f"{path}: cannot be read by the Pillow that is installed; save it as JPEG or PNG"
    if type(error).__name__ == "UnidentifiedImageError":
        return f"{path}: is no picture, whatever its name says; replace or remove it"
    reason = " ".join(str(error).replace(repr(str(path)), "it").split())
    return f"{path}: cannot be read as a picture ({reason}); replace or remove it"


def _need(module: str, package: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        raise UserError(f"pictures need {package}: pip install 'slipway[images]'") from None

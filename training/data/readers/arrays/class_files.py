"""Reads a folder of `.npy` files named after classes: one for each class, `hello.npy`, or several, `hello_001.npy`.

One for each class is what many collectors write, sriramvarun0636/Sign-Language-Detector-iOS-App- among them; numbered ones
are `np.save(f"{label}_{count}.npy", ...)`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...landmarks import SIGNER
from ...layouts.mediapipe import POINTS
from ...specs import Reading
from ...text import files_with, nfc, split_of_file
from ..numpy_files import Header, header_of, read_numbers
from ..raw import Faults, RawClips
from . import windows
from .folder_tree import are_signers
from .forms import FRAME, form_of
from .levels import LSA64, signers_of_names
from .pairs import role_of

NAME = "class_files"
LOOKS_FOR = "<class>.npy or <class>_<number>.npy"
USES: tuple[str, ...] = ()

_LOOKED_AT = 20
"""Files whose axes are counted before the folder is read."""
_NUMBER = re.compile(r"(?P<word>.*[^0-9_\-. ])[_\-. ]*[0-9]+")
_NO_CLASSES = frozenset(
    (*POINTS, "lh", "rh", "body", "hands", "mean", "std", "var", "frame", "seq", "clip", "video", "sample")
)
"""What files are named after that belong together or say nothing."""


def detect(path: Path) -> bool:
    """Return whether a folder holds arrays that are certainly named after classes, and no table that may say more."""
    if not path.is_dir() or files_with(path, ".csv", ".tsv", ".jsonl", ".parquet", ".pkl", ".pickle"):
        return False
    files = files_with(path, ".npy")
    if _classes(files) is None or windows.detect(path):
        return False
    try:
        axes = {len(header_of(file).shape) for file in files[:_LOOKED_AT]}
    except UserError:
        return False
    return len(axes) == 1 and axes <= {1, 2, 3, 4}


def read(path: Path, reading: Reading) -> RawClips:
    """Return the arrays of a folder as clips of the classes that their names say.

    Of numbered files each is a frame or a clip, as those of `frame_folders`. Of one file for each class the first axis
    counts clips: rows are clips of one frame. Raises `UserError` with all faults.
    """
    files = files_with(path, ".npy") if path.is_dir() else []
    classes = _classes(files)
    if classes is None:
        raise UserError(f"{path}: its .npy files are not named after classes, as {LOOKS_FOR}")
    faults = Faults(path)
    headers: dict[str, Header] = {}
    for file in files:
        header = header_of(file)
        if header.is_numbers:
            headers[file.name] = header
        else:
            faults.add(f"{file}: holds {header.dtype}, not numbers; store arrays of numbers")
    faults.check()
    shapes = {name: header.shape for name, header in headers.items()}
    form = form_of(path, shapes, 1, reading, may_hold_several=True)
    is_one_each = len(set(classes)) == len(classes)
    notes = list(form.notes)
    if is_one_each and form.kind == FRAME:
        raise UserError(
            f"{path}: each class has one file of one frame, as {form.example}; add other frames of each class"
        )
    for file in files:
        if not form.fits(shapes[file.name]):
            faults.add(f"{file}: {list(shapes[file.name])}, where {form.example} has {list(form.shape)}")
    faults.check()
    parts = [form.clips(shapes[file.name]) for file in files]
    if is_one_each and len(form.shape) - len(form.frame_shape) == 1:
        parts = [(frames, 1) for _, frames in parts]
        notes.append(
            f"each class has one file, as {form.example}, whose rows are read as clips of one frame; if such a file is one "
            "clip, add other clips of its class"
        )
    elif not is_one_each:
        notes.append(
            f"the class is what the name of a file says before its number, as {classes[0]!r} of {files[0].name}"
        )
    counts = [count for count, _ in parts]
    ends = np.cumsum([0, *(count * frames for count, frames in parts)])
    values = np.empty((int(ends[-1]), *form.frame_shape), dtype=np.float32)
    for file, start, stop in zip(files, ends[:-1], ends[1:], strict=True):
        read_numbers(file, headers[file.name], values[start:stop])
    first = np.cumsum([0, *counts])

    def where(index: int) -> str:
        number = int(np.searchsorted(first, index, side="right")) - 1
        return f"{files[number]}, clip {index - int(first[number])}" if counts[number] > 1 else str(files[number])

    def of_clips(texts: Sequence[str]) -> list[str]:
        return [text for text, count in zip(texts, counts, strict=True) for _ in range(count)]

    groups = {} if max(counts) == 1 or is_one_each else {"recording": of_clips([nfc(file.stem) for file in files])}
    if signers := signers_of_names([nfc(file.stem) for file in files]):
        groups[SIGNER] = of_clips(signers)
        notes.append(f"the signer is in the names of the files, as {signers[0]!r} of {files[0].name}")
    return RawClips(
        name=nfc(path.resolve().name),
        source_format=NAME,
        values=values,
        offsets=np.concatenate([[0], np.cumsum(np.repeat([frames for _, frames in parts], counts))]).astype(np.int64),
        labels=of_clips(classes),
        groups=groups,
        notes=tuple(notes),
        where=where,
    )


def _classes(files: Sequence[Path]) -> list[str] | None:
    """Return the class of each file by its name; `None` where the names do not certainly say classes."""
    stems = [nfc(file.stem) for file in files]
    if stems and all(matches := [LSA64.match(stem) for stem in stems]):
        return [match["label"] for match in matches if match]
    words = [match["word"] if (match := _NUMBER.fullmatch(stem)) else stem for stem in stems]
    known = Counter(words)
    has_other = any(
        re.search(r"[0-9]", word) or word.lower() in _NO_CLASSES or role_of(word) or split_of_file(Path(f"{word}.npy"))
        for word in known
    )
    if len(known) < 2 or has_other or are_signers(stems) or are_signers(list(known)):
        return None
    if max(known.values()) == 1:
        return words if words == stems else None
    return words

"""Files that are not read: what each of them is, and the line that makes data of it.

A pickle runs code when it is loaded, so none ever is: what is in it is told by its opcodes (`pickletools`), which run nothing.
The commonest one is `data.pickle` of the tutorial https://github.com/computervisioneng/sign-language-detector-python, a dict
of `data` (42 or 84 numbers a row) and `labels`; OpenHands (https://github.com/AI4Bharat/OpenHands) keeps a pickle of
`keypoints` and `confidences` for each video of WLASL and other sets.
"""

from __future__ import annotations

import itertools
import json
import pickletools
import re
import shlex
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...common.errors import UserError
from ..text import LABEL_COLUMNS, TEXT_COLUMNS, find_column
from .numpy_files import header_of

_FIRST_BYTES = 4096
_FIRST_BYTES_OF_HDF5 = 1 << 20
_MOST_OPCODES = 40

VIDEOS = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv"))
IMAGES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic"))
PICKLES = frozenset((".pickle", ".pkl", ".p", ".pck", ".joblib"))
CONVERTED = frozenset((".mat", ".h5", ".hdf5", ".xlsx", ".xls", ".feather", ".pt", ".pth"))
_MODELS = frozenset((".keras", ".tflite", ".task", ".onnx", ".ckpt", ".safetensors", ".pb"))
_UNPACK = {
    ".tar": "tar -xf",
    ".tar.gz": "tar -xf",
    ".tgz": "tar -xf",
    ".tar.bz2": "tar -xf",
    ".tar.xz": "tar -xf",
    ".zip": "unzip",
    ".7z": "7z x",
    ".rar": "unrar x",
    ".gz": "gunzip -k",
    ".bz2": "bunzip2 -k",
    ".xz": "unxz -k",
}


def refusal(file: Path) -> str | None:
    """Return what a file is that no reader reads and what to do, for an error; `None` for any other file."""
    start, name = _start(file), file.name.lower()
    if (message := damage(file)) is not None:
        return message
    suffix = next((ending for ending in _UNPACK if name.endswith(ending)), file.suffix.lower())
    if start.startswith(b"\x89HDF\r\n\x1a\n") or suffix in (".h5", ".hdf5"):
        return _hdf5(file, suffix)
    if suffix == ".npy" and _is_pickled_object(file):
        out = file.with_suffix("")
        return f"{_PICKLED_OBJECT} it holds a list of clips for each class, convert it:{lines(_BY_CLASS, file, out)}"
    if suffix == ".mat":
        return _converted(file, "a MATLAB file", ".npz", _MATLAB, "numpy and scipy")
    if suffix in (".xlsx", ".xls"):
        return _converted(file, "an Excel sheet", ".csv", _EXCEL, "pandas and openpyxl")
    if suffix == ".feather":
        return _converted(file, "a Feather file", ".parquet", _FEATHER, "pandas")
    if suffix in _MODELS or start[4:8] == b"TFL3":
        return _MODEL
    if suffix in (".pt", ".pth"):
        return _converted(file, "a file of weights or tensors of torch", ".npy", _TENSOR, "numpy and torch")
    if suffix in (".tfrecord", ".tfrecords", ".tfrec"):
        return "holds records of TensorFlow; write each clip as <class>/<clip>.npy, [frames, points, coords], with TensorFlow"
    if suffix in _UNPACK:
        return f"is an archive; unpack it first: {_UNPACK[suffix]} {shlex.quote(str(file))}"
    if suffix in VIDEOS:
        line = f"slipway data record {shlex.quote(str(file))} --label CLASS --out FOLDER"
        return f"is a video, not landmarks; extract them first, class by class: {line}"
    if suffix in IMAGES:
        return f"is an image, not landmarks; {_EXTRACT}"
    return None


def _is_pickled_object(file: Path) -> bool:
    """Return whether an `.npy` holds one object, as `np.save` writes a dict."""
    with suppress(UserError):
        header = header_of(file)
        return header.dtype.hasobject and header.shape == ()
    return False


_PICKLED_OBJECT = "holds a pickled object, which is not loaded: a pickle can run any code; if you trust it and"
_BY_CLASS = (
    "import numpy as np; from pathlib import Path; d = np.load({file}, allow_pickle=True).item(); "
    "[(Path({out}, str(k)).mkdir(parents=True, exist_ok=True), "
    "[np.save(Path({out}, str(k), str(i)), c) for i, c in enumerate(v)]) for k, v in d.items()]"
)
_NUMBER = re.compile(r"\s*[-+0-9.eE]*\s*")
_WORDS = re.compile(r"[^\d\[(]*?[^\W\d]+\s+[^\W\d]")
_LIST = re.compile(r"\s*[-+\d\[(]")
_MODEL = "is a trained model, not data; name the landmarks that it was trained on"
_EXTRACT = (
    "--task images learns classes of pictures; for signs extract landmarks first with MediaPipe's hand landmarker and save "
    "them as a CSV: label, then x and y of each point"
)
_MOST_NUMBERS = 3
"""Columns of numbers in a table of texts, such as an identifier and a label."""


def texts_in(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """Return what to do with a table of texts with a class each; `None` for another table, by its first rows."""
    numbers, found = 0, None
    for name, *cells in zip(header, *rows, strict=False):
        is_usual, is_label = (find_column([name], names) == 0 for names in (TEXT_COLUMNS, LABEL_COLUMNS))
        has_words = 2 * sum(bool(_WORDS.match(cell)) for cell in cells) > len(cells) < 2 * len(set(cells))
        if all(_NUMBER.fullmatch(cell) for cell in cells):
            numbers += 1
        elif found is None and (is_usual or (has_words and not is_label)) and not _LIST.match("".join(cells)):
            found = name
    if found is None or numbers > _MOST_NUMBERS:
        return None
    return f"the column {found!r} holds texts, not landmarks; --task text learns from them"


def damage(file: Path) -> str | None:
    """Return what a file is whose content is not what its name says, and what to do; `None` for any other file."""
    start, suffix = _start(file), file.suffix.lower()
    if (message := placeholder(file)) is not None:
        return message
    if _is_pickle(start) or (suffix in PICKLES and not _is_archive(start)):
        return _pickle(file)
    if not start:
        return "is empty (0 bytes); copy or download it again"
    if start.startswith(b"PAR1") and suffix not in (".parquet", ".pq"):
        return f"is a Parquet file; rename it to {file.with_suffix('.parquet').name}"
    if start.startswith(b"\x93NUMPY") and suffix != ".npy":
        return f"is an array of NumPy; rename it to {file.with_suffix('.npy').name}"
    if _is_archive(start) and suffix in (".npz", ".zip", ".npy", ".csv", ".json"):
        return _zip(file, suffix)
    return None


def placeholder(file: Path) -> str | None:
    """Return what stands in the place of a file that was not downloaded, and what to do; `None` for any other file."""
    start = _start(file)
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a pointer of Git LFS, not the data; run git lfs pull in its repository"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page (HTML), as a download or error page is saved; download the file itself"
    return None


def _start(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_FIRST_BYTES)


def _is_archive(start: bytes) -> bool:
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _is_pickle(start: bytes) -> bool:
    """Return whether a file begins as pickles of protocol 2 to 5 do."""
    return len(start) > 2 and start[0] == 0x80 and 2 <= start[1] <= 5 and start[2:3] in b"\x95}]c(XqK\x8c"


def _zip(file: Path, suffix: str) -> str | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return None  # its reader tells what is wrong
    if any(name.endswith(".npy") for name in names):
        if suffix == ".npz" or any("/" in name for name in names):  # a zip of a folder such as MP_Data
            return None
        return f"is an archive of NumPy; rename it to {file.with_suffix('.npz').name}"
    if any(name.startswith("xl/") for name in names):
        return f"is an Excel sheet; rename it to {file.with_suffix('.xlsx').name}"
    if suffix == ".zip":
        return None
    shown = ", ".join(names[:3]) or "nothing"
    return f"is a zip archive without arrays (it holds {shown}); unpack it first: unzip {shlex.quote(str(file))}"


# pickles


def _pickle(file: Path) -> str:
    """Return how to convert a pickle, by the words in it."""
    words = _words_of_pickle(file)
    if words & _WORDS_OF_MODELS:
        return _MODEL
    known = (what for word, *what in _PICKLED if word in words)
    what, program, ending = next(known, ("is a pickle", _ARRAY, ".npy"))
    out = file.with_suffix(ending)
    shown = file.parent if "{folder}" in program else out
    return (
        f"{what}, which is not loaded: a pickle can run any code; if you trust it, convert it:\n"
        f"  {_line(program, file, out)}\n  {_inspect(shown)}"
    )


def _words_of_pickle(file: Path) -> set[str]:
    """Return the first texts in a pickle, and the packages it names, without loading it."""
    words: set[str] = set()
    # A pickle that is cut short is one all the same.
    with suppress(ValueError, OSError, EOFError, IndexError), file.open("rb") as opened:
        for _, argument, _ in itertools.islice(pickletools.genops(opened), _MOST_OPCODES):
            if isinstance(argument, str):
                words |= {argument, argument.split(".")[0], argument.split(" ")[0]}
    return words


_TUTORIAL = (
    'import pickle, numpy as np; d = pickle.load(open({file}, "rb")); X = [list(x) for x in d["data"]]; n = max(map(len, X)); '
    'np.savez({out}, X=np.array([x + [np.nan] * (n - len(x)) for x in X], "f4"), y=np.array(d["labels"]).astype(str))'
)
_OPENHANDS = (
    "import pickle, numpy as np; from pathlib import Path; "
    '[np.save(f.with_suffix(".npy"), np.where(np.array(d["confidences"])[..., None] > 0, d["keypoints"], np.nan)) '
    'for f in Path({folder}).glob("*{suffix}") for d in [pickle.loads(f.read_bytes())]]'
)
_FRAME = "import pandas; pandas.read_pickle({file}).to_csv({out}, index=False)"
_ARRAY = 'import pickle, numpy as np; np.save({out}, np.array(pickle.load(open({file}, "rb")), "f4"))'
_TENSOR = "import torch, numpy as np; np.save({out}, torch.load({file}, weights_only=True).numpy())"
_MATLAB = (
    "import numpy as np, scipy.io; np.savez({out}, **{{k: v.ravel() if v.ndim == 2 and 1 in v.shape else v "
    "for k, v in scipy.io.loadmat({file}).items() if isinstance(v, np.ndarray)}})"
)
_HDF5 = (
    'import h5py, numpy as np; d = {{}}; h5py.File({file}).visititems(lambda k, v: d.update({{k.replace("/", "_"): v[()]}}) '
    "if isinstance(v, h5py.Dataset) else None); np.savez({out}, **d)"
)
_EXCEL = "import pandas; pandas.read_excel({file}).to_csv({out}, index=False)"
_FEATHER = "import pandas; pandas.read_feather({file}).to_parquet({out})"

# What a pickle is that has a word among its first ones, the program that converts it, and the ending of what it writes.
_PICKLED = (
    ("keypoints", "is a pickle of the poses of a video, one of its folder", _OPENHANDS, ".npy"),
    ("data", "is a pickle of data and labels", _TUTORIAL, ".npz"),
    ("pandas", "is a pickled table of pandas", _FRAME, ".csv"),
    ("numpy", "is a pickled array", _ARRAY, ".npy"),
)
_WORDS_OF_MODELS = frozenset(("sklearn", "model", "torch", "keras", "tensorflow", "xgboost"))


def _line(program: str, file: Path, out: Path) -> str:
    """Return the command that runs a program of one line on a file."""
    file_text, out_text, folder = (json.dumps(str(path), ensure_ascii=False) for path in (file, out, file.parent))
    filled = program.format(file=file_text, out=out_text, folder=folder, suffix=file.suffix)
    return f"python -c {shlex.quote(filled)}"


def lines(program: str, file: Path, out: Path) -> str:
    """Return the two lines, to be put behind an error, that convert a file by a program of one line, and look at the result."""
    return f"\n  {_line(program, file, out)}\n  {_inspect(out)}"


def _inspect(path: Path) -> str:
    return f"slipway data inspect {shlex.quote(str(path))}"


def _converted(file: Path, what: str, ending: str, program: str, packages: str) -> str:
    out = file.with_suffix(ending)
    return f"is {what}; convert it (with {packages} installed):\n  {_line(program, file, out)}\n  {_inspect(out)}"


def _hdf5(file: Path, suffix: str) -> str:
    with file.open("rb") as opened:
        content = opened.read(_FIRST_BYTES_OF_HDF5)
    if b"model_config" in content or b"keras_version" in content or b"layer_names" in content:
        return _MODEL
    what = "a MATLAB 7.3 file, whose axes come in reverse order" if suffix == ".mat" else "an HDF5 file"
    return _converted(file, what, ".npz", _HDF5, "numpy and h5py")

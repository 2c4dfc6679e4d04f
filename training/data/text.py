"""Text in data files and folders: encodings, names of files, columns, classes and splits."""

from __future__ import annotations

import codecs
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from encodings import aliases
from functools import lru_cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from ..common.errors import UserError, nearest
from ..common.small_files import reason_of

LANDMARK_COLUMNS = ("landmarks", "keypoints", "points", "pose", "sequence", "data")
LABEL_COLUMNS = (
    *("label", "labels", "sign", "class", "gloss", "word", "target", "labelname", "classname", "classlabel", "classid"),
    *("labelid", "gesture", "letter", "action", "category", "symbol", "alphabet", "character"),
)
SIGNER_COLUMNS = (
    *("signer", "signerid", "participantid", "participant", "speaker", "speakerid", "subject", "subjectid", "person"),
    *("personid", "user", "userid", "username", "performer", "actor"),
)
TEXT_COLUMNS = (
    *(
        "text",
        "sentence",
        "content",
        "review",
        "comment",
        "message",
        "document",
        "body",
        "tweet",
        "utterance",
        "question",
    ),
    *("description", "title", "sms", "reviewtext", "rawtext", "article", "abstract", "headline", "query", "v2"),
)
SPLIT_COLUMNS = ("split", "subset", "partition")
TABLES_OF_CLIPS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
"""Endings of tables that may name a file for each clip."""

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
    "": "",
}
_BLOCK_BYTES = 1 << 16
_MOST_CELL = 40
_MOST_DIGITS = 4300
"""Python makes no number of more."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SCRIPTS = (
    ("cp949", "[\uac00-\ud7a3\u3131-\u318e]+"),
    ("shift_jis", "(?=.*[\u3041-\u30ff])[\u3001-\u30ff\u4e00-\u9fff]+"),
    ("euc_jp", "(?=.*[\u3041-\u30ff])[\u3001-\u30ff\u4e00-\u9fff]+"),
    ("gb18030", "[\u4e00-\u9fff]+"),
    ("big5", "[\u4e00-\u9fff]+"),
    ("latin-1", "[\u00c0-\u00ff]+"),
)
"""Encodings by what their text is made of, the most certain first."""
_STRAYS = frozenset(
    ("__pycache__", "__macosx", "logs", "thumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin")
)
_Arguments = ParamSpec("_Arguments")
_Found = TypeVar("_Found")


@dataclass(kw_only=True)
class OneRead:
    """What is known while a source is read."""

    found: dict[object, object] = field(default_factory=dict)
    """What functions returned, by function and arguments."""
    has_used_encoding: bool = False
    """Whether a text file was opened that may have another encoding than UTF-8."""


_THIS_READ: ContextVar[OneRead | None] = ContextVar("this_read", default=None)


def nfc(text: str) -> str:
    """Return a text in the Unicode form NFC, in which equal names are equal: macOS writes the names of files in NFD."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def encoding_of(path: Path, encoding: str | None = None) -> str:
    """Return the name of the codec that a text file is written in: UTF-8, UTF-16 with a mark, or else `encoding`.

    A file that is UTF-8 beyond doubt is read so whatever `encoding` says: the files of one folder may differ. Raises
    `UserError` for an unknown encoding, and for a file of another one, which names the likely one.
    """
    wanted = None if encoding is None else _codec(encoding)
    if encoding is not None and (this := _THIS_READ.get()) is not None:
        this.has_used_encoding = True
    try:
        marked = marked_encoding(path)
        first = marked or "utf-8"
        bad = _first_bad_line(path, first)
        if bad is None and (marked or wanted in (None, "utf-8") or _is_surely_utf8(path)):
            return first
        if marked is None and wanted not in (None, "utf-8"):
            bad = _first_bad_line(path, str(wanted))
            if bad is None:
                return str(wanted)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)})") from None
    assert bad is not None
    number, line = bad
    likely = None if marked else _likely(line)
    if likely is None:
        raise UserError(f"{path}: cannot be read as text; save it as UTF-8 text")
    codec, text = likely
    raise UserError(
        f"{path}, line {number}: is not {encoding or 'UTF-8'} text, it is likely {codec} ({text!r}); "
        f"add --encoding {codec}, or save the file as UTF-8"
    )


def check_encoding(encoding: str) -> None:
    """Raise `UserError` for the name of an encoding that there is not."""
    _codec(encoding)


def marked_encoding(path: Path) -> str | None:
    """Return the codec that the mark at the start of a file names, or `None`. Raises `OSError`."""
    with path.open("rb") as file:
        start = file.read(4)
    return next((codec for mark, codec in _MARKS if start.startswith(mark)), None)


def read_text(path: Path, encoding: str | None = None) -> str:
    """Return the text of a file, without a mark of its encoding. Raises `UserError` as `encoding_of`."""
    return path.read_bytes().decode(encoding_of(path, encoding)).removeprefix("\ufeff")


def _codec(encoding: str) -> str:
    """Return the codec of an encoding's name; for EUC-KR its superset cp949, which Windows writes under this name."""
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)
    except LookupError:
        known = {name.replace("_", "-") for name in (*aliases.aliases, *aliases.aliases.values())}
        raise UserError(
            f"--encoding {encoding}: unknown{nearest(encoding.lower().replace('_', '-'), sorted(known))}; "
            "for example cp949, euc-kr, shift_jis, latin-1",
            option="encoding",
        ) from None
    return "cp949" if name == "euc_kr" else name


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _first_bad_line(path: Path, codec: str) -> tuple[int, bytes] | None:
    """Return number and bytes of the line at which a file is not text of a codec; `None` if it is."""
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for block in _blocks(path):
            # A block of ASCII is text, and need not be copied to be known as that.
            if codec != "utf-8" or decoder.getstate()[0] or not block.isascii():
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeError:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode(codec)
                except UnicodeError:
                    return number, line
        return 1, b""
    return None


def _is_surely_utf8(path: Path) -> bool:
    """Return whether a file that is UTF-8 has characters of three bytes, or none but ASCII: no other text looks so."""
    is_ascii = True
    decoder = codecs.getincrementaldecoder("utf-8")()
    for block in _blocks(path):
        if not block.isascii() or not is_ascii:
            is_ascii = False
            if any(character > "\u07ff" for character in decoder.decode(block)):
                return True
    return is_ascii


def _likely(line: bytes) -> tuple[str, str] | None:
    """Return the encoding in which a line's letters beyond ASCII are all of one script, and its first such cell."""
    if b"\0" in line:
        return None
    for codec, letters in _SCRIPTS:
        with suppress(UnicodeError):
            text = line.decode(codec)
            beyond = "".join(character for character in text if character > "\x7f")
            if re.fullmatch(letters, beyond):
                cell = next(cell for cell in re.split(r"[,;\t\r\n]", text) if not cell.isascii()).strip(" \"'")
                return codec, cell if len(cell) <= _MOST_CELL else f"{cell[: _MOST_CELL - 3]}..."
    return None


def is_stray(name: str) -> bool:
    """Return whether a file or a folder is one that tools leave behind: `.DS_Store`, `._0.npy`, `Logs`, `Thumbs.db`."""
    return name.startswith((".", "~$")) or name.lower() in _STRAYS


@contextmanager
def one_read() -> Iterator[OneRead]:
    """Within this block a source does not change: what `once_a_read` marks is found out once for each file and folder."""
    this = OneRead()
    token = _THIS_READ.set(this)
    try:
        yield this
    finally:
        _THIS_READ.reset(token)


def once_a_read(function: Callable[_Arguments, _Found]) -> Callable[_Arguments, _Found]:
    """Return a function that keeps what it returned for its arguments until the end of `one_read`."""

    @wraps(function)
    def kept(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Found:
        this = _THIS_READ.get()
        if this is None:
            return function(*args, **kwargs)
        key = (function, args, *kwargs.items())
        if key not in this.found:
            this.found[key] = function(*args, **kwargs)
        return cast(_Found, this.found[key])

    return kept


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The names in a folder as the disk has them, in natural order, without strays; `nfc` before comparing them."""

    folders: Sequence[str]
    files: Sequence[str]
    """All that are no folders."""
    not_files: frozenset[str]
    """Those of `files` that cannot be read: links that lead nowhere, sockets."""


@once_a_read
def listing_of(folder: Path) -> Listing:
    """Return what is in a folder. Reads the folder once and asks for no file's size."""
    folders: list[str] = []
    files: list[str] = []
    not_files: set[str] = set()
    with os.scandir(folder) as found:
        for entry in found:
            if is_stray(entry.name):
                continue
            if is_folder(entry):
                folders.append(entry.name)
            else:
                files.append(entry.name)
                if not is_regular(entry):
                    not_files.add(entry.name)
    # Names first: the disk has 1 and 01 in any order.
    ordered = [sorted(sorted(names), key=natural_key) for names in (folders, files)]
    return Listing(folders=ordered[0], files=ordered[1], not_files=frozenset(not_files))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a link that leads in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_regular(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry can be read as a file; false for a link that leads nowhere.

    Raises `UserError` for a pipe, a socket and a device with the name of a file: reading one may never end.
    """
    try:
        if entry.is_file():
            return True
        kind = entry.stat().st_mode
    except OSError:
        return False
    if stat.S_ISDIR(kind) or not os.path.splitext(entry.name)[1]:
        return False
    raise UserError(f"{entry.path}: is a pipe, a socket or a device, not a file; remove it")


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder in natural order, without strays."""
    return [folder / name for name in listing_of(folder).folders]


def files_with(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files of a folder with one of the given endings, in natural order, without strays."""
    found = listing_of(folder)
    return [folder / name for name in found.files if name.lower().endswith(suffixes) and name not in found.not_files]


@lru_cache(maxsize=1 << 14)
def _plain(cell: str) -> str:
    """Return the name of a column without what does not matter in it."""
    return re.sub(r"[\s_-]", "", nfc(cell)).lower()


def find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the index of the first of `names` in a header, or `None`; case, spaces, `_` and `-` do not matter."""
    plain = [_plain(cell) for cell in header]
    return next((plain.index(name) for name in names if name in plain), None)


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which "2" comes before "10".

    >>> sorted(["seq10", "seq2"], key=natural_key)
    ['seq2', 'seq10']
    """
    pieces = re.findall(r"[0-9]+|[^0-9]+", nfc(text))
    return tuple(
        (0, int(piece), "") if piece.isdecimal() and len(piece) <= _MOST_DIGITS else (1, 0, piece) for piece in pieces
    )


def plain_label(value: object) -> str:
    """Return a label as text in NFC: the whole number 3.0 is "3"."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = nfc(value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)).strip()
    return text[:-2] if re.fullmatch(r"-?[0-9]+\.0", text) else text


def split_name(text: str, where: str | Callable[[], str]) -> str:
    """Return train, validation, test or an empty string for a split's name as data sets spell it.

    `where` is its place for the error, or a function of it where a place is costly to know.
    """
    try:
        return _SPLIT_NAMES[text.strip().lower()]
    except KeyError:
        place = where if isinstance(where, str) else where()
        raise UserError(f"{place}: {text!r} is not a split; name it train, validation or test") from None


def is_split(text: str) -> bool:
    """Return whether a text is a split's name as data sets spell it."""
    return bool(_SPLIT_NAMES.get(text.strip().lower()))


def split_of_file(path: Path) -> str:
    """Return the split in the name of a file or folder (`test_words.csv`), or an empty string."""
    words = re.findall(r"[a-z]+", path.stem.lower())
    return next((_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES), "")


def only_file(files: Sequence[Path], folder: Path, kind: str) -> Path:
    """Return the one file of a kind in a folder. Raises `UserError` for none or several."""
    if not files:
        raise UserError(f"{folder}: no {kind} found")
    if len(files) > 1:
        names = ", ".join(sorted(file.name for file in files))
        raise UserError(f"{folder}: holds more than one {kind} ({names}); name one of them, as {min(files)}")
    return files[0]

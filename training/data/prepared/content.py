"""The key of a prepared data set: the content of its source, the options, and the code and versions that read it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, NamedTuple

import numpy as np

from ...common.errors import UserError
from ...common.small_files import expanded, read_json
from ...storage.files import sha256_of, write_durably
from ..readers.label_names import is_label_file, is_names_file
from ..specs import DataSpec, Reading
from ..text import TABLES_OF_CLIPS, files_with

INDEX_SCHEMA_VERSION = 1

_MOST_SOURCE_BYTES = 64 << 30
"""Of a source that is cached: a larger one is a folder that holds more than a data set."""

_RACY_SECONDS = 2.0
"""A file that changed so shortly before it was hashed may change again with the same times: file systems round them."""

_MOST_HEADER_BYTES = 1 << 20
_MOST_TABLES = 20
"""Tables of a folder that are looked into."""

_CODE = Path(__file__).resolve().parents[1]
_OTHER_CODE = tuple(_CODE.parent / "common" / name for name in ("apportion.py", "small_files.py"))
"""Other code that decides a prepared data set: how splits are apportioned, and values of JSON and YAML are understood."""

_PACKAGES = ("numpy", "datasets", "pyarrow", "pose-format")

_TABLES = (".csv", ".tsv", ".data", ".txt")
_TABLE_READERS = ("landmark_csv", "frame_table", "libras", "spoter")
_BESIDE_TABLES = (".csv", ".tsv", ".names")
"""Files beside a table that may hold its segments and the names of its classes."""
_BESIDE_ARRAYS = (".npy", ".json", ".txt")
"""Files beside an `.npy` that may hold its labels and the names of its classes."""
_NAMES_FILES = re.compile(rb"path|file", re.IGNORECASE)
"""In the header of a table: its rows may name other files."""

_LISTS = ("state.json", "dataset_dict.json", "README.md", ".huggingface.yaml")
"""Files that name other files to a reader."""
_ELSEWHERE = re.compile(rb"(?m)(?:^|[\s\"',;\[])(?:/|~|\.\./|[a-z][a-z0-9+.-]*://)|/\.\./")
"""A path in one of them that may lead out of the folder."""


class NotCacheable(Exception):  # noqa: N818 - the reason why something is not done, not a failure
    """A data set is not kept in the cache; the message says why."""


class SourceFile(NamedTuple):
    """A file of a source."""

    name: str
    """Relative to the source's folder."""
    path: str
    stat: os.stat_result


class FileDigests:
    """The digests of a source's files, stored between runs, so that only changed files are hashed again.

    A file is unchanged if its path, size, times and inode are. An index that cannot be read counts as empty.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        self._source = os.path.abspath(source)
        name = hashlib.sha256(os.fsencode(self._source)).hexdigest()[:24]
        self._path = folder / f"{name}.json"
        self._known = self._read()
        self._used: dict[str, Any] = {}

    def of(self, file: SourceFile) -> str:
        """Return the SHA-256 of a file. Raises `NotCacheable` if it changes meanwhile, and `OSError`."""
        entry, identity = self._known.get(file.name), _identity(file.stat)
        if isinstance(entry, list) and entry[:-1] == identity and isinstance(entry[-1], str):
            self._used[file.name] = entry
            return entry[-1]
        settled_ns = time.time_ns() - int(_RACY_SECONDS * 1e9)
        digest = sha256_of(Path(file.path))
        if _identity(os.stat(file.path)) != identity:
            raise NotCacheable(f"{file.path} changed while it was read")
        if max(file.stat.st_mtime_ns, file.stat.st_ctime_ns) < settled_ns:
            self._used[file.name] = [*identity, digest]
        return digest

    def save(self) -> None:
        """Store the digests that were used, in place of the earlier ones."""
        is_unchanged, self._known = self._used == self._known, dict(self._used)
        with suppress(OSError):
            if is_unchanged:
                os.utime(self._path)
                return
            content = {"schema_version": INDEX_SCHEMA_VERSION, "source": self._source, "files": self._used}
            # A new name: another process may be writing the same index.
            handle, partial = tempfile.mkstemp(prefix=".partial-", dir=self._path.parent)
            os.close(handle)
            try:
                write_durably(Path(partial), [json.dumps(content, separators=(",", ":")).encode()])
                os.replace(partial, self._path)
            except OSError:
                os.unlink(partial)
                raise

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = read_json(self._path)
            is_own = (content["schema_version"], content["source"]) == (INDEX_SCHEMA_VERSION, self._source)
            if is_own and isinstance(content["files"], dict):
                return content["files"]
        return {}


def data_key(spec: DataSpec, seed: int, digests: FileDigests | None) -> str:
    """Return the key of a prepared data set: equal only if preparing gives the same bytes.

    `digests` are those of the source's files; `None` for generated data. Raises `NotCacheable` for a source that may refer
    to files elsewhere, changes meanwhile or is too large, and `OSError` if it cannot be read.
    """
    if digests is not None:
        path = expanded(spec.source)
        if not path.is_file() and not path.is_dir():
            raise NotCacheable(f"{path} is neither a file nor a folder")  # a pipe or a device may never end
        _check_clips(path, spec.reading)
    layout = None if spec.reading.layout is None else expanded(spec.reading.layout)
    facts = {
        **asdict(spec),
        "layout_file": sha256_of(layout) if layout is not None and layout.is_file() else None,
        "source": None if digests is None else _digest_of_source(expanded(spec.source), spec.reading.format, digests),
        "seed": seed,
        "code": _digest_of_code(),
        "versions": [_version(package) for package in _PACKAGES],
        # The instructions of the processor decide the order in which numpy sums.
        "machine": [platform.machine(), sys.byteorder, np.show_config(mode="dicts").get("SIMD Extensions")],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def list_source(path: Path, data_format: str | None) -> tuple[list[str], list[SourceFile]]:
    """Return the names that decide what is read from a source, beside those of its files; and the files, by name.

    Of a folder these are all files, except version control's, whichever of them a reader takes. Raises `OSError`.
    """
    names: list[str] = []
    files: list[SourceFile] = []
    if path.is_dir():
        names.append(path.resolve().name)  # a data set is named after the folder to which links lead
        _walk(os.fspath(path), "", frozenset(), names, files)
        return names, files
    suffix = path.suffix.lower()
    is_table = suffix in _TABLES if data_format is None else data_format in _TABLE_READERS
    if _NAMES_FILES.search(_header(path)):
        # The clips of a table of files stand in the folder around it, somewhere.
        names.append(path.name)
        more, files = list_source(path.parent, None)
        return [*names, *more], files
    if is_table:
        names.append(path.parent.resolve().name)
    beside = sorted(other for other in path.parent.iterdir() if other != path and _belongs(other, suffix, is_table))
    for file in (path, *(other for other in beside if other.is_file())):
        files.append(SourceFile(file.name, os.fspath(file), file.stat()))
    return names, files


def _belongs(other: Path, suffix: str, is_table: bool) -> bool:
    """Return whether a reader of a file may read another one that stands beside it."""
    kind = other.suffix.lower()
    if is_table:
        return kind in _BESIDE_TABLES or (kind in (".json", ".txt") and is_label_file(other))
    return (suffix == ".npy" and kind in _BESIDE_ARRAYS) or (suffix == ".npz" and is_names_file(other.name))


def _header(path: Path) -> bytes:
    """Return the names of the columns of a table; nothing for other files."""
    suffix = path.suffix.lower()
    if suffix in (*_TABLES, ".jsonl"):
        with path.open("rb") as opened:
            return opened.readline(_MOST_HEADER_BYTES)
    if suffix == ".parquet":
        from pyarrow import ArrowException, parquet

        with suppress(ArrowException):
            return "\n".join(parquet.read_schema(path).names).encode()
    return b""


def _walk(
    folder: str, prefix: str, above: frozenset[tuple[int, int]], names: list[str], files: list[SourceFile]
) -> None:
    """Add what is in a folder to `names` and `files`; links are followed, but never in circles."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        try:
            stat = entry.stat()
            mode = stat.st_mode
        except FileNotFoundError:  # a link that leads nowhere
            mode = 0
        name = prefix + entry.name
        if S_ISREG(mode):
            files.append(SourceFile(name, entry.path, stat))
        elif not S_ISDIR(mode) or entry.name != ".git":
            names.append(f"{name}/" if S_ISDIR(mode) else name)
            if entry.is_symlink():
                names.append(Path(entry.path).resolve().name)
            if S_ISDIR(mode) and (inode := (stat.st_dev, stat.st_ino)) not in above:
                _walk(entry.path, f"{name}/", above | {inode}, names, files)


def _digest_of_source(path: Path, data_format: str | None, digests: FileDigests) -> str:
    names, files = list_source(path, data_format)
    num_bytes = sum(file.stat.st_size for file in files)
    if num_bytes > _MOST_SOURCE_BYTES:
        raise NotCacheable(f"{path} holds {num_bytes / 2**30:,.0f} GiB, more than is hashed")
    digest = hashlib.sha256()
    for name in names:
        digest.update(b"n" + os.fsencode(name) + b"\0")
    for file in files:
        _check_references(file)
        digest.update(b"f" + os.fsencode(file.name) + b"\0" + digests.of(file).encode())
    digests.save()
    return digest.hexdigest()


def _check_clips(path: Path, reading: Reading) -> None:
    """Raise `NotCacheable` for a table of clips whose files lie in other folders than its own."""
    folder = path if path.is_dir() else path.parent
    tables = files_with(path, *TABLES_OF_CLIPS)[:_MOST_TABLES] if path.is_dir() else [path]
    if not any(_NAMES_FILES.search(_header(table)) for table in tables):
        return
    # Imported here: what it imports takes time, and few data name files.
    from ..readers.tables import manifest

    if reading.format not in (None, manifest.NAME):
        return
    with suppress(UserError):  # of data that are not read at all
        clips = manifest.clip_files(path, reading) if manifest.detect(path) else []
        outside = next((clip for clip in clips if not clip.resolve().is_relative_to(folder.resolve())), None)
        if outside is not None:
            raise NotCacheable(f"{path} names files elsewhere, as {outside}")


def _check_references(file: SourceFile) -> None:
    """Raise `NotCacheable` for a list of files that may name one outside of the source."""
    name = os.path.basename(file.path)
    is_table = name.lower().endswith((".csv", ".tsv"))
    if not is_table and name not in _LISTS:
        return
    with open(file.path, "rb") as opened:
        first_line = opened.readline(_MOST_HEADER_BYTES)
        if is_table and not _NAMES_FILES.search(first_line):
            return
        if name.endswith(".md") and not first_line.startswith(b"---"):
            return
        content = first_line + opened.read()
    if name.endswith(".md"):
        content = content.partition(b"\n---")[0]  # the rest is text for people
    if _ELSEWHERE.search(content):
        raise NotCacheable(f"{file.path} may refer to files elsewhere")


def _identity(stat: os.stat_result) -> list[int]:
    """Return what changes with a file's content: a copy put in its place has another inode, a written one other times."""
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _digest_of_code() -> str:
    digest = hashlib.sha256()
    for path in (*sorted(_CODE.rglob("*.py")), *_OTHER_CODE):
        digest.update(os.fsencode(path.name) + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

"""What a prepared data set depends on, as one key: the content of its source, the choices made, and the code that reads."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from ...storage.files import sha256_of, write_durably
from ..specs import DataSpec

INDEX_SCHEMA_VERSION = 1

_MOST_SOURCE_BYTES = 64 << 30
"""Of a source whose content is looked at: beyond it, somebody named a folder with more than a data set in it."""

_RACY_SECONDS = 2.0
"""A file changed so shortly before it was hashed may change again without a sign: clocks of file systems are coarse."""

_CODE = Path(__file__).resolve().parents[1]
_OTHER_CODE = (_CODE.parent / "common" / "apportion.py",)
"""What else of the program decides a prepared data set: the splits are apportioned with it."""

_PACKAGES = ("numpy", "datasets", "pyarrow")

_READ_ALONE = (".npz", ".ts", ".parquet", ".arrow", ".json", ".jsonl")
"""Files of these kinds are read by themselves; a reader of others may look at what lies beside them."""
_READERS_BESIDE = ("landmark_csv", "frame_table", "libras")

_LISTS = ("train.csv", "state.json", "dataset_dict.json", "README.md", ".huggingface.yaml")
"""Files in which a reader looks up other files."""
_ELSEWHERE = re.compile(rb"(?m)(?:^|[\s\"',;\[])(?:/|~|\.\./|[a-z][a-z0-9+.-]*://)|/\.\./")
"""A path in one of them that may lead out of the folder."""


class NotCacheable(Exception):  # noqa: N818 - it says why something is not done, not that it failed
    """A data set that is not kept in the cache; the message says why."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file that may decide what is read from a source."""

    name: str
    """Relative to the source's folder."""
    path: Path
    stat: os.stat_result

    @property
    def identity(self) -> list[int]:
        """What changes with its content: a copy put in its place has another inode, a written one other times."""
        return _identity(self.stat)


class FileDigests:
    """The digests of a source's files, kept from run to run, so that only what changed is read for its digest.

    A file is known by its path, size, times and inode. An index that cannot be read or written is as good as empty.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        self._source = os.path.abspath(source)
        name = hashlib.sha256(os.fsencode(self._source)).hexdigest()[:24]
        self._path = folder / f"{name}.json"
        self._known = self._read()
        self._used: dict[str, Any] = {}

    def of(self, file: SourceFile) -> str:
        """Return the SHA-256 of a file. Raises `NotCacheable` where it changes meanwhile, and `OSError`."""
        entry = self._known.get(file.name)
        if isinstance(entry, list) and entry[:-1] == file.identity and isinstance(entry[-1], str):
            self._used[file.name] = entry
            return entry[-1]
        settled_ns = time.time_ns() - int(_RACY_SECONDS * 1e9)
        digest = sha256_of(file.path)
        if _identity(file.path.stat()) != file.identity:
            raise NotCacheable(f"{file.path} changed while it was read")
        if max(file.stat.st_mtime_ns, file.stat.st_ctime_ns) < settled_ns:
            self._used[file.name] = [*file.identity, digest]
        return digest

    def save(self) -> None:
        """Remember the digests that were asked for, in place of those of before."""
        is_unchanged, self._known = self._used == self._known, dict(self._used)
        with suppress(OSError):
            if is_unchanged:
                os.utime(self._path)
                return
            content = {"schema_version": INDEX_SCHEMA_VERSION, "source": self._source, "files": self._used}
            # A name of its own: another process may be writing the same index.
            handle, partial = tempfile.mkstemp(prefix=".partial-", dir=self._path.parent)
            os.close(handle)
            try:
                write_durably(Path(partial), [json.dumps(content, separators=(",", ":")).encode()])
                os.replace(partial, self._path)
            except OSError:
                os.unlink(partial)
                raise

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            content = json.loads(self._path.read_text(encoding="utf-8"))
            is_own = (content["schema_version"], content["source"]) == (INDEX_SCHEMA_VERSION, self._source)
            if is_own and isinstance(content["files"], dict):
                return content["files"]
        return {}


def data_key(spec: DataSpec, seed: int, digests: FileDigests | None) -> str:
    """Return the key of a prepared data set: equal where preparing gives the same bytes.

    `digests` are those of the source's files; without them the data are generated. Raises `NotCacheable` for a source
    that may refer to files elsewhere, changes or is too large to be looked at, and `OSError` where it cannot be read.
    """
    facts = {
        **asdict(spec),
        "source": None if digests is None else _digest_of_source(Path(spec.source).expanduser(), spec.format, digests),
        "seed": seed,
        "code": _digest_of_code(),
        "versions": [_version(package) for package in _PACKAGES],
        # What a processor can do decides the order in which numpy sums.
        "machine": [platform.machine(), sys.byteorder, np.show_config(mode="dicts").get("SIMD Extensions")],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def list_source(path: Path, data_format: str | None) -> tuple[list[str], list[SourceFile]]:
    """Return the names that decide what is read from a source, beside those of its files; and the files, by name.

    Of a folder these are all files, but for version control's, whichever of them a reader takes. Raises `OSError`.
    """
    if not path.is_dir():
        return _list_file(path, data_format)
    names, files = [path.resolve().name], []  # a data set is called after the folder to which links lead
    for name, entry, stat in _walk(path, "", frozenset()):
        if stat is not None and S_ISREG(stat.st_mode):
            files.append(SourceFile(name=name, path=entry, stat=stat))
        else:
            names.append(name)
            if entry.is_symlink():
                names.append(entry.resolve().name)
    return names, files


def _digest_of_source(path: Path, data_format: str | None, digests: FileDigests) -> str:
    names, files = list_source(path, data_format)
    num_bytes = sum(file.stat.st_size for file in files)
    if num_bytes > _MOST_SOURCE_BYTES:
        raise NotCacheable(f"{path} holds {num_bytes / 2**30:,.0f} GiB, more than is looked at")
    digest = hashlib.sha256()
    for name in names:
        digest.update(b"n" + os.fsencode(name) + b"\0")
    for file in files:
        _check_references(file)
        digest.update(b"f" + os.fsencode(file.name) + b"\0" + digests.of(file).encode())
    digests.save()
    return digest.hexdigest()


def _walk(
    folder: Path, prefix: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, Path, os.stat_result | None]]:
    """Yield (relative name, path, stat) of all in a folder, links followed, without running in circles."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        try:
            stat = entry.stat()
        except FileNotFoundError:  # a link that leads nowhere
            stat = None
        path, name = Path(entry.path), prefix + entry.name
        if stat is None or not entry.is_dir():
            yield name, path, stat
        elif entry.name != ".git":
            yield f"{name}/", path, stat
            inode = (stat.st_dev, stat.st_ino)
            if inode not in above:
                yield from _walk(path, f"{name}/", above | {inode})


def _list_file(path: Path, data_format: str | None) -> tuple[list[str], list[SourceFile]]:
    """Return `list_source` of a single file, with those beside it that hold its segments and its classes' names."""
    is_alone = path.suffix.lower() in _READ_ALONE if data_format is None else data_format not in _READERS_BESIDE
    if is_alone:
        return [], [_file(path)]
    beside = [other for other in path.parent.iterdir() if other.suffix.lower() in (".csv", ".names")]
    found = [other for other in beside if other.name != path.name and other.is_file()]
    return [path.parent.resolve().name], [_file(other) for other in (path, *sorted(found))]


def _check_references(file: SourceFile) -> None:
    """Raise `NotCacheable` for a list of files that may name one outside of the source."""
    if file.path.name not in _LISTS:
        return
    with file.path.open("rb") as opened:
        first_line = opened.readline()
        if file.path.suffix == ".csv" and b"path" not in first_line.lower():
            return
        if file.path.suffix == ".md" and not first_line.startswith(b"---"):
            return
        content = first_line + opened.read()
    if file.path.suffix == ".md":
        content = content.partition(b"\n---")[0]  # the rest is text for people
    if _ELSEWHERE.search(content):
        raise NotCacheable(f"{file.path} may refer to files elsewhere")


def _file(path: Path) -> SourceFile:
    return SourceFile(name=path.name, path=path, stat=path.stat())


def _identity(stat: os.stat_result) -> list[int]:
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

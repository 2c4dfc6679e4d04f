"""NumPy files: what stands in them by their headers, and their numbers as float32, read in blocks straight into place.

The form of the files is documented by `numpy.lib.format`. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from ...common.errors import UserError
from ...common.program.doors import why

_BLOCK_NUMBERS = 1 << 20
"""Numbers that are read at once where they have to be converted."""
_FIRST_BYTES = 128
"""The header of nearly every `.npy`."""
_MOST_SHAPES = 3
_MOST_HEADERS = 2000
"""Files of a folder whose headers are read to describe it."""

_LONGEST_HEADER = 1 << 16
_MOST_TIMES, _FREE_BYTES = 100, 200 << 20
"""An archive may unpack to so many bytes, or to so many times its own."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the start of an `.npy` says."""

    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool
    num_bytes: int
    """Of the header itself: the numbers begin there."""

    @property
    def is_numbers(self) -> bool:
        """Whether the array holds real numbers or truth values."""
        return self.dtype.kind in "fiub"

    @property
    def size(self) -> int:
        """The count of its elements."""
        return math.prod(self.shape)

    def check(self, file: str | Path, num_bytes: int) -> None:
        """Raise `UserError` unless its numbers fit into so many bytes, before memory is taken for them."""
        needed = self.num_bytes + self.size * self.dtype.itemsize
        if min(self.shape, default=0) < 0 or (needed > num_bytes and not self.dtype.hasobject):
            raise UserError(
                f"{file}: is not a complete .npy file of NumPy: {list(self.shape)} of {str(self.dtype)[:40]} take {needed:,} "
                f"bytes, and it has {num_bytes:,}; write it again with numpy.save"
            )


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """An array in a file, of which only the header was read."""

    file: Path
    name: str
    """Its name in an `.npz`; empty in an `.npy`."""
    header: Header

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.header.shape

    def __str__(self) -> str:
        return f"{self.file}: {self.name}" if self.name else str(self.file)

    def load(self) -> np.ndarray:
        """Return the array as it is stored. Raises `UserError` for pickled objects and a file that is not complete."""
        with _open(self.file, self.name) as stream:
            return _load(stream, self.header, self.file)

    def read_into(self, out: np.ndarray) -> None:
        """Write its numbers into `out`, float32 and contiguous, of as many elements; too large ones become infinite."""
        with _open(self.file, self.name) as stream:
            stream.read(self.header.num_bytes)
            _fill_all(stream, self.header, out)


def stored_arrays(file: Path) -> list[StoredArray]:
    """Return the arrays of an `.npz`, or the one of an `.npy`, by their headers.

    Raises `UserError` for a file that is not one of NumPy's.
    """
    if not _is_archive(file):
        return [StoredArray(file=file, name="", header=header_of(file))]
    found = []
    with _readable(file), zipfile.ZipFile(file) as archive:
        _check_unpacked(file, archive)
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as stream:
                    header = _read_header(stream)
                header.check(f"{file}: {member.filename}", member.file_size)
                found.append(StoredArray(file=file, name=member.filename.removesuffix(".npy"), header=header))
    return found


def load_arrays(file: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` by name, or that of an `.npy` under an empty name. Raises `UserError`."""
    return {array.name: array.load() for array in stored_arrays(file)}


def header_of(file: str | Path) -> Header:
    """Return the header of an `.npy`. Raises `UserError` if it has none."""
    with _readable(file):
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{file}: is no regular file; remove it")
            start = os.read(descriptor, _FIRST_BYTES)
            length = _header_length(start)
            if length > len(start):
                start += os.read(descriptor, length - len(start))
        finally:
            os.close(descriptor)
        header = _parse(start[:length])
        header.check(file, status.st_size)
        return header


def read_numbers(file: str | Path, header: Header, out: np.ndarray) -> None:
    """Write the numbers of an `.npy` into `out`, float32 and contiguous, of as many elements. Raises `UserError`."""
    num_bytes = header.size * header.dtype.itemsize
    if header.is_fortran or header.size > _BLOCK_NUMBERS:
        StoredArray(file=Path(file), name="", header=header).read_into(out)
        return
    with _readable(file):  # the many small files of a folder of frames: three calls of the system for each
        descriptor = os.open(file, os.O_RDONLY)
        try:
            content = os.pread(descriptor, num_bytes, header.num_bytes)
        finally:
            os.close(descriptor)
        if len(content) < num_bytes:
            raise EOFError
    with np.errstate(over="ignore"):
        out.reshape(-1)[...] = np.frombuffer(content, header.dtype)


def describe_arrays(files: Sequence[Path]) -> str:
    """Return what NumPy files hold, by their headers: `3 .npy of [424, 30, 100]`, `data.npz with X [221, 30, 63], y [221]`."""
    parts = []
    plain = [file for file in files if file.suffix.lower() == ".npy"]
    shapes: Counter[str] = Counter()
    for file in plain[:_MOST_HEADERS]:
        try:
            header = header_of(file)
            shapes["pickled objects" if header.dtype.hasobject else str(list(header.shape))] += 1
        except UserError:
            shapes["no complete array"] += 1
    if len(shapes) == 1:
        parts.append(f"{len(plain):,} .npy of {next(iter(shapes))}")
    elif shapes:
        shown = [f"{count:,} of {shape}" for shape, count in shapes.most_common(_MOST_SHAPES)]
        rest = len(shapes) - len(shown)
        parts.append(f"{len(plain):,} .npy: {', '.join(shown)}{f' and {rest:,} other sizes' if rest else ''}")
    archives = [file for file in files if file.suffix.lower() == ".npz"]
    for file in archives[:_MOST_SHAPES]:
        try:
            arrays = ", ".join(f"{array.name} {list(array.shape)}" for array in stored_arrays(file))
            parts.append(f"{file.name} with {arrays or 'no array'}")
        except UserError:
            parts.append(f"{file.name}, which is not complete")
    if len(archives) > _MOST_SHAPES:
        parts.append(f"{len(archives) - _MOST_SHAPES:,} more .npz")
    return "; ".join(parts)


@contextmanager
def _readable(file: str | Path) -> Iterator[None]:
    """Whatever is raised by a file that is cut short, encrypted or no NumPy file becomes `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"{file}: {why(error, 'see that it can be read')}") from error
        if isinstance(error, MemoryError):
            raise UserError(f"{file}: {why(error, 'use fewer or smaller arrays')}") from error
        suffix = os.path.splitext(file)[1]
        if suffix.lower() not in (".npy", ".npz"):
            raise UserError(
                f"{file}: is no .npy or .npz of NumPy; leave out --data-format, so that its format is recognised"
            ) from error
        raise UserError(f"{file}: is not a complete {suffix} file of NumPy; write it again with numpy.save") from error


def _check_unpacked(file: Path, archive: zipfile.ZipFile) -> None:
    """Raise `UserError` for an archive that unpacks to far more than it is, unused members too."""
    unpacked, own = sum(member.file_size for member in archive.infolist()), file.stat().st_size
    if unpacked > max(_FREE_BYTES, _MOST_TIMES * own):
        raise UserError(
            f"{file}: its {own:,} bytes unpack to {unpacked:,}, more than {_MOST_TIMES} times as many; if that is meant, write "
            "it with numpy.savez, which does not pack"
        )


def _is_archive(file: Path) -> bool:
    with _readable(file), file.open("rb") as stream:
        return stream.read(4)[:2] == b"PK" or file.suffix.lower() == ".npz"


@contextmanager
def _open(file: Path, name: str) -> Iterator[IO[bytes]]:
    with _readable(file):
        if not name:
            with file.open("rb", buffering=0) as stream:
                yield stream
        else:
            with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
                yield member


def _read_header(stream: IO[bytes]) -> Header:
    start = stream.read(12)
    return _parse(start + stream.read(_header_length(start) - len(start)))


def _header_length(start: bytes) -> int:
    """Return the length in bytes of the header that begins so."""
    if start[:6] != npy.MAGIC_PREFIX or len(start) < 12:
        raise ValueError
    length = _told_length(start)
    if length > _LONGEST_HEADER:
        raise ValueError
    return length


def _told_length(start: bytes) -> int:
    return 10 + int.from_bytes(start[8:10], "little") if start[6] == 1 else 12 + int.from_bytes(start[8:12], "little")


@lru_cache(maxsize=4096)
def _parse(header: bytes) -> Header:
    """Return what a header says; the files of a folder have few different ones."""
    stream = io.BytesIO(header)
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    return Header(shape, dtype, is_fortran, len(header))


def _load(stream: IO[bytes], header: Header, file: Path) -> np.ndarray:
    if header.dtype.hasobject:
        raise UserError(f"{file}: holds pickled objects, which are not read; store arrays of numbers")
    stream.read(header.num_bytes)
    array = np.empty(header.shape[::-1] if header.is_fortran else header.shape, header.dtype)
    _read_exactly(stream, array)
    return array.T if header.is_fortran else array


def _fill_all(stream: IO[bytes], header: Header, out: np.ndarray) -> None:
    target = out.reshape(header.shape or (1,))
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which is reported
        _fill(stream, header.dtype, target.T if header.is_fortran else target)


def _fill(stream: IO[bytes], dtype: np.dtype, target: np.ndarray) -> None:
    """Read the numbers of `target` in its order of axes, whatever its strides, a block at a time."""
    if dtype == target.dtype and target.flags.c_contiguous:
        _read_exactly(stream, target)
        return
    row_size = target[0].size if len(target) else 0
    if row_size > _BLOCK_NUMBERS:
        for row in target:
            _fill(stream, dtype, row)
        return
    rows = _BLOCK_NUMBERS // max(1, row_size)
    block = np.empty((min(rows, len(target)), *target.shape[1:]), dtype)
    for start in range(0, len(target), rows):
        part = block[: len(target) - start]
        _read_exactly(stream, part)
        target[start : start + rows] = part


def _read_exactly(stream: IO[bytes], out: np.ndarray) -> None:
    """Fill a contiguous array with bytes. Raises `EOFError` if there are fewer."""
    view = out.reshape(-1).view(np.uint8).data if out.size else memoryview(b"")
    while len(view):
        count = stream.readinto(view[: _BLOCK_NUMBERS * 4])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        view = view[count:]

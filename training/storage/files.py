"""Durable writes: hashed while written, then fsynced; safetensors files too."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

from ..common.conversion import plain_values
from ..common.errors import UserError
from ..common.program.redaction import without_secrets
from ..common.small_files import check_replaceable, open_regular

_PIECE_BYTES = 8 << 20
"""Written and hashed at a time: both let other threads run, and the hash finds the bytes in the processor's cache."""

_TYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The names of the types in the safetensors format."""


class Written(NamedTuple):
    """Size and hash of a file that was written."""

    num_bytes: int
    sha256: str


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file by name, on the host. Raises `UnreadableError` for a pipe or a device."""
    open_regular(path).close()
    return load_file(path)


def write_durably(path: Path, pieces: Iterable[bytes | memoryview]) -> Written:
    """Write a file and wait until it is on the disk; return its size and SHA-256. Raises `OSError` that names it."""
    digest, size = hashlib.sha256(), 0
    try:
        if path.is_symlink():
            path.unlink()  # a file takes its place: what it leads to is not ours
        with path.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                # So that reading it back reads the disk, and the training data stay in memory.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write that fails does not name its file
        raise
    return Written(size, digest.hexdigest())


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> Written:
    """Write tensors as a safetensors file, as `write_durably` does, without a copy of those on the host.

    The library's `save_file` makes a file that only its owner can read, does not hash it, and in older versions copies all
    of it while no other thread may run. Raises `OSError`, and `UserError` for a type that the format lacks.
    """
    return write_durably(path, _safetensors_pieces(path, tensors))


def _safetensors_pieces(path: Path, tensors: Mapping[str, torch.Tensor]) -> Iterator[bytes | memoryview]:
    """Yield a safetensors file: the length of its header, the header in JSON, the tensors without gaps."""
    # The widest first, so that each starts at a multiple of its element's size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header, start = {}, 0
    for name, tensor in ordered:
        if tensor.dtype not in _TYPE_NAMES:
            raise UserError(f"{path}: {name} is {tensor.dtype}, which a safetensors file cannot hold")
        end = start + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _TYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        content = bytes_of(tensor.cpu().contiguous()).data
        for first in range(0, len(content), _PIECE_BYTES):
            yield content[first : first + _PIECE_BYTES]


def bytes_of(tensor: torch.Tensor) -> np.ndarray:
    """Return the memory of a contiguous tensor on the host, uint8 [bytes]: NumPy has no bfloat16."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems flush names by themselves, and refuse an fsync of a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def describe_os_error(error: OSError) -> str:
    """Return an error in plain words: `No space left on device (runs/signs/run.json)`."""
    what = error.strerror or str(error) or type(error).__name__
    return f"{what} ({os.fsdecode(error.filename)})" if error.filename else what


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file so that a reader finds the old or the new one, never a part. Raises `OSError`.

    Passwords and tokens are left out. JSON has no NaN and no infinity: such a number is written as null, and `non_finite`
    names it.
    """
    non_finite: list[str] = []
    plain = plain_values(content, "", non_finite)
    if non_finite:
        plain["non_finite"] = non_finite
    text = without_secrets(json.dumps(plain, indent=2, allow_nan=False)) + "\n"
    with replaced(path) as partial:
        write_durably(partial, [text.encode()])


def user_cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/slipway`, or `~/.cache/slipway`; for a user without a home a path that cannot exist."""
    folder = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(folder) if os.path.isabs(folder) else Path.home() / ".cache"
    except RuntimeError:
        root = Path(os.devnull)
    return root / "slipway"


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield the path of a new file, then put it in the place of the old one; after an error the old one stays.

    A link that somebody has put where the new file is written is removed first. Raises `OSError`, also where `path` is a
    device or a pipe.
    """
    check_replaceable(path)
    partial = path.with_name(path.name + ".partial")
    if partial.is_symlink() or (partial.exists() and not partial.is_file()):
        partial.unlink()
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise

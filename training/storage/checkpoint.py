"""Checkpoints: folders that are complete or absent, each with a manifest of sizes and hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ..common.conversion import whole_number
from ..common.program.doors import door
from ..common.small_files import UnreadableError, read_json
from .files import Written, flush_folder, load_tensors, sha256_of, write_durably, write_tensors

CHECKPOINT_SCHEMA_VERSION = 1
CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
_STATE = "state.json"
_FILE_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
"""Of a file in a checkpoint."""
_TENSORS = ".safetensors"

_NAME = re.compile(r"(\d{6,})-step-\d+")
_LEFTOVER = re.compile(r"\.\d{6,}-step-\d+(\.old)?")


class DamagedCheckpoint(Exception):  # noqa: N818 - the fault is in a folder, not in the program
    """A folder that is not a complete checkpoint; the message says which file and why."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """The content of a checkpoint: tensors by group and name, and a state of JSON's types."""

    step: int
    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    """By group, each one a safetensors file: `model`, `optimizer`, `best`, ..."""
    unchanging: frozenset[str] = frozenset()
    """Groups whose tensors never change again, so that they need no copy."""
    state: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest of a checkpoint: its number and its files."""

    folder: Path
    step: int
    sequence: int
    """Counts the checkpoints of a run: the newest has the highest number, whatever its step and the clock."""
    written: str
    files: Mapping[str, Written]
    """By name."""

    @property
    def num_bytes(self) -> int:
        """Return the size of all files but the manifest."""
        return sum(entry.num_bytes for entry in self.files.values())


def read_manifest(folder: Path) -> Manifest:
    """Return a checkpoint's manifest. Raises `DamagedCheckpoint`."""
    path = folder / MANIFEST
    if not path.exists():
        raise DamagedCheckpoint(f"{folder}: no {MANIFEST}")
    with _reading(path):
        data = read_json(path)
        if not isinstance(data, dict):
            raise UnreadableError("holds no keys and values")
        if data["schema_version"] != CHECKPOINT_SCHEMA_VERSION:
            raise DamagedCheckpoint(f"{folder}: written by another version (schema {data['schema_version']})")
        if data.pop("sha256") != _hash_of(data):
            raise DamagedCheckpoint(f"{path}: its content is not what was written")
        files = {name: Written(entry["bytes"], entry["sha256"]) for name, entry in data["files"].items()}
        if not all(_FILE_NAME.fullmatch(name) and isinstance(one.num_bytes, int) for name, one in files.items()):
            raise DamagedCheckpoint(f"{path}: names what is no file of a checkpoint")
        return Manifest(
            folder=folder,
            step=whole_number(data, "step"),
            sequence=whole_number(data, "sequence"),
            written=str(data["written"]),
            files=files,
        )


def verify(manifest: Manifest) -> None:
    """Compare every file with the manifest. Raises `DamagedCheckpoint` that names the first that differs."""
    _verify_sizes(manifest)
    for name, entry in manifest.files.items():
        path = manifest.folder / name
        try:
            if sha256_of(path) != entry.sha256:
                raise DamagedCheckpoint(f"{path}: its content is not what was written")
        except OSError as error:
            raise DamagedCheckpoint(f"{path}: {error.strerror}") from None


def _verify_sizes(manifest: Manifest) -> None:
    for name, entry in manifest.files.items():
        path = manifest.folder / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DamagedCheckpoint(f"{path}: {error.strerror}") from None
        if not path.is_file():
            raise DamagedCheckpoint(f"{path}: is no file")
        if size != entry.num_bytes:
            raise DamagedCheckpoint(f"{path}: {size:,} bytes instead of {entry.num_bytes:,}")


def newest_checkpoint(run_folder: Path, below: int | None = None) -> tuple[Manifest | None, list[str]]:
    """Return a run's newest undamaged checkpoint by its manifest, and what is wrong with those that are newer.

    With `below` only those count that were written before the one of this number. Folders that are no checkpoints are ignored.
    """
    unreadable: list[tuple[int, str]] = []
    manifests = []
    for folder in _folders(run_folder / CHECKPOINTS):
        try:
            manifests.append(read_manifest(folder))
        except DamagedCheckpoint as damage:
            number = _number_of(folder)
            if number is not None and (below is None or number < below):
                unreadable.append((number, str(damage)))
    if below is not None:
        manifests = [manifest for manifest in manifests if manifest.sequence < below]
    problems: list[str] = []
    found = None
    for manifest in sorted(manifests, key=lambda one: one.sequence, reverse=True):
        try:
            verify(manifest)
            found = manifest
            break
        except DamagedCheckpoint as damage:
            problems.append(str(damage))
    # The age of a checkpoint without a readable manifest is known by its name only.
    problems += [problem for number, problem in unreadable if found is None or number > found.sequence]
    return found, problems


def read_state(manifest: Manifest) -> dict[str, Any]:
    """Return the state of a verified checkpoint. Raises `DamagedCheckpoint`, and `MemoryError` for lack of memory."""
    with _reading(manifest.folder / _STATE):
        state = read_json(manifest.folder / _STATE)
        if not isinstance(state, dict):
            raise UnreadableError("holds no keys and values")
    return state


def read_tensors(manifest: Manifest) -> dict[str, dict[str, torch.Tensor]]:
    """Return the tensors of a verified checkpoint by group and name, on the host.

    Raises `DamagedCheckpoint`, and `MemoryError` for lack of memory.
    """
    groups = {}
    for name in manifest.files:
        if name.endswith(_TENSORS):
            with _reading(manifest.folder / name):
                groups[name.removesuffix(_TENSORS)] = load_tensors(manifest.folder / name)
    return groups


def _reading(path: Path) -> AbstractContextManager[None]:
    return door(path, "it is damaged", DamagedCheckpoint, DamagedCheckpoint, MemoryError)


def write_checkpoint(run_folder: Path, content: Content, keep: int) -> Manifest:
    """Write a checkpoint, verify it by reading it back from the disk, then delete all but the newest `keep`.

    The folder gets its name by a rename, after everything is on the disk: if anything fails or is killed before, the older
    checkpoints stay. Raises `OSError`, and `UserError` for a tensor that cannot be written.
    """
    parent = run_folder / CHECKPOINTS
    _make_folder(parent)
    for path in parent.iterdir():  # of a process that was killed while it wrote or deleted
        if _LEFTOVER.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
    _check_room(parent, content)
    sequence = 1 + max(_sequences(parent), default=0)
    name = f"{sequence:06d}-step-{content.step}"
    draft = parent / f".{name}"
    try:
        draft.mkdir()
        _write_files(draft, content, sequence)
        manifest = read_manifest(draft)
        verify(manifest)
        draft.rename(parent / name)
    except DamagedCheckpoint as damage:
        raise OSError(errno.EIO, f"read back, it is not what was written: {damage}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    flush_folder(parent)
    _delete_surplus(parent, keep)
    return replace(manifest, folder=parent / name)


def _write_files(draft: Path, content: Content, sequence: int) -> None:
    files = {
        f"{group}{_TENSORS}": write_tensors(draft / f"{group}{_TENSORS}", tensors)
        for group, tensors in content.tensors.items()
    }
    state = json.dumps(content.state, allow_nan=False) + "\n"
    files[_STATE] = write_durably(draft / _STATE, [state.encode()])
    record = {
        "schema_version": CHECKPOINT_SCHEMA_VERSION,
        "step": content.step,
        "sequence": sequence,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: {"bytes": entry.num_bytes, "sha256": entry.sha256} for name, entry in files.items()},
    }
    text = json.dumps({**record, "sha256": _hash_of(record)}, indent=2) + "\n"
    write_durably(draft / MANIFEST, [text.encode()])
    flush_folder(draft)


def _hash_of(record: Mapping[str, Any]) -> str:
    """Return the hash of a manifest's content, whatever its layout in the file."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _make_folder(parent: Path) -> None:
    if not parent.is_dir():
        parent.mkdir(parents=True, exist_ok=True)
        flush_folder(parent.parent)


def _check_room(parent: Path, content: Content) -> None:
    """Raise `OSError` if a checkpoint does not fit, before it fills the disk for everyone else."""
    needed = sum(tensor.nbytes for tensors in content.tensors.values() for tensor in tensors.values())
    usage = shutil.disk_usage(parent)
    # Some network file systems report a size of 0.
    if usage.total and usage.free < needed:
        problem = f"No space left on device: {needed:,} bytes are needed, {usage.free:,} are free"
        raise OSError(errno.ENOSPC, problem, str(parent))


def _sequences(parent: Path) -> Iterator[int]:
    """Yield every number that a checkpoint has, damaged ones too: no number is given twice."""
    for folder in _folders(parent):
        number = _number_of(folder)
        if number is not None:
            yield number
        with contextlib.suppress(DamagedCheckpoint):
            yield read_manifest(folder).sequence


def _delete_surplus(parent: Path, keep: int) -> None:
    """Delete checkpoints older than the newest `keep` complete ones; only folders with a name given here."""
    numbered = {number: folder for folder in _folders(parent) if (number := _number_of(folder)) is not None}
    complete = sorted((number for number, folder in numbered.items() if _is_complete(folder)), reverse=True)
    if len(complete) < keep:
        return
    for number in sorted(numbered):
        if number < complete[keep - 1]:
            _delete(numbered[number])


def _is_complete(folder: Path) -> bool:
    """Return whether all files are there with their sizes, without reading them."""
    try:
        _verify_sizes(read_manifest(folder))
        return True
    except DamagedCheckpoint:
        return False


def _delete(folder: Path) -> None:
    """Delete a checkpoint; while that goes on, its rest is not taken for one."""
    with contextlib.suppress(OSError):
        hidden = folder.with_name(f".{folder.name}.old")
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _folders(parent: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [folder for folder in sorted(parent.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    return []


def _number_of(folder: Path) -> int | None:
    """Return the number in the name of a checkpoint that was written here; `None` for any other folder."""
    match = _NAME.fullmatch(folder.name)
    return int(match[1]) if match and not folder.is_symlink() else None

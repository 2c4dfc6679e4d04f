"""Checkpoints: folders that are whole or not there, each with a manifest of sizes and hashes; written by a thread."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.errors import UserError

CHECKPOINT_SCHEMA_VERSION = 1
CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
_STATE = "state.json"
_HASH_BLOCK_BYTES = 1 << 20


class DamagedCheckpoint(Exception):  # noqa: N818 - it says what is wrong with a thing, not with the program
    """A folder that is not a whole checkpoint; the message says which file and why."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a checkpoint holds: tensors by group and name, on the host, and a state of JSON's types."""

    step: int
    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    """By group, each one a safetensors file: `model`, `optimizer`, `best`, ..."""
    state: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a checkpoint says of itself."""

    folder: Path
    step: int
    sequence: int
    """Counts the checkpoints of a run: the newest has the highest, whatever its step."""
    written: str
    files: Mapping[str, Mapping[str, Any]]
    """`bytes` and `sha256` by file name."""


def read_manifest(folder: Path) -> Manifest:
    """Return a checkpoint's manifest. Raises `DamagedCheckpoint`."""
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if data["schema_version"] != CHECKPOINT_SCHEMA_VERSION:
            raise DamagedCheckpoint(f"{folder}: written by another version (schema {data['schema_version']})")
        files = {
            str(name): {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
            for name, entry in data["files"].items()
        }
        return Manifest(
            folder=folder,
            step=int(data["step"]),
            sequence=int(data["sequence"]),
            written=str(data["written"]),
            files=files,
        )
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{folder}: no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DamagedCheckpoint(f"{folder / MANIFEST}: not a manifest") from None


def verify(manifest: Manifest) -> None:
    """Compare every file with the manifest. Raises `DamagedCheckpoint` that names the first that differs."""
    for name, entry in manifest.files.items():
        path = manifest.folder / name
        try:
            size = path.stat().st_size
            if size != entry["bytes"]:
                raise DamagedCheckpoint(f"{path}: {size} bytes instead of {entry['bytes']}")
            if _sha256(path) != entry["sha256"]:
                raise DamagedCheckpoint(f"{path}: its content is not what was written")
        except OSError as error:
            raise DamagedCheckpoint(f"{path}: {error.strerror}") from None


def newest_checkpoint(run_folder: Path) -> tuple[Manifest | None, list[str]]:
    """Return a run's newest good checkpoint, and what is wrong with those that are newer."""
    problems: list[str] = []
    manifests = []
    for folder in _folders(run_folder / CHECKPOINTS):
        try:
            manifests.append(read_manifest(folder))
        except DamagedCheckpoint as damage:
            problems.append(str(damage))
    for manifest in sorted(manifests, key=lambda one: one.sequence, reverse=True):
        try:
            verify(manifest)
            return manifest, problems
        except DamagedCheckpoint as damage:
            problems.append(str(damage))
    return None, problems


def read_state(manifest: Manifest) -> dict[str, Any]:
    """Return the state of a verified checkpoint."""
    return json.loads((manifest.folder / _STATE).read_text(encoding="utf-8"))


def read_tensors(manifest: Manifest) -> dict[str, dict[str, torch.Tensor]]:
    """Return the tensors of a verified checkpoint by group and name, on the host."""
    groups = (name.removesuffix(".safetensors") for name in manifest.files if name.endswith(".safetensors"))
    return {group: load_file(manifest.folder / f"{group}.safetensors") for group in groups}


def write_checkpoint(run_folder: Path, content: Content, keep: int) -> Manifest:
    """Write a checkpoint, prove it by reading it back, then delete all but the newest `keep`.

    It becomes one by a rename after everything is on the disk. Raises `OSError` or `SafetensorError` where it cannot be
    written; the older ones then stay.
    """
    parent = run_folder / CHECKPOINTS
    parent.mkdir(parents=True, exist_ok=True)
    older = [manifest for manifest in map(_manifest_or_none, _folders(parent)) if manifest]
    sequence = 1 + max((manifest.sequence for manifest in older), default=0)
    for leftover in parent.glob(".*"):  # of a process that was killed while it wrote or deleted
        shutil.rmtree(leftover, ignore_errors=True)
    name = f"{sequence:06d}-step-{content.step}"
    draft = parent / f".{name}"
    try:
        draft.mkdir()
        for group, tensors in content.tensors.items():
            save_file(dict(tensors), draft / f"{group}.safetensors")
        (draft / _STATE).write_text(json.dumps(content.state, allow_nan=False) + "\n", encoding="utf-8")
        files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in draft.iterdir()}
        record = {
            "schema_version": CHECKPOINT_SCHEMA_VERSION,
            "step": content.step,
            "sequence": sequence,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": files,
        }
        (draft / MANIFEST).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for path in (*draft.iterdir(), draft):
            _flush_to_disk(path)
        draft.rename(parent / name)
        _flush_to_disk(parent)
        manifest = read_manifest(parent / name)
        verify(manifest)
    except DamagedCheckpoint as damage:
        raise OSError(0, str(damage)) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for surplus in sorted(older, key=lambda one: one.sequence)[: len(older) + 1 - keep]:
        _delete(surplus.folder)
    return manifest


def _folders(parent: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [folder for folder in sorted(parent.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    return []


def _manifest_or_none(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except DamagedCheckpoint:
        return None


def _delete(folder: Path) -> None:
    """Delete a checkpoint so that no part of it is ever taken for one."""
    with contextlib.suppress(OSError):
        hidden = folder.with_name(f".{folder.name}.old")
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class CheckpointWriter:
    """Writes checkpoints in a thread, one at a time: the training waits for the copy to the host only."""

    def __init__(self, run_folder: Path, keep: int) -> None:
        self._run_folder = run_folder
        self._keep = keep
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[Manifest] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the last one is still being written."""
        return self._writing is not None and not self._writing.done()

    def submit(self, content: Content) -> None:
        """Start writing. Not while one is being written: its outcome is taken first."""
        assert self._writing is None
        self._writing = self._pool.submit(write_checkpoint, self._run_folder, content, self._keep)

    def outcome(self, *, wait: bool = False) -> Manifest | str | None:
        """Return, once, what became of the last one: its manifest, or why it failed; none where nothing is done."""
        if self._writing is None or not (wait or self._writing.done()):
            return None
        writing, self._writing = self._writing, None
        try:
            return writing.result()
        except (OSError, SafetensorError) as error:
            return str(error)

    def close(self) -> None:
        """Wait for what is being written."""
        self._pool.shutdown()


@contextlib.contextmanager
def lock_run(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Hold a run's folder: one process at a time writes there. Raises `UserError` that names who does.

    The kernel gives the lock up with the process that held it, so none is ever stale; a process that was just killed may
    take a moment to go, which `wait_seconds` allows for.
    """
    import fcntl
    import socket
    import time

    path = folder / "lock"
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; choose a folder that can be written") from None
    with file:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read().strip() or "another process"
                    raise UserError(f"{folder}: {holder} is training this run; wait for it, or stop it") from None
                time.sleep(0.1)
            except OSError:  # a file system without locks
                break
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield

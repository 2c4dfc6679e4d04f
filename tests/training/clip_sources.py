"""Sources of a few clips for tests of the data cache, and what is asked of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slipway.training.data.landmarks import SPLITS
from slipway.training.data.prepared.cache import DataCache
from slipway.training.data.prepared.prepare import Preparation, find_or_prepare
from slipway.training.data.prepared.prepared import PreparedData
from slipway.training.data.specs import DataSpec

LONG_AGO = 1_500_000_000


def write_folder(folder: Path, clips: int = 6, start: float = 0.0) -> Path:
    """Write classes of recorded frames, long ago; return the folder."""
    random = np.random.default_rng(0)
    for label in ("hello", "thanks"):
        for clip in range(clips):
            sequence = folder / label / str(clip)
            sequence.mkdir(parents=True)
            for frame in range(3):
                np.save(sequence / f"{frame}.npy", random.normal(size=63) + start)
    return settle(folder)


def write_archive(path: Path, start: float = 0.0) -> Path:
    """Write an archive of 20 clips of 4 frames, long ago; return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).normal(size=(20, 4, 21, 3)).astype(np.float32) + start
    np.savez(path, X=values, y=np.arange(20) % 2)
    return settle(path)


def settle(path: Path) -> Path:
    """Date all files long ago, as `cp -p` does; when they came to be is seen all the same, but with `settled`."""
    for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
        os.utime(file, (LONG_AGO, LONG_AGO))
    return path


def find(source: Path | str, cache: DataCache | None, seed: int = 0, **options: Any) -> Preparation:
    return find_or_prepare(replace(DataSpec(source=str(source)), **options), seed, cache)


def assert_same(one: PreparedData, other: PreparedData) -> None:
    assert one.facts == other.facts
    pairs = [(getattr(one.store, name), getattr(other.store, name)) for name in ("values", "offsets", "labels")]
    pairs += [(one.indices[split], other.indices[split]) for split in SPLITS]
    for first, second in pairs:
        assert (first.dtype, first.shape) == (second.dtype, second.shape)
        assert first.numpy().tobytes() == second.numpy().tobytes()


def changed_byte(source: Path) -> None:
    file = source / "hello" / "0" / "1.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))

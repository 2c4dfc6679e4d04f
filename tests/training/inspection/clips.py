"""Data sets of a few clips for tests of `slipway data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_hands(folder: Path) -> Path:
    """Write `hands.npz`: 12 clips of both hands of 3 to 5 frames, a copy, two signers, names to be escaped; return it."""
    random = np.random.default_rng(3)
    lengths = np.array([3, 4, 5] * 4)
    values = random.uniform(0.2, 0.8, (lengths.sum(), 42, 3)).astype(np.float32)
    values[:8, :21] = np.nan
    values[-5:] = values[7:12]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "hands.npz",
        X=values,
        lengths=lengths,
        y=np.array(["<b>yes</b>", "감사", "no & no"])[[0, 1, 2] * 4],
        signer=np.array(["ann", "bob"])[[0, 1] * 5 + [1, 0]],
    )
    return folder / "hands.npz"


CHANNELS = ["--landmarks", "channels"]
"""What must be said of the numbers of `write_channels`."""


def write_channels(folder: Path) -> Path:
    """Write `sensors.npz`: 9 clips of 6 frames of 5 channels."""
    random = np.random.default_rng(4)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "sensors.npz", X=random.normal(size=(9, 6, 5)).astype(np.float32), y=np.arange(9) % 3)
    return folder / "sensors.npz"

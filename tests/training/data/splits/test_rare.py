"""Classes with few clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slipway.training.data.prepared.prepare import read_data
from slipway.training.data.specs import DataSpec


def test_classes_with_few_clips_are_left_out_and_told(tmp_path: Path) -> None:
    labels = np.array([2, 0, 1, 0, 2, 2, 0, 2])
    path = tmp_path / "rare.npz"
    values = np.random.default_rng(0).normal(size=(8, 4, 21, 3))
    np.savez(path, X=values, y=labels, signer=np.array(["ann", "bob"])[np.arange(8) // 2 % 2])
    data, whole = read_data(DataSpec(source=str(path), min_clips=3)), read_data(DataSpec(source=str(path)))
    kept = np.flatnonzero(labels != 1)
    assert data.class_names == ("0", "2")
    assert data.labels.tolist() == [1, 0, 0, 1, 1, 0, 1]
    assert all(np.array_equal(data.clip(new), whole.clip(old)) for new, old in enumerate(kept))
    assert list(data.signers) == [whole.signers[old] for old in kept]
    assert data.where(2) == whole.where(3)
    assert data.notes[-1] == "1 of 3 classes left out, with fewer than 3 clips each (1 of 8 clips)"

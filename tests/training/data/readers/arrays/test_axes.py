"""Arrays of graph networks are read with their axes turned, and of several bodies the one that is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading

NUMBERS = np.random.default_rng(0).random((4, 9, 27, 3), dtype=np.float32)
"""[clips, frames, points, coords]"""
FIRST = NUMBERS.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    "stored",
    [FIRST, FIRST[..., None], np.stack([FIRST, 0 * FIRST], axis=-1), np.stack([0 * FIRST, FIRST], axis=-1)],
    ids=["four axes", "one body", "the first of two", "the second of two"],
)
@pytest.mark.parametrize("is_fortran", [False, True])
def test_coordinates_in_the_second_axis_are_turned_and_told(
    tmp_path: Path, stored: np.ndarray, is_fortran: bool
) -> None:
    np.save(tmp_path / "X.npy", np.asfortranarray(stored) if is_fortran else stored)
    np.save(tmp_path / "y.npy", np.array(["a", "b", "a", "b"]))
    raw = read_raw(str(tmp_path), Reading())
    assert np.array_equal(raw.values, NUMBERS.reshape(-1, 27, 3))
    assert raw.offsets.tolist() == [0, 9, 18, 27, 36]
    assert any("is read as [clips, coords, frames, points" in note for note in raw.notes)


def test_a_clip_of_two_bodies_is_refused_by_its_number(tmp_path: Path) -> None:
    second = np.zeros_like(FIRST)
    second[2] = 1
    np.save(tmp_path / "X.npy", np.stack([FIRST, second], axis=-1))
    np.save(tmp_path / "y.npy", np.arange(4))
    with pytest.raises(UserError, match=r"X.npy, clip 2: holds 2 bodies; keep one of them"):
        read_raw(str(tmp_path), Reading())

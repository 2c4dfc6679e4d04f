"""Points that files write as -1, or as 0 in pixels, are missing; coordinates that are 0 by chance or by design are not."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import understand

CLIPS, FRAMES = 6, 10


def read(values: np.ndarray, **options: object) -> LandmarkData:
    raw = RawClips(
        name="d",
        source_format="test",
        values=values.astype(np.float32).copy(),
        offsets=np.arange(CLIPS + 1) * FRAMES,
        labels=[str(clip % 2) for clip in range(CLIPS)],
        where=str,
    )
    return understand(raw, Reading(**options))  # type: ignore[arg-type]


def points(count: int, coords: int, size: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 0.8, (CLIPS * FRAMES, count, coords)) * size


@pytest.mark.parametrize("mark", [-1.0, -999.0])
def test_a_hand_that_is_one_negative_number_throughout_is_missing_and_told(mark: float) -> None:
    values = points(42, 3, 1.0)
    values[3, :21] = mark
    data = read(values.reshape(len(values), -1))
    assert np.isnan(data.values[3, :21]).all()
    assert np.isnan(data.values).sum() == 21 * 2
    assert f"21 points are missing: their coordinates are {mark:g}" in data.notes


@pytest.mark.parametrize("mark", [0.0, -1.0])
@pytest.mark.parametrize("size", [1.0, 640.0])
def test_single_points_of_a_mark_in_x_and_y_are_missing_and_told(mark: float, size: float) -> None:
    values = points(17, 2, size)
    values[3, 5] = values[4, 7] = mark
    data = read(values)
    assert np.argwhere(np.isnan(data.values[:, :, 0])).tolist() == [[3, 5], [4, 7]]
    assert f"2 points are missing: their x and y are {mark:g}" in data.notes


def test_zeros_of_coordinates_that_are_measured_from_the_least_are_kept() -> None:
    values = points(21, 2, 1.0)
    values -= values.min(axis=1, keepdims=True)
    values[3, 5] = 0
    assert not np.isnan(read(values).values).any()


def test_zeros_of_coordinates_that_are_measured_from_a_point_are_kept() -> None:
    values = points(21, 2, 1.0)
    values -= values[:, :1]
    values[3, 5] = 0
    assert not np.isnan(read(values).values).any()


def test_numbers_without_geometry_have_no_marks() -> None:
    values = points(20, 1, 1.0)[:, :, 0]
    values[3] = -1
    assert not np.isnan(read(values, landmarks="channels").values).any()

"""Time series of UEA keep their lengths, gaps and splits; a faulty row is named by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused


def clips_of(data: LandmarkData) -> list[np.ndarray]:
    return [data.clip(index) for index in range(len(data))]


def labels_of(data: LandmarkData) -> list[str]:
    return [data.class_names[label] for label in data.labels]


TS = "@problemName toy\n@dimensions 2\n@missing true\n@classLabel true left right\n@data\n"


def test_a_time_series_keeps_unequal_lengths_and_missing_values(tmp_path: Path) -> None:
    (tmp_path / "toy.ts").write_text(TS + "1,2,3:4,?,6:right\n7:8:left\n")
    data = read_landmarks(str(tmp_path))
    first, second = clips_of(data)
    np.testing.assert_array_equal(first[:, :, 0], [[1, 4], [2, np.nan], [3, 6]])
    assert second.shape == (1, 2, 1)
    assert labels_of(data) == ["right", "left"]
    assert not data.layout.spatial


def test_train_and_test_files_are_the_own_split(tmp_path: Path) -> None:
    (tmp_path / "Toy_TRAIN.ts").write_text(TS + "1:2:left\n1:3:right\n")
    (tmp_path / "Toy_TEST.ts").write_text(TS + "1:2:left\n")
    data = read_landmarks(str(tmp_path))
    assert data.name == "Toy"
    assert list(data.own_split) == ["train", "train", "test"]


FAULTS = {
    "no class line": "@data\n1,2:a\n",
    "unequal channels": "@classLabel true a\n@data\n1,2:3:a\n",
    "a word": "@classLabel true a\n@data\n1,two:a\n",
    "an unknown class": "@classLabel true a\n@data\n1,2:b\n",
    "other channels": "@classLabel true a\n@data\n1:2:a\n1:a\n",
    "time stamps": "@timeStamps true\n@classLabel true a\n@data\n",
    "no data": "@classLabel true a\n",
    "several rows": f"@classLabel true a\n@data\n1,{'x' * 60}:a\n1,2:3:a\n",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_row_is_named(tmp_path: Path, fault: str) -> None:
    (tmp_path / "toy.ts").write_text(FAULTS[fault])
    assert_refused(f"uea_ts.{fault}", tmp_path)

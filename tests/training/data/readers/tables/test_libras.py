"""Rows of UCI Libras become tracks of a hand; a faulty row is named by its line."""

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


def test_libras_rows_may_be_separated_by_commas_and_need_no_names_file(tmp_path: Path) -> None:
    rows = [",".join([str(number / 90) for number in range(90)] + [label]) for label in ("2", "10", "2")]
    (tmp_path / "movement_libras.data").write_text("\n".join(rows))
    data = read_landmarks(str(tmp_path))
    assert (data.source_format, data.class_names) == ("libras", ("2", "10"))
    assert clips_of(data)[0].shape == (45, 1, 2)


GOOD = " ".join(["0.5"] * 90) + " 1\n"
FAULTS = {
    "empty": "",
    "a row of another width": GOOD + "0.5 0.5 1\n",
    "a word": GOOD + GOOD.replace("0.5", "half", 1),
    "several rows": GOOD.replace("0.5", "x" * 60, 1) + "1\n" + GOOD,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_row_is_named(tmp_path: Path, fault: str) -> None:
    (tmp_path / "movement_libras.data").write_text(FAULTS[fault])
    assert_refused(f"libras.{fault}", tmp_path)

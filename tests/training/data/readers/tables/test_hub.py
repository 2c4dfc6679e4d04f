"""What is written as Parquet comes back bit for bit; columns beside the landmarks are groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from slipway.training.data.landmarks import LandmarkData, LandmarkLayout
from slipway.training.data.layouts import mediapipe as layouts
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused


def made(layout: LandmarkLayout, **fields: object) -> LandmarkData:
    """Return three clips of 2, 1 and 3 frames of random numbers; a point in ten is missing."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, layout.num_landmarks, layout.num_coords)).astype(np.float32)
    values[rng.random(values.shape[:2]) < 0.1] = np.nan
    fields = {"labels": np.array([2, 0, 2]), "class_names": ("z", "b", "a"), **fields}
    return LandmarkData(
        name="made",
        source_format="made",
        layout=layout,
        values=values,
        offsets=np.array([0, 2, 3, 6]),
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    "layout",
    [
        layouts.one_hand(3),
        layouts.pose_and_hands(lips=True),
        layouts.channels(7),
        LandmarkLayout(num_landmarks=2, num_coords=2, title="arm", names=("shoulder", "wrist"), bones=((0, 1),)),
    ],
    ids=lambda layout: f"{layout.num_landmarks}x{layout.num_coords}",
)
def test_what_is_written_as_parquet_is_read_back_equal(tmp_path: Path, layout: LandmarkLayout) -> None:
    groups = {
        "signer": ["ann", "", "bob"],
        "recording": ["r1", "r1", "r2"],
        "clip": ["1", "2", "3"],
        "시점": ["a", "", ""],
    }
    data = made(layout, groups=groups, own_split=["train", "test", ""])
    pq.write_table(data.to_table(), tmp_path / "clips.parquet")
    for source in (tmp_path, tmp_path / "clips.parquet"):
        again = read_landmarks(str(source))
        assert (again.layout, again.class_names) == (data.layout, data.class_names)
        assert again.values.tobytes() == data.values.tobytes()
        np.testing.assert_array_equal(again.offsets, data.offsets)
        np.testing.assert_array_equal(again.labels, data.labels)
        assert again.groups == groups
        assert list(again.own_split) == ["train", "test", ""]


def test_a_data_set_without_groups_and_splits_comes_back_without_them(tmp_path: Path) -> None:
    pq.write_table(made(layouts.one_hand(2)).to_table(), tmp_path / "clips.parquet")
    again = read_landmarks(str(tmp_path))
    assert (dict(again.groups), list(again.own_split)) == ({}, [])


ROWS = {
    "landmarks": [[[1.0] * 63]] * 2,
    "gloss": ["go", "stop"],
    "user": [7, 8],
    "video": ["v1", "v2"],
    "camera": ["left", "right"],
    "place": ["hall", "yard"],
    "partition": ["training", "dev"],
}


def test_columns_beside_the_landmarks_are_signers_recordings_views_splits_and_groups(tmp_path: Path) -> None:
    Dataset.from_dict(ROWS).to_parquet(tmp_path / "d.parquet")
    data = read_landmarks(str(tmp_path))
    assert data.class_names == ("go", "stop")
    assert data.groups == {
        "signer": ["7", "8"],
        "recording": ["v1", "v2"],
        "view": ["left", "right"],
        "place": ["hall", "yard"],
    }
    assert list(data.own_split) == ["train", "validation"]
    other = read_landmarks(str(tmp_path), Reading(label="place", signer="camera", group="user"))
    assert other.class_names == ("hall", "yard")
    assert (other.groups["signer"], other.groups["user"]) == (["left", "right"], ["7", "8"])


def test_a_column_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    Dataset.from_dict(ROWS).to_parquet(tmp_path / "d.parquet")
    assert_refused("hub.no_such_column", tmp_path, Reading(signer="users"))


def test_all_rows_that_are_not_even_are_told_at_once(tmp_path: Path) -> None:
    rows = {"landmarks": [[[1.0, 2.0]], [[1.0], [1.0, 2.0]], [[3.0]], [[1.0, 2.0]]], "label": ["a", "b", "a", "b"]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "d.parquet")
    assert_refused("hub.uneven", tmp_path)


def test_a_layout_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    table = made(layouts.one_hand(2)).to_table()
    other = {**table.schema.metadata, b"slipway_layout": layouts.pose(2).to_json().encode()}
    pq.write_table(table.replace_schema_metadata(other), tmp_path / "d.parquet")
    assert_refused("hub.other_layout", tmp_path)
    pq.write_table(table.replace_schema_metadata({**other, b"slipway_layout": b"[]"}), tmp_path / "d.parquet")
    assert_refused("hub.no_layout", tmp_path)

"""Points in JSON as people's collectors write them are read as the clips that they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.layouts.mediapipe import POINTS
from slipway.training.data.readers.keypoints.json_points import detect
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks

FRAMES = np.random.default_rng(0).uniform(0.2, 0.8, (4, 21, 3)).astype(np.float32)
LABELS = ["no", "no", "yes", "yes"]


def points(frame: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip("xyz", map(float, point), strict=True)) for point in frame]


def by_class(samples: list[Any]) -> dict[str, list[Any]]:
    return {
        name: [sample for sample, label in zip(samples, LABELS, strict=True) if label == name] for name in ("no", "yes")
    }


def read(path: Path) -> RawClips:
    raw = read_raw(str(path), Reading())
    assert raw.source_format == "json_points"
    return raw


POINT_LISTS = [points(frame) for frame in FRAMES]
SAMPLES = [dict(zip(POINTS["hand"], sample, strict=True)) for sample in POINT_LISTS]
FILES: dict[str, Any] = {
    "records": [{"label": label, "landmarks": sample} for label, sample in zip(LABELS, POINT_LISTS, strict=True)],
    "records of frames": [
        {"gloss": label, "frames": [{"landmarks": sample}]} for label, sample in zip(LABELS, POINT_LISTS, strict=True)
    ],
    "by class": by_class(POINT_LISTS),
    "vectors by class": by_class([frame.reshape(-1).tolist() for frame in FRAMES]),
    "points by name": by_class(SAMPLES),
    "two lists": {"data": [frame.reshape(-1).tolist() for frame in FRAMES], "labels": LABELS},
}


@pytest.mark.parametrize("kind", FILES)
def test_single_frames_are_read_from_one_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "data.json").write_text(json.dumps(FILES[kind]))
    raw = read(tmp_path / "data.json")
    assert np.array_equal(raw.values.reshape(FRAMES.shape), FRAMES)
    assert raw.labels == LABELS
    assert raw.offsets.tolist() == [0, 1, 2, 3, 4]
    assert read_landmarks(str(tmp_path)).layout.title == "hand"


def test_a_file_for_each_class_holds_its_samples(tmp_path: Path) -> None:
    for name, samples in by_class(POINT_LISTS).items():
        (tmp_path / f"{name}.json").write_text(json.dumps(samples))
    raw = read(tmp_path)
    assert (raw.labels, raw.offsets.tolist()) == (LABELS, [0, 1, 2, 3, 4])
    assert np.array_equal(raw.values, FRAMES)


def test_a_file_in_the_folder_of_a_class_is_a_clip(tmp_path: Path) -> None:
    for name in ("no", "yes"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.json").write_text(json.dumps(POINT_LISTS[: 2 + number]))
    raw = read(tmp_path)
    assert (raw.labels, raw.offsets.tolist()) == (LABELS, [0, 2, 5, 7, 10])
    assert np.array_equal(raw.values[2:5], FRAMES[:3])


def test_a_frame_of_null_is_missing_and_texts_beside_are_groups(tmp_path: Path) -> None:
    rows = [
        {"label": label, "signer": who, "landmarks": [None, frame.tolist()]}
        for label, who, frame in zip(LABELS, "abab", FRAMES, strict=True)
    ]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    raw = read(tmp_path)
    assert np.isnan(raw.values[::2]).all()
    assert np.array_equal(raw.values[1::2], FRAMES)
    assert raw.groups == {"signer": ["a", "b", "a", "b"]}


def test_points_by_name_in_another_order_are_a_fault(tmp_path: Path) -> None:
    content = by_class([*SAMPLES[:3], dict(reversed(SAMPLES[3].items()))])
    (tmp_path / "data.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="yes, sample 1: its points have other names, or stand in another order"):
        read(tmp_path)


def test_two_lists_of_other_lengths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps({"data": FRAMES.tolist(), "labels": LABELS[:3]}))
    with pytest.raises(UserError, match="4 data, but 3 labels; one for each"):
        read_raw(str(tmp_path / "data.json"), Reading(format="json_points"))


@pytest.mark.parametrize(
    "content",
    [
        {"colors": [[255, 0, 0], [0, 255, 0]]},
        {"loss": [0.5, 0.4, 0.3]},
        {"no": 0, "yes": 1},
        ["no", "yes"],
        [{"label": "no", "landmarks": FRAMES.tolist()}],
    ],
)
def test_settings_labels_and_plain_data_sets_are_left_to_others(tmp_path: Path, content: object) -> None:
    (tmp_path / "data.json").write_text(json.dumps(content))
    assert not detect(tmp_path / "data.json")

"""Every format of landmark data is read as clips, labels, signers, splits and a layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, List, Value

from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.layouts import mediapipe as layouts
from slipway.training.data.readers.tables import hub
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks

POINTS_XY = Reading(landmarks="points", coords="xy")


def clips_of(data: LandmarkData) -> list[np.ndarray]:
    values, offsets = (data.values, data.offsets)
    return np.split(values, offsets[1:-1])


def labels_of(data: LandmarkData) -> list[str]:
    names = data.class_names
    return [names[label] for label in data.labels]


def write_frames(folder: Path, frames: np.ndarray, numbers: list[int] | None = None) -> None:
    folder.mkdir(parents=True)
    for number, frame in zip(numbers or range(len(frames)), frames, strict=True):
        np.save(folder / f"{number}.npy", frame)


def holistic(pose: float = 1.0, face: float = 2.0, left: float = 3.0, right: float = 4.0) -> np.ndarray:
    points = np.concatenate([np.full(33 * 4, pose), np.full(468 * 3, face), np.full(63, left), np.full(63, right)])
    return points.astype(np.float64)


# frame folders


def test_an_absent_hand_is_missing_and_only_that_hand(tmp_path: Path) -> None:
    write_frames(tmp_path / "hi" / "0", np.stack([holistic(), holistic(left=0.0), holistic(face=0.0)]))
    data = read_landmarks(str(tmp_path))
    assert data.layout == layouts.pose_and_hands(lips=True)
    missing = np.isnan(clips_of(data)[0]).all(axis=2)
    expected = np.zeros((3, 115), dtype=bool)
    expected[1, 33:54] = True
    expected[2, 75:115] = True
    np.testing.assert_array_equal(missing, expected)


def test_holistic_vectors_keep_pose_hands_and_lips_in_one_order(tmp_path: Path) -> None:
    face = np.arange(468 * 3, dtype=float)
    frame = holistic()
    frame[132 : 132 + 468 * 3] = face
    write_frames(tmp_path / "hi" / "0", frame[None])
    clip = clips_of(read_landmarks(str(tmp_path)))[0]
    assert clip[0, [0, 33, 54], 0].tolist() == [1.0, 3.0, 4.0]
    np.testing.assert_array_equal(clip[0, 75:], face.reshape(468, 3)[list(layouts.LIPS), :2])


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((258,), layouts.pose_and_hands()),
        ((126,), layouts.two_hands()),
        ((63,), layouts.one_hand(3)),
        ((42,), layouts.one_hand(2)),
        ((21, 2), layouts.one_hand(2)),
        ((75, 3), layouts.pose_and_hands()),
        ((17, 4), layouts.points(17, 3)),
    ],
)
def test_the_size_of_a_frame_decides_its_layout(
    tmp_path: Path, shape: tuple[int, ...], layout: layouts.LandmarkLayout
) -> None:
    write_frames(tmp_path / "a" / "0", np.ones((2, *shape)))
    data = read_landmarks(str(tmp_path))
    assert data.layout == layout
    assert clips_of(data)[0].shape == (2, layout.num_landmarks, layout.num_coords)


def test_a_point_of_visibility_zero_is_missing(tmp_path: Path) -> None:
    frame = holistic()
    frame[4 * 5 + 3] = 0.0
    write_frames(tmp_path / "a" / "0", frame[None])
    assert np.flatnonzero(np.isnan(clips_of(read_landmarks(str(tmp_path)))[0][0, :, 0])).tolist() == [5]


# text tables


def test_a_headless_csv_takes_its_class_names_from_the_label_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "keypoint.csv").write_text("\n".join(f"{label}," + ",".join(["0.5"] * 42) for label in (1, 0)))
    (tmp_path / "keypoint_classifier_label.csv").write_text("\ufeffOpen\nClose\n", encoding="utf-8")
    data = read_landmarks(str(tmp_path))
    assert data.class_names == ("Open", "Close")
    assert labels_of(data) == ["Close", "Open"]
    assert data.layout == layouts.one_hand(2)


def test_a_header_names_the_label_signer_and_split_columns(tmp_path: Path) -> None:
    names = ",".join(f"p{number}" for number in range(4))
    (tmp_path / "d.csv").write_text(f",{names},Signer,Label,split\n0,1,2,3,?,ann,yes,train\n1,1,2,3,4,bob,no,val\n")
    data = read_landmarks(str(tmp_path), POINTS_XY)
    assert labels_of(data) == ["yes", "no"]
    assert list(data.signers) == ["ann", "bob"]
    assert list(data.own_split) == ["train", "validation"]
    assert np.isnan(clips_of(data)[0][0, :, 0]).tolist() == [False, True]


# data sets that `datasets` opens

ROWS = {
    "landmarks": [[[[float(frame), float(point)] for point in range(3)] for frame in range(n)] for n in (2, 3, 1)],
    "sign": ["go", "stop", "go"],
    "participant_id": [1, 2, 1],
}


def assert_is_rows(data: LandmarkData) -> None:
    assert [clip.tolist() for clip in clips_of(data)] == ROWS["landmarks"]
    assert labels_of(data) == ROWS["sign"]
    assert list(data.signers) == ["1", "2", "1"]
    assert data.source_format == "hub"


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json", "saved", "arrow"])
def test_files_of_datasets_are_read_whatever_they_are_stored_as(tmp_path: Path, kind: str) -> None:
    dataset = Dataset.from_dict(ROWS)
    file = tmp_path / f"clips.{kind}"
    if kind == "parquet":
        dataset.to_parquet(file)
    elif kind == "jsonl":
        dataset.to_json(file)
    elif kind == "json":
        file.write_text(json.dumps([{key: ROWS[key][row] for key in ROWS} for row in range(3)]))
    else:
        dataset.save_to_disk(str(tmp_path))
    source = next(tmp_path.glob("*.arrow")) if kind == "arrow" else tmp_path
    assert_is_rows(read_landmarks(str(source)))
    assert_is_rows(read_landmarks(str(file if file.exists() else source), Reading(format="hub")))


def test_the_splits_of_a_dataset_dict_are_the_own_split_and_class_labels_keep_their_order(tmp_path: Path) -> None:
    features = Features({"landmarks": List(List(Value("float32"))), "label": ClassLabel(names=["z", "a"])})
    part = Dataset.from_dict({"landmarks": [[[1.0] * 63] * 2], "label": [1]}, features=features)
    DatasetDict(train=part, validation=part, test=part).save_to_disk(str(tmp_path))
    data = read_landmarks(str(tmp_path))
    assert list(data.own_split) == ["train", "validation", "test"]
    assert data.class_names == ("z", "a")
    assert labels_of(data) == ["a"] * 3


def test_fixed_array_columns_and_nulls_are_read(tmp_path: Path) -> None:
    features = Features({"keypoints": Array2D(shape=(4, 2), dtype="float32"), "label": Value("int64")})
    Dataset.from_dict({"keypoints": [np.ones((4, 2))] * 2, "label": [5, 6]}, features=features).to_parquet(
        tmp_path / "array.parquet"
    )
    assert [clip.shape for clip in clips_of(read_landmarks(str(tmp_path / "array.parquet"), POINTS_XY))] == [
        (4, 1, 2)
    ] * 2
    (tmp_path / "null.jsonl").write_text('{"landmarks": [[1, null], [3, 4]], "label": "a"}\n')
    clip = clips_of(read_landmarks(str(tmp_path / "null.jsonl"), POINTS_XY))[0]
    # One coordinate missing makes the point missing.
    np.testing.assert_array_equal(clip[:, 0], [[np.nan, np.nan], [3, 4]])


def test_what_a_reader_made_is_read_back_equal(tmp_path: Path) -> None:
    write_frames(tmp_path / "in" / "a" / "0", np.stack([holistic(), holistic(left=0.0)]))
    data = read_landmarks(str(tmp_path / "in"))
    data.to_dataset().save_to_disk(str(tmp_path / "out"))
    again = read_landmarks(str(tmp_path / "out"))
    assert again.layout == data.layout
    np.testing.assert_array_equal(clips_of(again)[0], clips_of(data)[0])


def test_islr_clips_become_pose_hands_and_lips_with_signers(tmp_path: Path) -> None:
    for clip, frames in ((1, 2), (2, 3)):
        rows = {axis: np.tile(np.arange(543.0), frames) for axis in "xyz"}
        rows["x"][468:489] = np.nan
        pd.DataFrame(rows).to_parquet(tmp_path / f"{clip}.parquet")
    (tmp_path / "train.csv").write_text(
        "path,participant_id,sequence_id,sign\n1.parquet,26,7,tv\n2.parquet,27,8,after\n"
    )
    (tmp_path / "sign_to_prediction_index_map.json").write_text('{"tv": 0, "after": 1}')
    data = read_landmarks(str(tmp_path))
    assert data.source_format == "islr"
    assert data.class_names == ("tv", "after")
    assert list(data.signers) == ["26", "27"]
    first, second = clips_of(data)
    assert (first.shape, second.shape) == ((2, 115, 2), (3, 115, 2))
    assert np.isnan(first[0, 33:54]).all(), "the left hand of the first frame"
    assert second[1, [0, 32, 33, 54, 75], 0].tolist() == [489.0, 521.0, 468.0, 522.0, 61.0]


def test_a_name_that_is_no_path_is_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(hub.HfApi, "dataset_info", lambda self, name, timeout: asked.append(name))
    monkeypatch.setattr(hub.datasets, "load_dataset", lambda name: DatasetDict(train=Dataset.from_dict(ROWS)))
    monkeypatch.setattr(hub.datasets.config, "HF_HUB_OFFLINE", False)
    data = read_landmarks("hub:someone/signs")
    assert asked == ["someone/signs"]
    assert data.name == "signs"
    assert_is_rows(data)
    assert not any(data.own_split), "a lone train split is no split"


# real data


@pytest.mark.parametrize(
    ("source", "source_format", "clips", "classes", "landmarks", "frames"),
    [
        ("libras_movement", "libras", 360, 15, (1, 2), (45, 45)),
        ("asl_boston104_hands", "frame_table", 888, 113, (3, 2), (3, 30)),
        ("hand_gesture_mediapipe/keypoint.csv", "landmark_csv", 4450, 3, (21, 2), (1, 1)),
        ("hand_gesture_mediapipe/point_history.csv", "landmark_csv", 5296, 4, (1, 2), (16, 16)),
        ("japanese_vowels", "uea_ts", 640, 9, (12, 1), (7, 29)),
        ("mp_holistic_actions/MP_Data", "frame_folders", 6, 3, (115, 2), (30, 30)),
        ("mp_holistic_actions/holistic_noface.npz", "npz", 180, 3, (75, 2), (30, 30)),
    ],
)
def test_published_data_sets_are_read_as_they_are(
    shared_data: Path,
    source: str,
    source_format: str,
    clips: int,
    classes: int,
    landmarks: tuple[int, int],
    frames: tuple[int, int],
) -> None:
    data = read_landmarks(str(shared_data / source))
    lengths = [len(clip) for clip in clips_of(data)]
    assert data.source_format == source_format
    assert (len(data), len(data.class_names)) == (clips, classes)
    assert (data.layout.num_landmarks, data.layout.num_coords) == landmarks
    assert (min(lengths), max(lengths)) == frames


def test_published_splits_signers_names_and_gaps_are_kept(shared_data: Path) -> None:
    boston = read_landmarks(str(shared_data / "asl_boston104_hands"))
    splits = np.array(boston.own_split)
    assert ((splits == "train").sum(), (splits == "test").sum()) == (710, 178)
    assert set(boston.signers) == {"man-1", "woman-1", "woman-2"}
    train_words = {label for label, split in zip(labels_of(boston), splits, strict=True) if split == "train"}
    assert set(boston.class_names) - train_words == {"MUST"}
    vowels = np.array(read_landmarks(str(shared_data / "japanese_vowels")).own_split)
    assert ((vowels == "train").sum(), (vowels == "test").sum()) == (270, 370)
    assert read_landmarks(str(shared_data / "libras_movement")).class_names[:2] == ("curved swing", "horizontal swing")
    assert read_landmarks(str(shared_data / "hand_gesture_mediapipe" / "keypoint.csv")).class_names == (
        "Open",
        "Close",
        "Pointer",
    )
    actions = np.concatenate(clips_of(read_landmarks(str(shared_data / "mp_holistic_actions" / "holistic_noface.npz"))))
    missing = np.isnan(actions).all(axis=2)
    assert (missing[:, 33:54].all(axis=1).sum(), missing[:, 54:75].all(axis=1).sum()) == (1955, 1845)


def test_the_npz_and_the_frame_folders_of_one_recording_agree(shared_data: Path) -> None:
    folders = read_landmarks(str(shared_data / "mp_holistic_actions" / "MP_Data"))
    archive = read_landmarks(str(shared_data / "mp_holistic_actions" / "holistic_noface.npz"))
    with np.load(shared_data / "mp_holistic_actions" / "holistic_noface.npz") as arrays:
        row = int(np.flatnonzero((arrays["y"] == "thanks") & (arrays["seq"] == 1))[0])
    thanks = labels_of(folders).index("thanks") + 1
    np.testing.assert_array_equal(clips_of(folders)[thanks][:, :75], clips_of(archive)[row])

"""JSON files of OpenPose arrive point for point, or are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused
from tests.training.data.readers.keypoints.openpose_files import as_json, expected, person, write_frame


def write_clips(root: Path, *, body: int = 25, hands: bool = True, frames: int = 3) -> list[np.ndarray]:
    """Write the clips hello/a, hello/b and thanks/c below a folder and return their landmarks."""
    rng = np.random.default_rng(body)
    clips = []
    for label, clip in (("hello", "a"), ("hello", "b"), ("thanks", "c")):
        people = [person(rng, body=body, hands=hands) for _ in range(frames)]
        for number, points in enumerate(people):
            write_frame(root / label / clip, clip, number, [as_json(points)])
        clips.append(np.stack([expected(points) for points in people]))
    return clips


@pytest.mark.parametrize("body", [25, 18])
def test_body_and_hands_arrive_point_for_point_with_their_names(tmp_path: Path, body: int) -> None:
    clips = write_clips(tmp_path, body=body)
    data = read_landmarks(str(tmp_path))
    assert data.source_format == "openpose"
    assert [data.class_names[label] for label in data.labels] == ["hello", "hello", "thanks"]
    for index, clip in enumerate(clips):
        np.testing.assert_array_equal(data.clip(index), clip)
    layout = data.layout
    assert layout.names[:3] == ("pose.nose", "pose.neck", "pose.right_shoulder")
    assert layout.names[12] == "left_hand.wrist"
    assert [layout.names[layout.mirror[index]] for index in (2, 12)] == ["pose.left_shoulder", "right_hand.wrist"]
    assert (33, 34) in layout.bones
    assert any("face is left out" in note for note in data.notes)


def test_a_body_without_hands_has_twelve_points(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, hands=False)
    data = read_landmarks(str(tmp_path))
    assert data.layout.title == "upper body"
    np.testing.assert_array_equal(data.clip(0), clips[0])


def test_of_several_people_the_surest_is_kept_and_an_empty_frame_is_missing(tmp_path: Path) -> None:
    write_clips(tmp_path)
    rng = np.random.default_rng(1)
    sure, unsure = person(rng), person(rng)
    unsure = {name: np.where([True, True, False], values, values * 0.1) for name, values in unsure.items()}
    write_frame(tmp_path / "hello" / "a", "a", 3, [as_json(unsure), as_json(sure)])
    write_frame(tmp_path / "hello" / "a", "a", 4, [])
    data = read_landmarks(str(tmp_path))
    np.testing.assert_array_equal(data.clip(0)[3], expected(sure))
    assert np.isnan(data.clip(0)[4]).all()
    assert "in 1 frames with several people the one of highest confidence is kept" in data.notes
    assert "1 frames without people are missing frames" in data.notes


def test_clips_in_one_class_folder_are_told_apart_by_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, clips in (("hello", "ab"), ("thanks", "cd")):
        for clip in clips:
            for number in range(12):
                write_frame(tmp_path / label, f"{clip}_1", number, [as_json(person(rng))])
    data = read_landmarks(str(tmp_path))
    assert [data.class_names[label] for label in data.labels] == ["hello", "hello", "thanks", "thanks"]
    assert np.diff(data.offsets).tolist() == [12, 12, 12, 12]


def test_splits_and_people_above_the_classes_are_known(tmp_path: Path) -> None:
    for split, signer in (("train", "signer1"), ("test", "signer2")):
        write_clips(tmp_path / split / signer)
    data = read_landmarks(str(tmp_path))
    assert list(data.own_split) == ["train"] * 3 + ["test"] * 3 or list(data.own_split) == ["test"] * 3 + ["train"] * 3
    assert set(data.signers) == {"signer1", "signer2"}
    assert data.class_names == ("hello", "thanks")


def test_a_table_beside_the_clips_names_their_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for clip in "abc":
        write_frame(tmp_path / "json" / clip, clip, 0, [as_json(person(rng))])
    (tmp_path / "labels.csv").write_text("video,gloss,signer\njson/a.mp4,GO,s1\nc,STOP,s2\nmissing,GO,s1\n")
    data = read_landmarks(str(tmp_path))
    assert [data.class_names[label] for label in data.labels] == ["GO", "STOP"]
    assert list(data.signers) == ["s1", "s2"]
    assert "1 clips without a row in labels.csv left out" in data.notes
    assert "1 rows of labels.csv name no clip that is there" in data.notes


def test_what_cannot_be_read_is_refused_with_all_faults_at_once(tmp_path: Path) -> None:
    write_clips(tmp_path)
    write_frame(tmp_path / "hello" / "a", "a", 3, [{"pose_keypoints_2d": [0.5] * 51}])
    write_frame(tmp_path / "hello" / "a", "a", 4, None)
    write_frame(tmp_path / "hello" / "a", "a", 5, []).write_text('{"people": [')
    assert_refused("openpose.faults", tmp_path)


def test_clips_without_a_class_are_refused(tmp_path: Path) -> None:
    for clip in "ab":
        write_frame(tmp_path / clip, clip, 0, [])
    assert_refused("openpose.no_class", tmp_path)

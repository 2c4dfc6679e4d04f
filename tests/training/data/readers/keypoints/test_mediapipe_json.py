"""Results of MediaPipe in JSON arrive point for point in each form in which programs write them, or are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused

RNG = np.random.default_rng(0)
Frame = dict[str, np.ndarray]
"""The parts of a frame that were found, each [points, 3]."""


def frame(*parts: str) -> Frame:
    counts = {"pose": 33, "left_hand": 21, "right_hand": 21, "face": 468}
    return {part: RNG.uniform(0, 1, (counts[part], 3)).round(5) for part in parts}


def points(values: np.ndarray) -> list[dict[str, float]]:
    return [{"x": x, "y": y, "z": z, "visibility": 0.0, "presence": 0.0} for x, y, z in values.tolist()]


def hands_of(found: Frame) -> list[str]:
    return [part for part in ("right_hand", "left_hand") if part in found]


def in_python(found: Frame) -> dict[str, Any]:
    """HandLandmarkerResult by its fields in Python."""
    hands = hands_of(found)
    return {
        "handedness": [[{"index": 0, "score": 0.9, "category_name": hand.split("_")[0].title()}] for hand in hands],
        "hand_landmarks": [points(found[hand]) for hand in hands],
        "hand_world_landmarks": [points(found[hand] / 10) for hand in hands],
    }


def in_javascript(found: Frame) -> dict[str, Any]:
    """HandLandmarkerResult of the web, which has the handedness twice."""
    hands = hands_of(found)
    said = [[{"score": 0.9, "index": 0, "categoryName": hand.split("_")[0].title()}] for hand in hands]
    bodies = [points(found[hand]) for hand in hands]
    return {"landmarks": bodies, "worldLandmarks": bodies, "handednesses": said, "handedness": said}


def in_solutions(found: Frame) -> dict[str, Any]:
    """The older solution Hands, converted from protobuf."""
    hands = hands_of(found)
    return {
        "multi_hand_landmarks": [{"landmark": points(found[hand])} for hand in hands] or None,
        "multi_handedness": [{"classification": [{"label": hand.split("_")[0].title(), "score": 1}]} for hand in hands],
    }


def in_own_objects(found: Frame) -> dict[str, Any]:
    return {
        "t": 3,
        "hands": [{"handedness": h.split("_")[0].title(), "landmarks": found[h].tolist()} for h in hands_of(found)],
    }


def as_holistic(found: Frame) -> dict[str, Any]:
    """HolisticLandmarkerResult of the web, or the older Holistic with lists of points."""
    names = {
        "pose": "poseLandmarks",
        "left_hand": "leftHandLandmarks",
        "right_hand": "rightHandLandmarks",
        "face": "faceLandmarks",
    }
    return {name: points(found[part]) if part in found else [] for part, name in names.items()}


def expected(frames: list[Frame], *parts: str) -> np.ndarray:
    """The landmarks of frames: missing parts as NaN, x and y where there are several parts."""
    counts = {"pose": 33, "left_hand": 21, "right_hand": 21}
    missing = {part: np.full((counts[part], 3), np.nan) for part in parts}
    values = np.stack([np.concatenate([{**missing, **found}[part] for part in parts]) for found in frames])
    return values[..., : 2 if len(parts) > 1 else 3].astype(np.float32)


HANDS = ("left_hand", "right_hand")
CLIPS = {
    "hello": [[frame(*HANDS), frame("right_hand"), frame()], [frame(*HANDS), frame("left_hand")]],
    "thanks": [[frame("right_hand"), frame(*HANDS)]],
}


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def assert_is_clips(source: Path, *parts: str) -> None:
    data = read_landmarks(str(source))
    assert data.source_format == "mediapipe_json"
    assert [data.class_names[label] for label in data.labels] == ["hello", "hello", "thanks"]
    for index, frames in enumerate(clip for clips in CLIPS.values() for clip in clips):
        np.testing.assert_array_equal(data.clip(index), expected(frames, *parts))


@pytest.mark.parametrize("form", [in_python, in_javascript, in_solutions, in_own_objects])
def test_hands_are_left_and_right_by_their_handedness_in_each_form(
    tmp_path: Path, form: Callable[[Frame], Any]
) -> None:
    for label, clips in CLIPS.items():
        for number, frames in enumerate(clips):
            write(tmp_path / label / f"{number}.json", {"fps": 30, "frames": [form(found) for found in frames]})
    assert_is_clips(tmp_path, *HANDS)


def test_a_table_beside_the_files_names_their_classes(tmp_path: Path) -> None:
    rows = ["path,label"]
    for number, (label, frames) in enumerate((label, frames) for label, clips in CLIPS.items() for frames in clips):
        write(tmp_path / "json" / f"{number}.json", [in_python(found) for found in frames])
        rows.append(f"json/{number}.json,{label}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    assert_is_clips(tmp_path, *HANDS)


def test_a_file_a_frame_in_a_folder_a_clip(tmp_path: Path) -> None:
    for label, clips in CLIPS.items():
        for number, frames in enumerate(clips):
            for index, found in enumerate(frames):
                write(tmp_path / label / f"clip{number}" / f"frame_{index}.json", in_python(found))
    assert_is_clips(tmp_path, *HANDS)


def test_lists_of_frames_and_clips_in_one_file_by_their_field(tmp_path: Path) -> None:
    for label, clips in CLIPS.items():
        for number, frames in enumerate(clips):
            write(tmp_path / "lists" / label / f"{number}.json", [in_python(found) for found in frames])
    assert_is_clips(tmp_path / "lists", *HANDS)
    entries = [
        {"label": label, "frames": [in_python(found) for found in frames]}
        for label, clips in CLIPS.items()
        for frames in clips
    ]
    write(tmp_path / "one.json", entries)
    assert_is_clips(tmp_path / "one.json", *HANDS)
    write(tmp_path / "under.json", {"version": 1, "samples": entries})
    assert_is_clips(tmp_path / "under.json", *HANDS)


def test_lines_are_frames_of_the_clip_that_they_name(tmp_path: Path) -> None:
    lines = [
        json.dumps({"video_id": f"{label}{number}", "label": label, "signer": f"s{number}", **in_python(found)})
        for label, clips in CLIPS.items()
        for number, frames in enumerate(clips)
        for found in frames
    ]
    (tmp_path / "all.jsonl").write_text("\n".join(lines) + "\n")
    assert_is_clips(tmp_path / "all.jsonl", *HANDS)
    assert list(read_landmarks(str(tmp_path)).signers) == ["s0", "s1", "s0"]


def test_holistic_results_are_pose_hands_and_lips(tmp_path: Path) -> None:
    frames = [frame("pose", "right_hand", "face"), frame("pose", *HANDS)]
    for label in ("a", "b"):
        write(tmp_path / label / "0.json", [as_holistic(found) for found in frames])
    data = read_landmarks(str(tmp_path))
    assert data.layout.num_landmarks == 115
    np.testing.assert_array_equal(data.clip(0)[:, :75], expected(frames, "pose", *HANDS))
    np.testing.assert_array_equal(data.clip(0)[0, 75], frames[0]["face"][61, :2].astype(np.float32))
    assert np.isnan(data.clip(0)[1, 75:]).all()


def test_a_part_alone_keeps_its_depth(tmp_path: Path) -> None:
    for part, count in (("right_hand", 21), ("pose", 33)):
        frames = [frame(part), frame(part)]
        form = as_holistic if part == "pose" else in_python
        for label in "ab":
            write(tmp_path / part / label / "0.json", {"frames": [form(found) for found in frames]})
        data = read_landmarks(str(tmp_path / part))
        assert (data.layout.num_landmarks, data.layout.num_coords) == (count, 3)
        np.testing.assert_array_equal(data.clip(0), expected(frames, part))


def test_a_list_of_frames_for_each_part_is_a_clip_and_not_many_people(tmp_path: Path) -> None:
    frames = [frame("pose", "right_hand") for _ in range(8)]
    for label in "ab":
        lists = {f"{part}_landmarks": [found[part].tolist() for found in frames] for part in ("pose", "right_hand")}
        write(tmp_path / label / "0.json", {**lists, "left_hand_landmarks": [np.zeros((21, 3)).tolist()] * 8})
    data = read_landmarks(str(tmp_path))
    np.testing.assert_array_equal(data.clip(1), expected(frames, "pose", *HANDS))


def test_two_hands_of_one_side_keep_the_surer_and_say_so(tmp_path: Path) -> None:
    sure, unsure = frame("right_hand"), frame("right_hand")
    both = {
        "hand_landmarks": [points(unsure["right_hand"]), points(sure["right_hand"])],
        "handedness": [[{"score": score, "category_name": "Right"}] for score in (0.6, 0.9)],
    }
    for label in "ab":
        write(tmp_path / label / "0.json", [both])
    data = read_landmarks(str(tmp_path))
    np.testing.assert_array_equal(data.clip(0), expected([sure], "right_hand"))
    assert "in 2 frames two hands have the same handedness: the surer is kept" in data.notes


def test_what_cannot_be_read_is_refused_with_all_faults_at_once(tmp_path: Path) -> None:
    both = in_python(frame(*HANDS))
    write(tmp_path / "a" / "0.json", [both, {"hand_landmarks": both["hand_landmarks"], "handedness": []}])
    write(tmp_path / "a" / "1.json", [{"pose_landmarks": points(np.ones((17, 3)))}])
    write(tmp_path / "b" / "0.json", [{"hand_landmarks": [[{"x": "left"}] * 21]}])
    (tmp_path / "b" / "1.json").write_text('[{"hand_landmarks": [')
    assert_refused("mediapipe_json.faults", tmp_path)


def test_hands_of_unknown_side_beside_known_ones_are_refused(tmp_path: Path) -> None:
    right = in_python(frame("right_hand"))
    for label in "ab":
        write(tmp_path / label / "0.json", [right, {"hand_landmarks": right["hand_landmarks"]}])
    assert_refused("mediapipe_json.sides", tmp_path)


def test_files_without_a_class_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "0.json", [in_python(frame("right_hand"))])
    assert_refused("mediapipe_json.no_class", tmp_path)

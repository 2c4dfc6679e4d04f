"""`.pose` files arrive point for point, with names, bones and sides from their headers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from slipway.training.data.layouts.mediapipe import LIPS, pose_and_hands
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused

pose_format = pytest.importorskip("pose_format")
from pose_format.numpy import NumPyPoseBody  # noqa: E402
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions  # noqa: E402

BODY = ["NOSE", "LEFT_SHOULDER", "RIGHT_SHOULDER"]
HAND = ["WRIST", "THUMB_CMC", "INDEX_FINGER_MCP"]
HOLISTIC = (
    ("POSE_LANDMARKS", BODY, [(0, 1), (0, 2)]),
    ("FACE_LANDMARKS", [str(point) for point in range(468)], []),
    ("LEFT_HAND_LANDMARKS", HAND, [(0, 1)]),
    ("RIGHT_HAND_LANDMARKS", HAND, [(0, 1)]),
    ("POSE_WORLD_LANDMARKS", BODY, []),
)
OPENPOSE = (
    ("pose_keypoints_2d", ["Nose", "RShoulder", "LShoulder", "LBigToe", "RBigToe"], []),
    ("face_keypoints_2d", [f"FB_{point}" for point in range(70)], []),
)
RNG = np.random.default_rng(0)
Components = tuple[tuple[str, list[str], list[tuple[int, int]]], ...]


def write_pose(
    file: Path, components: Components = HOLISTIC, *, axes: str = "XYZC", frames: int = 4, people: int = 1
) -> np.ndarray:
    """Write a file and return its numbers with missing points as NaN, [frames, people, points, coords]."""
    header = PoseHeader(
        version=0.1,
        dimensions=PoseHeaderDimensions(width=640, height=480, depth=1000),
        components=[
            PoseHeaderComponent(name=name, points=points, limbs=limbs, colors=[(0, 0, 0)], point_format=axes)
            for name, points, limbs in components
        ],
    )
    num_points = sum(len(points) for _, points, _ in components)
    data = RNG.uniform(0, 640, (frames, people, num_points, len(axes) - 1)).astype(np.float32)
    confidence = RNG.uniform(0.2, 1, (frames, people, num_points)).astype(np.float32)
    confidence[RNG.random(confidence.shape) < 0.2] = 0
    confidence[:, 1:] *= 0.1
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        pose_format.Pose(header, NumPyPoseBody(fps=25, data=data, confidence=confidence)).write(opened)
    return np.where(confidence[..., None] > 0, data, np.float32(np.nan))


def test_pose_hands_and_lips_arrive_point_for_point(tmp_path: Path) -> None:
    clips = [write_pose(tmp_path / label / f"{number}.pose") for label in ("a", "b") for number in range(2)]
    data = read_landmarks(str(tmp_path))
    assert data.source_format == "pose"
    assert [data.class_names[label] for label in data.labels] == ["a", "a", "b", "b"]
    kept = [0, 1, 2, 471, 472, 473, 474, 475, 476, *(3 + lip for lip in LIPS)]
    for index, clip in enumerate(clips):
        values = clip[:, 0, kept, :2]
        np.testing.assert_array_equal(data.clip(index), values)
    layout = data.layout
    assert layout.names[:5] == (
        *("pose.nose", "pose.left_shoulder", "pose.right_shoulder"),
        *("left_hand.wrist", "left_hand.thumb_cmc"),
    )
    assert layout.mirror[:9] == (0, 2, 1, 6, 7, 8, 3, 4, 5)
    assert [point - 9 for point in layout.mirror[9:]] == [
        point - 75 for point in pose_and_hands(2, lips=True).mirror[75:]
    ]
    assert layout.bones == ((0, 1), (0, 2), (3, 4), (6, 7))
    assert (layout.center, layout.scale) == ((1, 2), ((1, 2),))
    assert "POSE_WORLD_LANDMARKS left out" in data.notes


def test_one_component_keeps_its_depth_and_openpose_names_are_understood(tmp_path: Path) -> None:
    for label in ("a", "b"):
        write_pose(tmp_path / "hand" / label / "0.pose", HOLISTIC[2:3])
        write_pose(tmp_path / "openpose" / label / "0.pose", OPENPOSE, axes="XYC")
    hand = read_landmarks(str(tmp_path / "hand"))
    assert (hand.layout.title, hand.layout.num_coords, hand.layout.mirror) == ("left hand", 3, (0, 1, 2))
    body = read_landmarks(str(tmp_path / "openpose"))
    assert body.layout.names == tuple(
        f"pose.{n}" for n in ("nose", "right_shoulder", "left_shoulder", "left_big_toe", "right_big_toe")
    )
    assert body.layout.mirror == (0, 2, 1, 4, 3)
    assert "the face is left out" in body.notes


def test_of_several_people_the_surest_is_kept(tmp_path: Path) -> None:
    clip = write_pose(tmp_path / "a" / "0.pose", HOLISTIC[2:3], people=2)
    write_pose(tmp_path / "b" / "0.pose", HOLISTIC[2:3])
    np.testing.assert_array_equal(read_landmarks(str(tmp_path)).clip(0), clip[:, 0])


def test_a_table_beside_names_classes_and_splits(tmp_path: Path) -> None:
    for number in range(3):
        write_pose(tmp_path / "poses" / f"{number}.pose", HOLISTIC[2:4])
    (tmp_path / "all.csv").write_text(
        "path,gloss,split\nposes/0.pose,x,train\nposes/1.pose,y,train\nposes/2.pose,x,test\n"
    )
    data = read_landmarks(str(tmp_path))
    assert [data.class_names[label] for label in data.labels] == ["x", "y", "x"]
    assert list(data.own_split) == ["train", "train", "test"]


def test_faults_are_listed_at_once(tmp_path: Path) -> None:
    write_pose(tmp_path / "a" / "0.pose")
    write_pose(tmp_path / "a" / "1.pose", HOLISTIC[:1])
    cut = tmp_path / "b" / "0.pose"
    write_pose(cut)
    cut.write_bytes(cut.read_bytes()[:5000])
    assert_refused("pose.faults", tmp_path)


def test_without_the_package_the_line_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pose(tmp_path / "a" / "0.pose")
    monkeypatch.setitem(sys.modules, "pose_format", None)
    assert_refused("pose.no_package", tmp_path)

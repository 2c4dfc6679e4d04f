"""Examples of what trackers write themselves, and of what `datasets` and `slipway data convert` write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict

from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.layouts.mediapipe import one_hand

from ..readers.keypoints.openpose_files import as_json, expected, person, write_frame
from .bodies import HANDS, HOLISTIC, ISLR, POSE_HANDS, SIZES, Clip, clips_of, numbers, truth
from .example import Example, Made, made


def points_of(values: np.ndarray) -> list[dict[str, float]]:
    """Return a part of a frame as MediaPipe's JSON has it; empty if it was not found."""
    if np.isnan(values).any():
        return []
    return [{"x": x, "y": y, "z": z, "visibility": 0.0} for x, y, z in values.tolist()]


def hand_result(frame: dict[str, np.ndarray], **more: object) -> dict[str, Any]:
    """Return the result of the Hand Landmarker for a frame, the right hand first."""
    found = [part for part in ("right_hand", "left_hand") if part in frame and not np.isnan(frame[part]).any()]
    sides = [[{"index": 0, "score": 0.9, "category_name": part.split("_")[0].title()}] for part in found]
    return {"handedness": sides, "hand_landmarks": [points_of(frame[part]) for part in found], **more}


def gesture_result(frame: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the result of the Gesture Recognizer, whose own guess is no class."""
    gestures = [[{"index": -1, "score": 0.8, "category_name": "Open_Palm"}]]
    return hand_result(frame, gestures=gestures)


def pose_result(frame: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the result of the Pose Landmarker."""
    return {"poseLandmarks": [points_of(frame["pose"])], "poseWorldLandmarks": [points_of(frame["pose"] / 2)]}


def holistic_result(frame: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the result of the Holistic Landmarker."""
    names = {
        part: f"{''.join([first, *(word.title() for word in rest)])}Landmarks"
        for part in HOLISTIC
        for first, *rest in [part.split("_")]
    }
    return {name: points_of(frame[part]) for part, name in names.items()}


def mediapipe(
    parts: Sequence[str], result: Callable[[dict[str, np.ndarray]], object], lost: str = ""
) -> Callable[[Path], Made]:
    """Return what writes `<class>/<clip>.json`, a list of results."""

    def write(root: Path) -> Made:
        clips = clips_of(*parts, frames=(3, 4, 5, 6), lost=lost)
        for clip in clips:
            length = len(clip.body[parts[0]])
            results = [result({part: values[n] for part, values in clip.body.items()}) for n in range(length)]
            file = root / clip.label / f"{clip.number}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(results))
        return made(clips)

    return write


def points_in_json(form: str) -> Callable[[Path], Made]:
    """Return what writes points {x, y, z} of single frames: in a list of objects, or by class."""

    def write(root: Path) -> Made:
        clips = clips_of("hand", frames=1)
        samples = [
            [dict(zip("xyz", point, strict=True)) for point in numbers(clip, "xyz")[0].tolist()] for clip in clips
        ]
        by_class: dict[str, list[object]] = {clip.label: [] for clip in clips}
        for clip, sample in zip(clips, samples, strict=True):
            by_class[clip.label].append(sample)
        of_all = [{"label": clip.label, "landmarks": sample} for clip, sample in zip(clips, samples, strict=True)]
        (root / "data.json").write_text(json.dumps(of_all if form == "objects" else by_class))
        return made(clips)

    return write


def openpose(root: Path) -> Made:
    rng = np.random.default_rng(0)
    clips, labels = [], []
    for label in ("hello", "thanks"):
        for clip in "ab":
            people = [person(rng) for _ in range(4)]
            for number, points in enumerate(people):
                write_frame(root / label / f"{label}_{clip}", f"{label}_{clip}", number, [as_json(points)])
            clips.append(np.stack([expected(points) for points in people]))
            labels.append(label)
    return Made(clips=clips, labels=labels)


def aihub(root: Path) -> Made:
    rng = np.random.default_rng(0)
    clips, labels = [], []
    groups: dict[str, list[str]] = {"signer": [], "recording": [], "view": []}
    for word, label in (("WORD1501", "고민"), ("WORD1502", "왼쪽")):
        for number in (1, 2):
            for view in "DFLRU":
                name = f"NIA_SL_{word}_REAL{number:02d}_{view}"
                people = [person(rng) for _ in range(12)]
                for frame, points in enumerate(people):
                    write_frame(root / "keypoint" / name, name, frame, as_json(points))
                signs = [{"start": 0.1, "end": 0.3, "attributes": [{"name": label}]}]
                (root / "morpheme").mkdir(exist_ok=True)
                (root / "morpheme" / f"{name}_morpheme.json").write_text(
                    json.dumps({"metaData": {"name": f"{name}.mp4", "duration": 0.4}, "data": signs}), encoding="utf-8"
                )
                clips.append(np.stack([expected(points) for points in people[3:9]]))
                labels.append(label)
                for kind, text in (
                    ("signer", f"REAL{number:02d}"),
                    ("recording", f"{word}_REAL{number:02d}"),
                    ("view", view),
                ):
                    groups[kind].append(text)
    return Made(clips=clips, labels=labels, groups=groups)


def pose_files(root: Path) -> Made:
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    names = {"pose": "POSE_LANDMARKS", "left_hand": "LEFT_HAND_LANDMARKS", "right_hand": "RIGHT_HAND_LANDMARKS"}
    components = [
        PoseHeaderComponent(name=name, points=_names_of(part), limbs=[], colors=[(0, 0, 0)], point_format="XYZC")
        for part, name in names.items()
    ]
    header = PoseHeader(
        version=0.1, dimensions=PoseHeaderDimensions(width=640, height=480, depth=0), components=components
    )
    clips = clips_of(*POSE_HANDS, frames=(3, 4, 5, 6), pixels=True, lost="left_hand")
    for clip in clips:
        values = np.concatenate([clip.body[part] for part in POSE_HANDS], axis=1)[:, None].astype(np.float32)
        found = (~np.isnan(values[..., 0])).astype(np.float32)
        file = root / clip.label / f"{clip.number}.pose"
        file.parent.mkdir(exist_ok=True)
        with file.open("wb") as opened:
            Pose(header, NumPyPoseBody(fps=25, data=np.nan_to_num(values), confidence=found)).write(opened)
    return made(clips)


def _names_of(part: str) -> list[str]:
    from slipway.training.data.layouts.mediapipe import POINTS

    return [name.upper() for name in POINTS[part]]  # type: ignore[union-attr]


def islr(root: Path) -> Made:
    clips = clips_of(*ISLR, frames=(2, 3, 4), clips=3, lost="left_hand")
    rows = []
    for clip in clips:
        values = np.concatenate([clip.body[part] for part in ISLR], axis=1)
        table = pd.DataFrame(values.reshape(-1, 3), columns=["x", "y", "z"])
        table.insert(0, "landmark_index", np.tile([n for part in ISLR for n in range(SIZES[part])], len(values)))
        table.insert(0, "type", np.tile([part for part in ISLR for _ in range(SIZES[part])], len(values)))
        table.insert(0, "frame", np.repeat(np.arange(20, 20 + len(values)), 543))
        table["row_id"] = [
            f"{frame}-{kind}-{n}"
            for frame, kind, n in zip(table["frame"], table["type"], table["landmark_index"], strict=True)
        ]
        name = f"train_landmark_files/{clip.number}/{clip.class_number}{clip.number}.parquet"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(root / name)
        rows.append([name, clip.number, f"{clip.class_number}{clip.number}", clip.label])
    pd.DataFrame(rows, columns=["path", "participant_id", "sequence_id", "sign"]).to_csv(
        root / "train.csv", index=False
    )
    return made(clips, groups={"signer": [str(clip.number) for clip in clips]})


# datasets


def rows_of(clips: Sequence[Clip]) -> Dataset:
    """Return clips as a data set of nested lists."""
    return Dataset.from_dict(
        {
            "landmarks": [clip.body["hand"].tolist() for clip in clips],
            "label": [clip.label for clip in clips],
            "signer": [f"s{clip.number % 2}" for clip in clips],
        }
    )


def saved_to_disk(root: Path) -> Made:
    clips = clips_of("hand", frames=(3, 4, 5, 6))
    splits = ["test" if clip.number == 3 else "train" for clip in clips]
    parts = {
        split: [clip for clip, own in zip(clips, splits, strict=True) if own == split] for split in ("train", "test")
    }
    DatasetDict({split: rows_of(of_split) for split, of_split in parts.items()}).save_to_disk(str(root / "set"))
    return made(clips, splits=splits, groups={"signer": [f"s{clip.number % 2}" for clip in clips]}, source="set")


def parquet(root: Path) -> Made:
    clips = clips_of("hand", frames=(3, 4, 5, 6))
    rows_of(clips).to_parquet(str(root / "train.parquet"))
    return made(clips, groups={"signer": [f"s{clip.number % 2}" for clip in clips]})


def converted(root: Path) -> Made:
    clips = clips_of("hand", frames=(3, 4, 5, 6), lost="hand")
    values = [truth(clip) for clip in clips]
    groups = {"signer": [f"s{clip.number % 2}" for clip in clips], "recording": [str(clip.number) for clip in clips]}
    data = LandmarkData(
        name="set",
        source_format="test",
        layout=one_hand(3),
        values=np.concatenate(values),
        offsets=np.cumsum([0, *map(len, values)]),
        labels=np.array([clip.class_number for clip in clips]),
        class_names=tuple(dict.fromkeys(clip.label for clip in clips)),
        groups=groups,
        own_split=["test" if clip.number == 3 else "train" for clip in clips],
    )
    pq.write_table(data.to_table(), root / "clips.parquet")
    return made(clips, groups=groups, splits=data.own_split)


KEYPOINTS = [
    Example(on_disk="OpenPose's JSON, a file a frame", write=openpose),
    Example(on_disk="AI-Hub's Korean signs, five views, morpheme files", write=aihub),
    Example(on_disk="MediaPipe Tasks, hands: `<class>/<clip>.json`", write=mediapipe(HANDS, hand_result, "left_hand")),
    Example(on_disk="MediaPipe Tasks, gestures", write=mediapipe(("right_hand",), gesture_result)),
    Example(on_disk="MediaPipe Tasks, pose", write=mediapipe(("pose",), pose_result)),
    Example(on_disk="MediaPipe Tasks, holistic", write=mediapipe(HOLISTIC, holistic_result, "left_hand")),
    Example(on_disk="a JSON list of label and landmarks {x, y, z}", write=points_in_json("objects")),
    Example(on_disk="JSON of frames {x, y, z} by class", write=points_in_json("by class")),
    Example(on_disk="`<class>/<clip>.pose` by pose-format", write=pose_files),
    Example(on_disk="Google ISLR: `train.csv` and a Parquet file a clip", write=islr),
    Example(on_disk="a folder by `save_to_disk` with splits", write=saved_to_disk),
    Example(on_disk="Parquet of nested lists", write=parquet),
    Example(on_disk="what `slipway data convert` writes", write=converted),
]

"""Writes JSON files as OpenPose and AI-Hub do, with the landmarks that must be read from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

BODY = {25: [*range(8), *range(15, 19)], 18: [*range(8), *range(14, 18)]}


def person(rng: np.random.Generator, *, body: int = 25, hands: bool = True) -> dict[str, np.ndarray]:
    """Return x, y, confidence of the points of a person; some have confidence 0, as OpenPose writes missing ones."""
    parts = {"pose": body, "face": 70} | ({"hand_left": 21, "hand_right": 21} if hands else {})
    points = {}
    for name, count in parts.items():
        values = np.concatenate([rng.uniform(0, 1920, (count, 2)), rng.uniform(0.1, 1, (count, 1))], axis=1).round(3)
        values[rng.random(count) < 0.2] = 0
        points[name] = values
    return points


def as_json(points: dict[str, np.ndarray]) -> dict[str, object]:
    """Return a person as OpenPose writes it; parts that were not looked for are empty."""
    names = ("pose", "face", "hand_left", "hand_right")
    flat = {name: points[name].reshape(-1).tolist() if name in points else [] for name in names}
    return {"person_id": [-1], **{f"{name}_keypoints_2d": flat[name] for name in names}, "pose_keypoints_3d": []}


def expected(points: dict[str, np.ndarray]) -> np.ndarray:
    """Return the landmarks of a person: float32 [points, 2]."""
    parts = [
        points["pose"][BODY[len(points["pose"])]],
        *(points[name] for name in ("hand_left", "hand_right") if name in points),
    ]
    values = np.concatenate(parts).astype(np.float32)
    return np.where(values[:, 2:] > 0, values[:, :2], np.float32(np.nan))


def write_frame(folder: Path, clip: str, number: int, people: object) -> Path:
    """Write a frame's file and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{clip}_{number:012d}_keypoints.json"
    file.write_text(json.dumps({"version": 1.3, "people": people}))
    return file

"""Clips of which each part of the body is an array of its own are read whole: no part is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.arrays.body_parts import names_of_parts, parts_among
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks

LABELS = ("hello", "thanks")
CLIPS = 3


def _parts(seed: int, frames: int = 6) -> dict[str, np.ndarray]:
    """Return the parts of a clip; the left hand is not seen in its first two frames."""
    rng = np.random.default_rng(seed)
    parts = {
        "pose": rng.normal(0.5, 0.2, (frames, 33, 3)),
        "left_hand": rng.normal(0.5, 0.2, (frames, 21, 3)),
        "right_hand": rng.normal(0.5, 0.2, (frames, 21, 3)),
    }
    parts["left_hand"][:2] = 0
    return parts


def _lists(parts: dict[str, np.ndarray], frame: int) -> dict[str, object]:
    return {name: values[frame].tolist() if values[frame].any() else None for name, values in parts.items()}


def _archives(folder: Path) -> None:
    for seed, label in enumerate(LABELS * CLIPS):
        (folder / label).mkdir(exist_ok=True)
        np.savez(folder / label / f"{seed}.npz", **dict(reversed(_parts(seed).items())))


def _archives_in_a_table(folder: Path) -> None:
    for seed in range(len(LABELS) * CLIPS):
        np.savez(folder / f"{seed}.npz", **_parts(seed))
    rows = [(f"{seed}.npz", label) for seed, label in enumerate(LABELS * CLIPS)]
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(folder / "labels.csv", index=False)


def _folders(folder: Path) -> None:
    for seed, label in enumerate(LABELS * CLIPS):
        (folder / label / f"clip{seed}").mkdir(parents=True)
        for name, values in _parts(seed).items():
            np.save(folder / label / f"clip{seed}" / f"{name}_landmarks.npy", values)


def _json_of_frames(folder: Path) -> None:
    for seed, label in enumerate(LABELS * CLIPS):
        (folder / label).mkdir(exist_ok=True)
        frames = [_lists(_parts(seed), frame) for frame in range(6)]
        (folder / label / f"{seed}.json").write_text(json.dumps(frames))


def _json_of_samples(folder: Path) -> None:
    samples = [
        {"gloss": label, **{name: values.tolist() for name, values in _parts(seed).items()}}
        for seed, label in enumerate(LABELS * CLIPS)
    ]
    (folder / "data.json").write_text(json.dumps({"version": 1, "samples": samples}))


def _parquet(folder: Path) -> None:
    rows = [
        {"label": label, **{name: values.tolist() for name, values in _parts(seed).items()}}
        for seed, label in enumerate(LABELS * CLIPS)
    ]
    pd.DataFrame(rows).to_parquet(folder / "data.parquet")


@pytest.mark.parametrize(
    "write", [_archives, _archives_in_a_table, _folders, _json_of_frames, _json_of_samples, _parquet]
)
def test_all_parts_of_a_clip_are_read_wherever_they_stand(write, tmp_path: Path) -> None:
    write(tmp_path)
    data = read_landmarks(str(tmp_path), Reading())
    assert data.layout.title == "pose, both hands"
    assert sorted(data.class_names[label] for label in data.labels) == sorted(LABELS * CLIPS)
    clips = sorted(float(np.nanmean(clip)) for clip in np.split(data.values, data.offsets[1:-1]))
    expected = []
    for seed in range(len(LABELS) * CLIPS):
        parts = _parts(seed)
        parts["left_hand"][:2] = np.nan
        expected.append(float(np.nanmean(np.concatenate(list(parts.values()), axis=1)[..., :2])))
    np.testing.assert_allclose(clips, sorted(expected), rtol=1e-5)
    hand = [index for index, name in enumerate(data.layout.names) if name.startswith("left_hand")]
    assert np.isnan(data.values[:, hand]).mean() == pytest.approx(1 / 3)


def test_an_archive_with_the_whole_clip_beside_its_parts_is_read_whole(tmp_path: Path) -> None:
    for seed, label in enumerate(LABELS * CLIPS):
        (tmp_path / label).mkdir(exist_ok=True)
        parts = _parts(seed)
        np.savez(tmp_path / label / f"{seed}.npz", landmarks=parts["left_hand"], **parts)
    rows = [(f"{label}/{seed}.npz", label) for seed, label in enumerate(LABELS * CLIPS)]
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(tmp_path / "labels.csv", index=False)
    assert read_landmarks(str(tmp_path), Reading()).layout.num_landmarks == 21


def test_a_hand_that_a_clip_never_shows_is_missing_in_it(tmp_path: Path) -> None:
    for seed, label in enumerate(LABELS * CLIPS):
        (tmp_path / label).mkdir(exist_ok=True)
        frames = [{**_lists(_parts(seed), frame), "right_hand": []} for frame in range(6)]
        if seed:
            frames = [_lists(_parts(seed), frame) for frame in range(6)]
        (tmp_path / label / f"{seed}.json").write_text(json.dumps(frames))
    data = read_landmarks(str(tmp_path), Reading())
    hand = [index for index, name in enumerate(data.layout.names) if name.startswith("right_hand")]
    assert np.isnan(data.values[:, hand]).mean() == pytest.approx(1 / (len(LABELS) * CLIPS))


def test_parts_of_unequal_length_say_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "hello").mkdir()
    (tmp_path / "thanks").mkdir()
    for label in LABELS:
        parts = _parts(0)
        np.savez(tmp_path / label / "0.npz", **{**parts, "left_hand": parts["left_hand"][2:]})
        np.savez(tmp_path / label / "1.npz", **parts)
    with pytest.raises(UserError, match=r"left_hand \[4, 21, 3\].*write NaN where a part is not seen"):
        read_landmarks(str(tmp_path), Reading())


def test_one_archive_of_parts_is_called_a_clip(tmp_path: Path) -> None:
    np.savez(tmp_path / "clip.npz", **_parts(0))
    with pytest.raises(UserError, match=r"holds the parts of one clip .* <class>/<clip>\.npz"):
        read_landmarks(str(tmp_path / "clip.npz"), Reading())


def test_a_confidence_among_parts_is_read_as_such_if_said(tmp_path: Path) -> None:
    for seed, label in enumerate(LABELS * CLIPS):
        (tmp_path / label).mkdir(exist_ok=True)
        parts = _parts(seed)
        for values in parts.values():
            values[..., 2] = np.random.default_rng(seed).uniform(0.5, 1, values.shape[:2])
        parts["pose"][:3, 7, 2] = 0
        np.savez(tmp_path / label / f"{seed}.npz", **parts)
    data = read_landmarks(str(tmp_path), Reading(coords="xyc"))
    assert np.isnan(data.values[:, data.layout.names.index("pose.left_ear")]).mean() == pytest.approx(0.5)


def test_names_of_arrays_are_parts_only_together() -> None:
    assert parts_among(["pose"]) == {}
    assert parts_among(["lh", "Pose_Landmarks", "meta", "rightHand"]) == {
        "pose": "Pose_Landmarks",
        "left_hand": "lh",
        "right_hand": "rightHand",
    }
    assert names_of_parts("", {"left_hand": (4, 63), "right_hand": (4, 42)})[1][62:64] == [
        "left_hand_20_z",
        "right_hand_0_x",
    ]

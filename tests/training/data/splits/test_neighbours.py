"""Frames of one recording and overlapping windows that stand on both sides of a split are found, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.layouts.mediapipe import points
from slipway.training.data.splits.neighbours import near_duplicates
from slipway.training.data.synthetic.fingerspelling import make_fingerspelling
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.splits.helpers import parts, said, split, warned


def make_clips(clips: np.ndarray, labels: np.ndarray, **fields: object) -> LandmarkData:
    """Make a data set of clips [clips, frames, landmarks, 2]."""
    number, frames, landmarks, _ = clips.shape
    return LandmarkData(
        name="takes",
        source_format="test",
        layout=points(landmarks, 2),
        values=clips.reshape(-1, landmarks, 2).astype(np.float32),
        offsets=np.arange(number + 1, dtype=np.int64) * frames,
        labels=labels.astype(np.int64),
        class_names=tuple("abcdef"[: labels.max() + 1]),
        **fields,  # type: ignore[arg-type]
    )


def make_takes(*, takes: int = 3, drift: float = 0.002, noise: float = 0.0) -> tuple[LandmarkData, np.ndarray]:
    """Make frames of some takes of three classes, one after the other, and the take of each."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(3 * takes):
        moves = rng.normal(0, drift, (50, 8, 2)).cumsum(axis=0) + rng.normal(0, noise, (50, 8, 2))
        frames.append(rng.uniform(0.2, 0.8, (8, 2)) + moves)
    take = np.repeat(np.arange(3 * takes), 50)
    return make_clips(np.concatenate(frames)[:, None], take // takes), take


def make_windows(*, length: int = 20, frames: int = 300) -> LandmarkData:
    """Make all windows of a recording of each of three classes."""
    rng = np.random.default_rng(0)
    windows = []
    for _ in range(3):
        track = rng.normal(0, 1, (frames, 8, 2))
        windows += [track[start : start + length] for start in range(frames - length)]
    return make_clips(np.stack(windows), np.repeat(np.arange(3), frames - length))


def shuffled(data: LandmarkData) -> LandmarkData:
    order = np.random.default_rng(1).permutation(len(data))
    return make_clips(np.stack([data.clip(index) for index in order]), data.labels[order])


@pytest.mark.parametrize(("drift", "noise"), [(0.002, 0.0), (0.0, 0.003)])
def test_consecutive_frames_on_both_sides_of_a_split_are_told_with_their_share(drift: float, noise: float) -> None:
    data, _ = make_takes(drift=drift, noise=noise)
    splits = split(data, seed=0)
    assert splits.neighbours.share > 0.8
    assert f"{splits.neighbours.share:.0%} of the test clips are nearly the same as training clips" in warned(splits)
    assert "--group blocks keeps such clips in one split" in warned(splits)


def test_shuffled_frames_are_no_neighbours() -> None:
    assert not split(shuffled(make_takes()[0]), seed=0).warnings


def test_clips_made_independently_are_no_neighbours() -> None:
    assert split(make_fingerspelling(), mode="stratified", seed=0).neighbours.share == 0


def test_repetitions_by_one_unknown_person_after_the_other_are_no_neighbours() -> None:
    rng = np.random.default_rng(0)
    person = rng.normal(0, 1, (3, 10, 1, 8, 8, 2))
    clips = person + rng.normal(0, 0.5, (3, 10, 6, 8, 8, 2))
    data = make_clips(clips.reshape(180, 8, 8, 2), np.repeat(np.arange(3), 60))
    assert not split(data, seed=0).warnings


def test_an_own_split_by_take_is_not_warned_of() -> None:
    data, take = make_takes()
    own = ["test" if number % 3 == 2 else "train" for number in take]
    told = make_clips(data.values[:, None], data.labels, own_split=own)
    assert not split(told, seed=0).warnings


def test_a_group_of_the_data_that_keeps_neighbours_together_is_named() -> None:
    data, take = make_takes()
    told = make_clips(
        data.values[:, None], data.labels, groups={"hand": ["left"] * len(data), "take": take.astype(str).tolist()}
    )
    assert "--group take keeps such clips in one split" in warned(split(told, seed=0))
    splits = split(told, group="take", seed=0)
    assert not splits.warnings
    assert splits.neighbours.share == 0


def test_blocks_are_the_takes_where_these_differ() -> None:
    data, take = make_takes()
    splits = split(data, group="blocks", seed=0)
    assert "9 groups (blocks), each in one split" in splits.notes
    takes_of = [set(take[part].tolist()) for part in parts(splits)]
    assert sum(len(found) for found in takes_of) == 9
    assert not splits.warnings


def test_blocks_of_a_single_long_take_leave_few_neighbours() -> None:
    data, _ = make_takes(takes=1)
    splits = split(data, group="blocks", seed=0)
    assert "30 groups (blocks), each in one split" in splits.notes
    assert len(splits.train) >= 100
    assert splits.neighbours.share < 0.5 < split(data, seed=0).neighbours.share


def test_overlapping_windows_are_found_by_the_frames_that_they_share() -> None:
    splits = split(make_windows(), seed=0)
    assert splits.neighbours.overlap
    assert splits.neighbours.share > 0.9
    assert "of the test clips share frames with training clips beside them" in warned(splits)
    assert not split(shuffled(make_windows()), seed=0).warnings


def test_blocks_of_windows_share_no_frames_with_another_split() -> None:
    data = make_windows()
    splits = split(data, group="blocks", seed=0)
    frames = [{frame.tobytes() for index in part for frame in data.clip(index)} for part in parts(splits)]
    # Fewer than a fifth of a window's frames may still be in another split.
    for index in splits.test:
        assert sum(frame.tobytes() in frames[0] for frame in data.clip(index)) < 8
    assert not splits.warnings
    assert "left out: they share frames with clips of another split" in said(splits)


def test_windows_of_too_short_a_recording_are_refused_as_blocks() -> None:
    with pytest.raises(UserError, match=r"no clip of \w is left to train on; record longer or more often"):
        split(make_windows(frames=60), group="blocks", seed=0)


def test_near_duplicates_are_listed_nearest_first_with_the_training_clip() -> None:
    data, take = make_takes()
    splits = split(data, seed=0)
    found = near_duplicates(data, splits.train, splits.test, most=20)
    assert len(found) == 20
    assert [pair.distance for pair in found] == sorted(pair.distance for pair in found)
    for pair in found:
        assert pair.clip in splits.test
        assert pair.other in splits.train
        assert take[pair.clip] == take[pair.other]
        assert 0 < pair.distance < 0.1
    by_take = split(data, group="blocks", seed=0)
    assert not near_duplicates(data, by_take.train, by_take.test)


@pytest.mark.parametrize(
    "name", ["libras_movement", "asl_boston104_hands", "mp_holistic_actions/holistic_noface.npz", "japanese_vowels"]
)
def test_published_clips_are_no_neighbours(shared_data: Path, name: str) -> None:
    data = read_landmarks(str(shared_data / name))
    for seed in range(3):
        assert split(data, mode="stratified", seed=seed).neighbours.share == 0


@pytest.mark.parametrize(("name", "share"), [("keypoint", 0.8), ("point_history", 0.5)])
def test_published_webcam_frames_are_neighbours(shared_data: Path, name: str, share: float) -> None:
    data = read_landmarks(str(shared_data / "hand_gesture_mediapipe" / f"{name}.csv"))
    assert split(data, seed=0).neighbours.share > share
    assert split(data, group="blocks", seed=0).neighbours.share < 0.1

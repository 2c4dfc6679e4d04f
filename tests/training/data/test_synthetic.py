"""The embedded fingerspelling: repeatable, articulated, split by signer, and not solved by an average."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.normalise import normalise_clips
from slipway.training.data.synthetic.fingerspelling import MAX_FRAMES, MIN_FRAMES, make_fingerspelling
from slipway.training.data.synthetic.handshapes import BONES, LETTERS, POSES, ROOTS, STROKES, hand_points

FINGERTIPS = {"i": 8, "m": 12, "r": 16, "p": 20}
"""Index, middle, ring and little finger."""


@pytest.fixture(scope="module")
def data() -> LandmarkData:
    return make_fingerspelling()


@pytest.fixture(scope="module")
def hands() -> dict[str, np.ndarray]:
    """The average hand in each letter's shape."""
    count = len(LETTERS)
    points = hand_points(POSES, np.broadcast_to(ROOTS, (count, 5, 3)), np.broadcast_to(BONES, (count, 5, 3)))
    return dict(zip(LETTERS, points, strict=True))


def resampled(values: np.ndarray, offsets: np.ndarray, frames: int) -> np.ndarray:
    """Return each clip at `frames` evenly spaced frames, flat, missing points as 0."""
    values = np.nan_to_num(values)
    starts, lasts = offsets[:-1], np.diff(offsets) - 1
    chosen = starts[:, None] + np.round(np.linspace(0.0, 1.0, frames) * lasts[:, None]).astype(int)
    return values[chosen].reshape(len(starts), -1)


def test_the_same_seed_gives_the_same_clips_and_another_seed_others() -> None:
    first, again, other = (make_fingerspelling(seed=seed, clips_per_letter=4, num_signers=4) for seed in (7, 7, 8))
    values, offsets = (first.values, first.offsets)
    values_again, offsets_again = (again.values, again.offsets)
    np.testing.assert_array_equal(values, values_again)
    np.testing.assert_array_equal(offsets, offsets_again)
    assert first.own_split[:] == again.own_split[:]
    assert not np.array_equal(offsets, other.offsets)


def test_a_signers_clips_do_not_change_when_more_are_made() -> None:
    few = make_fingerspelling(clips_per_letter=3, num_signers=3)
    more = make_fingerspelling(clips_per_letter=6, num_signers=3)
    values, offsets = (few.values, few.offsets)
    np.testing.assert_array_equal(more.values[: offsets[-1]], values)


def test_no_signer_is_in_two_splits_and_about_70_percent_are_in_train(data: LandmarkData) -> None:
    pairs = set(zip(data.signers, data.own_split, strict=True))
    assert len(pairs) == len({signer for signer, _ in pairs}) == 40
    counts = {split: sum(1 for _, other in pairs if other == split) for split in ("train", "validation", "test")}
    assert counts == {"train": 28, "validation": 6, "test": 6}


@pytest.mark.parametrize("num_signers", [3, 10])
def test_every_letter_is_in_every_split(num_signers: int) -> None:
    small = make_fingerspelling(clips_per_letter=10, num_signers=num_signers)
    present = set(zip(small.own_split, small.labels, strict=True))
    assert present == {(split, label) for split in ("train", "validation", "test") for label in range(26)}


def test_too_few_clips_for_the_signers_are_refused() -> None:
    with pytest.raises(ValueError, match="num_signers=5 and clips_per_letter=4"):
        make_fingerspelling(clips_per_letter=4, num_signers=5)


def test_clips_have_the_stated_form_and_lengths(data: LandmarkData) -> None:
    values, offsets = (data.values, data.offsets)
    lengths = np.diff(offsets)
    assert data.synthetic
    assert data.class_names == LETTERS
    assert values.shape[1:] == (21, 3)
    assert (lengths.min(), lengths.max()) == (MIN_FRAMES, MAX_FRAMES)
    assert np.bincount(data.labels).tolist() == [120] * 26


def test_some_points_and_some_frames_are_missing_but_never_half_a_point_or_most_of_a_clip(data: LandmarkData) -> None:
    values, offsets = (data.values, data.offsets)
    missing = np.isnan(values)
    assert (missing.any(axis=2) == missing.all(axis=2)).all()
    points = missing[:, :, 0]
    whole_frames = points.all(axis=1)
    assert 0.03 < whole_frames.mean() < 0.10
    assert 0.005 < points[~whole_frames].mean() < 0.02
    seen = np.add.reduceat(~whole_frames, offsets[:-1]) / np.diff(offsets)
    assert seen.min() > 0.5


def test_bones_keep_their_length_in_every_pose() -> None:
    poses = np.random.default_rng(0).uniform(-180.0, 180.0, (50, POSES.shape[1]))
    points = hand_points(poses, np.broadcast_to(ROOTS, (50, 5, 3)), np.broadcast_to(BONES, (50, 5, 3)))
    digits = points[:, 1:].reshape(50, 5, 4, 3)
    lengths = np.linalg.norm(np.diff(digits, axis=2), axis=3)
    np.testing.assert_allclose(lengths, np.broadcast_to(BONES, (50, 5, 3)), rtol=1e-12)
    knuckles = np.linalg.norm(digits[:, :, 0], axis=2)
    np.testing.assert_allclose(knuckles, np.broadcast_to(np.linalg.norm(ROOTS, axis=1), (50, 5)), rtol=1e-12)


def test_the_palm_is_rigid_in_a_clip_while_the_fingers_move(data: LandmarkData) -> None:
    offsets = data.offsets[:261]
    values = data.values[: offsets[-1]]
    values = normalise_clips(values, offsets, data.layout)

    def spread_in_clip(first: int, second: int) -> float:
        distances = np.linalg.norm(values[:, first] - values[:, second], axis=1)
        return float(np.median([np.nanstd(clip) for clip in np.split(distances, offsets[1:-1])]))

    bones = [spread_in_clip(0, 5), spread_in_clip(0, 17), spread_in_clip(5, 17), spread_in_clip(9, 10)]
    assert max(bones) < 0.5 * min(spread_in_clip(0, 8), spread_in_clip(0, 12))


def test_letters_have_the_shapes_of_the_manual_alphabet(hands: dict[str, np.ndarray]) -> None:
    extended = {
        letter: "".join(name for name, tip in FINGERTIPS.items() if np.linalg.norm(hands[letter][tip]) > 1.4)
        for letter in "ABDFIKLRSUVWYZ"
    }
    assert extended == {
        "A": "", "B": "imrp", "D": "i", "F": "mrp", "I": "p", "K": "im", "L": "i",
        "R": "im", "S": "", "U": "im", "V": "im", "W": "imr", "Y": "p", "Z": "i",
    }  # fmt: skip


def test_the_thumb_of_t_n_and_m_comes_out_one_finger_further_each(hands: dict[str, np.ndarray]) -> None:
    across = [hands[letter][4, 0] for letter in "TNM"]
    knuckles = [hands["A"][knuckle, 0] for knuckle in (5, 9, 13, 17)]
    assert all(far < tip < near for near, tip, far in zip(knuckles, across, knuckles[1:], strict=False))


def test_no_two_still_letters_look_the_same(hands: dict[str, np.ndarray]) -> None:
    still = [letter for letter in LETTERS if letter not in STROKES]
    points = np.stack([hands[letter] for letter in still])
    farthest_point = np.linalg.norm(points[:, None] - points[None], axis=3).max(axis=2)
    assert farthest_point[~np.eye(len(still), dtype=bool)].min() > 0.2


def test_moving_letters_move_more_than_their_still_twins(data: LandmarkData) -> None:
    values, offsets = (data.values, data.offsets)
    wrist = normalise_clips(values, offsets, data.layout)[:, 0, :2]
    extents = np.array([np.nanstd(clip, axis=0).sum() for clip in np.split(wrist, offsets[1:-1])])
    labels = np.array(data.labels)
    typical = {letter: np.median(extents[labels == LETTERS.index(letter)]) for letter in "IJDZ"}
    assert typical["J"] > 2 * typical["I"]
    assert typical["Z"] > 2 * typical["D"]


def test_the_average_clip_of_a_letter_does_not_solve_the_task(data: LandmarkData) -> None:
    values, offsets = (data.values, data.offsets)
    values = normalise_clips(values, offsets, data.layout)
    features = resampled(np.concatenate([values, values - values[:, :1]], axis=1), offsets, frames=24)
    labels, splits = np.array(data.labels), np.array(data.own_split)
    train, test = splits == "train", splits == "test"
    centroids = np.stack([features[train & (labels == label)].mean(axis=0) for label in range(26)])
    distances = (centroids**2).sum(axis=1) - 2.0 * features[test] @ centroids.T
    accuracy = (distances.argmin(axis=1) == labels[test]).mean()
    assert 0.15 < accuracy < 0.60

"""Data that are doubtful are told so before anybody trains on them, with what to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import understand
from tests.training.data.golden import assert_golden

CLIPS, FRAMES = 12, 4
CHANNELS = Reading(landmarks="channels")


def source(numbers: int = 63, **changes: object) -> RawClips:
    """Return clips of a hand, of three classes in turn."""
    rng = np.random.default_rng(0)
    fields = {
        "name": "set",
        "source_format": "test",
        "values": rng.uniform(-0.5, 0.5, (CLIPS * FRAMES, numbers)).astype(np.float32),
        "offsets": np.arange(CLIPS + 1) * FRAMES,
        "labels": ["a", "b", "c"] * (CLIPS // 3),
        "where": lambda index: f"clip {index}",
        **changes,
    }
    return RawClips(**fields)  # type: ignore[arg-type]


def labels_of_frames() -> np.ndarray:
    return np.repeat(np.arange(CLIPS) % 3, FRAMES)


def with_label(numbers: int) -> RawClips:
    raw = source(numbers)
    raw.values[:, -1] = labels_of_frames()
    return raw


def partly_in_pixels() -> RawClips:
    raw = source(42)
    raw.values[: 3 * FRAMES] *= 640.0
    return raw


def without_a_hand() -> RawClips:
    raw = source(126)
    raw.values[:, :63] = 0.0
    return raw


def without_two_landmarks() -> RawClips:
    raw = source(42)
    raw.values[:, [10, 11, 40, 41]] = np.nan
    return raw


def one_frame_repeated() -> RawClips:
    raw = source()
    raw.values[:] = np.repeat(raw.values[::FRAMES], FRAMES, axis=0)
    return raw


def one_clip() -> RawClips:
    return replace(source(values=source().values[:FRAMES]), offsets=np.array([0, FRAMES]), labels=["a"])


DOUBTFUL = {
    "classes that differ in case": (source(labels=["Car", "car", "c"] * (CLIPS // 3)), Reading()),
    "one class": (source(labels=["a"] * CLIPS), Reading()),
    "one clip": (one_clip(), Reading()),
    "a class for each clip": (source(labels=[str(number) for number in range(CLIPS)]), Reading()),
    "a label among channels": (with_label(10), CHANNELS),
    "a named label among channels": (
        replace(with_label(3), number_names=["thumb", "index_bend", "hand_state"]),
        CHANNELS,
    ),
    "a column called Time": (source(3, number_names=["Time", "thumb", "pinky"]), CHANNELS),
    "a hand that is never there": (without_a_hand(), Reading()),
    "landmarks that are never there": (without_two_landmarks(), Reading()),
    "one frame repeated": (one_frame_repeated(), Reading()),
    "pixels beside 0 to 1": (partly_in_pixels(), Reading()),
}


@pytest.mark.parametrize("doubt", DOUBTFUL)
def test_what_is_doubtful_is_told_with_what_to_do(doubt: str) -> None:
    raw, reading = DOUBTFUL[doubt]
    warnings = understand(replace(raw, values=raw.values.copy()), reading).warnings
    assert len(warnings) == 1
    assert_golden(f"doubt.{doubt}", warnings[0])


REFUSED = {
    "all is missing": (source(values=np.zeros((CLIPS * FRAMES, 63), dtype=np.float32)), Reading()),
    "an unknown count": (source(34), Reading()),
    "an unknown count with the label": (with_label(35), Reading()),
    "an unknown count with the time": (
        source(5, number_names=["timestamp", *(f"sensor{number}" for number in range(4))]),
        Reading(),
    ),
    "a count that is not what was said": (source(63), Reading(landmarks="pose")),
    "a pose or 22 joints": (source(66), Reading()),
    "points without their coords": (source(60), Reading(landmarks="points")),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_understood_is_refused_with_what_to_do(fault: str) -> None:
    raw, reading = REFUSED[fault]
    with pytest.raises(UserError) as raised:
        understand(replace(raw, values=raw.values.copy()), reading)
    assert_golden(f"numbers.{fault}", str(raised.value))


def test_good_data_have_no_doubts() -> None:
    assert understand(source(), Reading()).warnings == ()
    assert understand(with_label(64), Reading()).warnings == ()
    assert understand(source(3), CHANNELS).warnings == ()


def test_all_doubts_are_told_at_once() -> None:
    raw = replace(one_frame_repeated(), labels=["a"] * CLIPS)
    assert len(understand(raw, Reading()).warnings) == 2

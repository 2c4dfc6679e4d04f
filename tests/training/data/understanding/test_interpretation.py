"""Numbers of a frame are understood as what they were made from, or asked for; never taken for something else."""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.training.common.errors import UserError
from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.layouts.mediapipe import LIPS, compose
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import understand

CLASSES, FRAMES = ("a", "b", "c"), 12
POINTS = {"hand": 21, "left_hand": 21, "right_hand": 21, "pose": 33, "face": 468}
POSE_HANDS = ("pose", "left_hand", "right_hand")
HOLISTIC = ("pose", "face", "left_hand", "right_hand")
ISLR = ("face", "left_hand", "pose", "right_hand")


def coordinates(part: str, rng: np.random.Generator, *, pixels: bool = False) -> np.ndarray:
    """Return x, y, z of a part as a tracker gives them, [classes * frames, points, 3]: a shape of each class that moves."""
    count = POINTS[part]
    size = {"pose": 0.3, "face": 0.05}.get(part, 0.08)
    shape = rng.uniform(-size, size, (len(CLASSES), 1, count, 3))
    values = shape + rng.normal(0, 0.004, (len(CLASSES), FRAMES, count, 3))
    values[..., :2] += rng.uniform(0.4, 0.6, 2)
    if part.endswith("hand"):
        values[:, :, 0, 2] = 0.0
    if pixels:
        values[..., :2] *= 640.0
    return values.reshape(-1, count, 3).astype(np.float32)


def flags(part: str, form: str, rng: np.random.Generator) -> np.ndarray:
    """Return visibilities, which MediaPipe writes for a pose alone, or confidences, which are of every point."""
    if form == "xyzv" and part != "pose":
        return np.zeros((len(CLASSES) * FRAMES, POINTS[part], 1), dtype=np.float32)
    return rng.uniform(0.3, 1.0, (len(CLASSES) * FRAMES, POINTS[part], 1)).astype(np.float32)


def with_form(points: np.ndarray, part: str, form: str, rng: np.random.Generator) -> np.ndarray:
    coords = points[..., : 3 if form.startswith("xyz") else 2]
    return np.concatenate([coords, flags(part, form, rng)], axis=2) if form[-1] in "vc" else coords


def raw(values: np.ndarray, **fields: object) -> RawClips:
    """Return single frames as a reader gives them, with the classes in order."""
    count = len(values)
    given_ = {
        "name": "set",
        "source_format": "test",
        "values": np.array(values, dtype=np.float32),
        "offsets": np.arange(count + 1),
        "labels": [CLASSES[row * len(CLASSES) // count] for row in range(count)],
        "where": lambda index: f"row {index}",
        **fields,
    }
    return RawClips(**given_)  # type: ignore[arg-type]


def expected(parts: dict[str, np.ndarray]) -> np.ndarray:
    """Return what is to be kept: of several parts x and y, of a face beside others the lips; in one order."""
    kept = {
        part: points[:, list(LIPS)] if part == "face" and len(parts) > 1 else points for part, points in parts.items()
    }
    coords = 2 if len(parts) > 1 else 3
    order = [part for part in ("hand", *POSE_HANDS, "face") if part in kept]
    return np.concatenate([kept[part][..., :coords] for part in order], axis=1)


VECTORS = {
    "hand x, y": (("hand",), ("xy",), ""),
    "hand x, y, z": (("hand",), ("xyz",), ""),
    "hand in pixels with confidences": (("hand",), ("xyc",), "pixels"),
    "hand with visibilities": (("hand",), ("xyzv",), ""),
    "hand and angles": (("hand",), ("xyzv",), "15"),
    "hand, angles and the label": (("hand",), ("xyzv",), "15 label"),
    "hand x, y and 12 angles": (("hand",), ("xy",), "12"),
    "hand x, y, 12 angles and the label": (("hand",), ("xy",), "12 label"),
    "hand x, y and 15 angles": (("hand",), ("xy",), "15"),
    "hand x, y, z and 15 angles": (("hand",), ("xyz",), "15"),
    "hand and the label": (("hand",), ("xyz",), "label"),
    "two hands x, y": (("left_hand", "right_hand"), ("xy", "xy"), ""),
    "two hands x, y in pixels": (("left_hand", "right_hand"), ("xy", "xy"), "pixels"),
    "two hands x, y, z": (("left_hand", "right_hand"), ("xyz", "xyz"), ""),
    "two hands with visibilities": (("left_hand", "right_hand"), ("xyzv", "xyzv"), ""),
    "two hands with 30 angles": (("left_hand", "right_hand"), ("xyzv", "xyzv"), "30"),
    "pose with visibilities": (("pose",), ("xyzv",), ""),
    "pose x, y, z": (("pose",), ("xyz",), ""),
    "pose and hands": (POSE_HANDS, ("xyz", "xyz", "xyz"), ""),
    "pose with visibilities, hands": (POSE_HANDS, ("xyzv", "xyz", "xyz"), ""),
    "pose and hands, all with visibilities": (POSE_HANDS, ("xyzv",) * 3, ""),
    "the tutorial's frame": (HOLISTIC, ("xyzv", "xyz", "xyz", "xyz"), ""),
    "pose and face": (("pose", "face"), ("xyzv", "xyzv"), ""),
    "pose and face x, y, z": (("pose", "face"), ("xyz", "xyz"), ""),
    "holistic with visibilities": (HOLISTIC, ("xyzv",) * 4, ""),
    "holistic x, y, z": (HOLISTIC, ("xyz",) * 4, ""),
    "face": (("face",), ("xyz",), ""),
}


def make(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of a kind, [frames, numbers], and the landmarks in them, [frames, landmarks, coords]."""
    names, forms, rest = VECTORS[kind]
    rng = np.random.default_rng(seed)
    parts = {name: coordinates(name, rng, pixels="pixels" in rest) for name in names}
    columns = [with_form(parts[name], name, form, rng) for name, form in zip(names, forms, strict=True)]
    numbers = [column.reshape(len(column), -1) for column in columns]
    if angles := re.search(r"\d+", rest):
        numbers.append(rng.uniform(5, 180, (len(columns[0]), int(angles[0]))))
    if "label" in rest:
        numbers.append(np.repeat(np.arange(len(CLASSES)), FRAMES)[:, None])
    landmarks = expected(parts)
    if forms[0] in ("xy", "xyc"):
        landmarks = landmarks[..., :2]
    return np.concatenate(numbers, axis=1), landmarks


@pytest.mark.parametrize("kind", VECTORS)
def test_a_vector_is_understood_as_the_points_that_were_written(kind: str) -> None:
    for seed in range(3):
        vectors, landmarks = make(kind, seed)
        data = understand(raw(vectors), Reading())
        np.testing.assert_array_equal(data.values, landmarks.astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(VECTORS)), seed=st.integers(0, 10_000), noise=st.floats(0.0, 2.0), centred=st.booleans()
)
def test_whatever_is_chosen_the_points_are_those_written_or_it_is_asked(
    kind: str, seed: int, noise: float, centred: bool
) -> None:
    names, forms, rest = VECTORS[kind]
    rng = np.random.default_rng(seed)
    parts = {name: coordinates(name, rng, pixels="pixels" in rest) for name in names}
    if centred and not rest:  # as programs subtract the wrist or the nose
        parts = {name: points - points[:, :1] for name, points in parts.items()}
    parts = {name: points * np.float32(1 + noise) for name, points in parts.items()}
    columns = [with_form(parts[name], name, form, rng) for name, form in zip(names, forms, strict=True)]
    source = raw(np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1))
    landmarks = expected(parts)
    if forms[0] in ("xy", "xyc"):
        landmarks = landmarks[..., :2]
    with suppress(UserError):
        np.testing.assert_array_equal(understand(source, Reading()).values, landmarks)


@pytest.mark.parametrize(("part", "form"), [("hand", "xy"), ("hand", "xyz"), ("hand", "xyzv"), ("pose", "xyzv")])
def test_an_array_of_points_is_understood_by_its_shape(part: str, form: str) -> None:
    rng = np.random.default_rng(0)
    points = coordinates(part, rng)
    data = understand(raw(with_form(points, part, form, rng)), Reading())
    np.testing.assert_array_equal(data.values, points[..., : 3 if form.startswith("xyz") else 2])
    assert data.layout.title == part


def test_543_points_are_in_the_order_that_a_lost_hand_tells() -> None:
    rng = np.random.default_rng(1)
    for order in (HOLISTIC, ISLR):
        parts = {name: coordinates(name, rng) for name in order}
        parts["left_hand"][5:9] = np.nan
        parts["right_hand"][2:6] = np.nan
        data = understand(raw(np.concatenate([parts[name] for name in order], axis=1)), Reading())
        np.testing.assert_array_equal(data.values, expected(parts))


def test_543_points_are_in_the_order_in_which_a_body_is_wider_than_a_face() -> None:
    rng = np.random.default_rng(1)
    for order in (HOLISTIC, ISLR):
        parts = {name: coordinates(name, rng) for name in order}
        data = understand(raw(np.concatenate([parts[name] for name in order], axis=1)), Reading())
        np.testing.assert_array_equal(data.values, expected(parts))


def test_543_points_of_which_nothing_tells_the_order_are_asked_for() -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.8, (36, 543, 3))
    with pytest.raises(UserError, match=r"--landmarks holistic.*--layout islr"):
        understand(raw(values), Reading())
    first = understand(raw(values), Reading(landmarks="holistic")).values
    other = understand(raw(values), Reading(layout="islr")).values
    np.testing.assert_array_equal(first[:, 0], values[:, 0, :2].astype(np.float32))
    np.testing.assert_array_equal(other[:, 0], values[:, 489, :2].astype(np.float32))


@pytest.mark.parametrize("size", [1, 2, 7, 30, 34, 45, 57, 66, 75, 100, 150, 1000])
def test_a_count_that_is_not_known_is_asked_for_and_every_answer_is_an_option_that_works(size: int) -> None:
    values = np.random.default_rng(size).uniform(-1, 1, (36, size))
    with pytest.raises(UserError) as raised:
        understand(raw(values), Reading())
    message = str(raised.value)
    assert f"{size} numbers a frame" in message
    assert understand(raw(values), Reading(landmarks="channels")).values.shape == (36, size, 1)
    for form in re.findall(r"\(--coords (\w+)\)", message):
        if form in ("xy", "xyz"):
            data = understand(raw(values), Reading(landmarks="points", coords=form))  # type: ignore[arg-type]
            np.testing.assert_array_equal(data.values, values.reshape(36, -1, len(form)).astype(np.float32))


def test_a_said_reading_is_followed_and_what_does_not_look_like_it_is_told() -> None:
    values = np.random.default_rng(0).uniform(-2, 2, (36, 84))
    data = understand(raw(values), Reading(landmarks="hand", coords="xyzv"))
    np.testing.assert_array_equal(data.values, values.reshape(36, 21, 4)[..., :3].astype(np.float32))
    assert "not from 0 to 1" in data.warnings[0]


def test_the_label_inside_the_numbers_is_left_out_and_told() -> None:
    data = understand(raw(make("hand, angles and the label", 0)[0]), Reading())
    assert data.notes[0].endswith("left out: visibility (0 in all frames); 15 angles; the label")


def test_visibility_that_is_0_for_a_whole_part_means_nothing_and_else_a_missing_point() -> None:
    vectors, landmarks = make("holistic with visibilities", 0)
    vectors[3, 4 * 7 + 3] = 0.0
    data = understand(raw(vectors), Reading())
    assert np.argwhere(np.isnan(data.values[..., 0])).tolist() == [[3, 7]]
    assert data.layout == compose(("pose", "left_hand", "right_hand", "lips"), 2)
    assert landmarks.shape == data.values.shape


def test_a_part_that_is_0_in_a_frame_is_missing_but_not_a_wrist_that_was_subtracted() -> None:
    points = coordinates("hand", np.random.default_rng(0))
    points -= points[:, :1]
    points[4] = 0.0
    data = understand(raw(points.reshape(len(points), -1)), Reading())
    assert np.flatnonzero(np.isnan(data.values).any(axis=(1, 2))).tolist() == [4]
    assert np.isnan(data.values[4]).all()


def test_channels_keep_zeros_and_have_no_geometry() -> None:
    values = np.zeros((36, 63))
    values[0, 0] = 1.0
    data = understand(raw(values), Reading(landmarks="channels"))
    assert not data.layout.spatial
    np.testing.assert_array_equal(data.values[..., 0], values)


NAMES = {
    "x1, y1, z1, v1": lambda n: [f"{axis}{number}" for number in range(1, n + 1) for axis in "xyzv"],
    "0_x": lambda n: [f"{number}_{axis}" for number in range(n) for axis in "xyzv"],
    "x0 to x20, then y0": lambda n: [f"{axis}{number}" for axis in "xyzv" for number in range(n)],
    "kp3.visibility": lambda n: [f"kp{number}.{axis}" for number in range(n) for axis in ("x", "y", "z", "visibility")],
}


@pytest.mark.parametrize("style", NAMES)
@pytest.mark.parametrize("count", [21, 17])
def test_names_of_columns_make_points_certain(style: str, count: int) -> None:
    names = NAMES[style](count)
    values = np.random.default_rng(0).uniform(0.1, 0.9, (36, count, 4))
    by_axis = style.startswith("x0")
    numbers = values.transpose(0, 2, 1) if by_axis else values
    data = understand(raw(numbers.reshape(36, -1), number_names=names), Reading())
    np.testing.assert_array_equal(data.values, values[..., :3].astype(np.float32))
    assert data.layout.title == ("hand" if count == 21 else "points")


def test_named_points_keep_their_names_and_sides_and_other_columns_are_left_out_and_told() -> None:
    points = ("nose", "left_shoulder", "right_shoulder", "left_wrist", "right_wrist")
    names = ["Time", *(f"{point}_{axis}" for point in points for axis in "xy")]
    values = np.random.default_rng(0).uniform(size=(36, 11))
    data = understand(raw(values, number_names=names), Reading())
    assert (data.layout.names, data.layout.mirror, data.layout.center) == (points, (0, 2, 1, 4, 3), (0,))
    np.testing.assert_array_equal(data.values.reshape(36, -1), values[:, 1:].astype(np.float32))
    assert "Time" in data.notes[0]


def test_sensors_with_axes_are_not_taken_for_points() -> None:
    names = [f"{sensor}{number}_{axis}" for sensor in ("acc", "gyro") for number in (1, 2) for axis in "xyz"]
    with pytest.raises(UserError, match="--landmarks channels"):
        understand(raw(np.random.default_rng(0).normal(size=(36, 12)), number_names=names), Reading())


def test_understanding_writes_over_the_numbers_of_the_reader_and_needs_no_second_copy() -> None:
    source = raw(make("hand and angles", 0)[0])
    data: LandmarkData = understand(source, Reading())
    assert np.shares_memory(data.values, source.values)


def test_depths_that_may_be_confidences_are_warned_of_until_it_is_said() -> None:
    values = np.random.default_rng(3).uniform(0.1, 0.9, (6, 63)).astype(np.float32)
    (warning,) = understand(raw(values.copy()), Reading()).warnings
    assert "never below 0 or above 1" in warning
    assert "--coords xyc" in warning
    assert understand(raw(values.copy()), Reading(coords="xyz")).warnings == ()
    assert understand(raw(values - 0.5), Reading()).warnings == ()

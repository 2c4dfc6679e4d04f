"""An archive of clips and labels is read whatever its clips, labels and names are; what it lacks is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks


def clips_of(data: LandmarkData) -> list[np.ndarray]:
    return np.split(data.values, data.offsets[1:-1])


def labels_of(data: LandmarkData) -> list[str]:
    return [data.class_names[label] for label in data.labels]


def read(path: Path, **options: object) -> RawClips:
    return read_raw(str(path), Reading(**options))  # type: ignore[arg-type]


def error_of(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as raised:
        read_landmarks(str(path), Reading(**options))  # type: ignore[arg-type]
    return str(raised.value)


def assert_says(message: str, *parts: object) -> None:
    for part in parts:
        assert str(part) in message


def test_clips_in_an_npz_may_be_equal_ragged_or_padded(tmp_path: Path) -> None:
    clips = [np.full((length, 63), float(length)) for length in (3, 1, 2)]
    ragged = np.concatenate(clips)
    padded = np.stack([np.pad(clip, ((0, 4 - len(clip)), (0, 0))) for clip in clips])
    y = np.array(["b", "a", "b"])
    np.savez(tmp_path / "offsets.npz", X=ragged, y=y, offsets=[0, 3, 4, 6])
    np.savez(tmp_path / "lengths.npz", X=ragged.reshape(-1, 21, 3), y=y, lengths=[3, 1, 2])
    np.savez(tmp_path / "padded.npz", X=padded, y=y, lengths=[3, 1, 2])
    for name in ("offsets", "lengths", "padded"):
        data = read_landmarks(str(tmp_path / f"{name}.npz"))
        assert [clip[:, 0, 0].tolist() for clip in clips_of(data)] == [[3.0] * 3, [1.0], [2.0] * 2], name
        assert labels_of(data) == ["b", "a", "b"]


def test_an_npz_may_hold_single_frames_signers_and_splits(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.ones((2, 21, 2)), y=[7, 10], signer=[1, 2], split=["train", "test"])
    data = read_landmarks(str(tmp_path))
    assert [clip.shape for clip in clips_of(data)] == [(1, 21, 2)] * 2
    assert data.class_names == ("7", "10")
    assert list(data.signers) == ["1", "2"]
    assert list(data.own_split) == ["train", "test"]


def test_zeros_are_a_place_for_a_lone_point_and_a_value_for_channels(tmp_path: Path) -> None:
    np.savez(tmp_path / "track.npz", X=np.zeros((1, 3, 1, 2)), y=["a"])
    np.savez(tmp_path / "sensors.npz", X=np.zeros((1, 3, 7)), y=["a"])
    for name, reading in (("track", Reading()), ("sensors", Reading(landmarks="channels"))):
        assert not np.isnan(clips_of(read_landmarks(str(tmp_path / f"{name}.npz"), reading))[0]).any()


X = np.ones((3, 2, 63))
BAD_NPZ: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "no y": ({"X": X}, ("X (3 clips) has no labels beside it", "as y")),
    "too few labels": ({"X": X, "y": ["a", "b"]}, ("X has 3 clips", "[2] labels")),
    "words": ({"X": np.array([["a"]]), "y": ["a"]}, ("expected numbers",)),
    "no clips": ({"X": np.ones((0, 2, 63)), "y": np.array([], dtype=str)}, ("[0, 2, 63]",)),
    "pickled objects": ({"X": np.array([X[0], X[0][:1]], dtype=object), "y": ["a", "b"]}, ("pickled objects",)),
    "wrong lengths": ({"X": X[0], "y": ["a", "b"], "lengths": [2, 2]}, ("end at frame 4", "2 frames")),
    "falling offsets": ({"X": X[0], "y": ["a", "b"], "offsets": [0, 3, 2]}, ("offsets",)),
    "a clip without frames": ({"X": X[0], "y": ["a", "b"], "lengths": [2, 0]}, ("clip 1", "without frames")),
    "too long a clip": ({"X": X, "y": ["a", "b", "a"], "lengths": [2, 5, 2]}, ("5 frames", "2 frames a clip")),
    "negative lengths": ({"X": X, "y": ["a", "b", "a"], "lengths": [-1, 2, 2]}, ("lengths",)),
    "an infinite number": ({"X": X * np.array([1, np.inf, 1])[:, None, None], "y": ["a"] * 3}, ("clip 1", "infinite")),
}


@pytest.mark.parametrize("fault", BAD_NPZ)
def test_a_bad_npz_is_named(tmp_path: Path, fault: str) -> None:
    arrays, parts = BAD_NPZ[fault]
    np.savez(tmp_path / "d.npz", **arrays)
    assert_says(error_of(tmp_path), tmp_path / "d.npz", *parts)


def test_a_file_that_is_no_npz_says_so(tmp_path: Path) -> None:
    for content in (b"", b"not a zip", b"PK\x03\x04 cut short"):
        (tmp_path / "d.npz").write_bytes(content)
        assert_says(error_of(tmp_path), tmp_path / "d.npz", "not a complete .npz file")


def test_the_splits_of_an_archive_are_the_own_split(tmp_path: Path) -> None:
    arrays = {f"X_{split}": np.full((count, 2, 63), count) for split, count in (("train", 3), ("val", 1), ("test", 2))}
    labels = {f"y_{split}": ["a"] * count for split, count in (("train", 3), ("val", 1), ("test", 2))}
    np.savez(tmp_path / "d.npz", **arrays, **labels)
    raw = read(tmp_path)
    assert raw.splits == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert raw.values[::2, 0].tolist() == [3, 3, 3, 1, 2, 2]


def test_archives_named_by_splits_are_one_data_set(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        np.savez(tmp_path / f"{split}.npz", X=np.full((count, 2, 63), count), y=["a"] * count)
    assert read(tmp_path).splits == ["train"] * 3 + ["test"] * 2


def test_two_arrays_without_names_are_clips_and_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", np.ones((2, 3, 63)), np.array([1, 0]))
    assert list(read(tmp_path).labels) == ["1", "0"]


def test_padding_is_taken_out_of_every_split(tmp_path: Path) -> None:
    x = np.arange(2 * 4 * 63, dtype=np.float64).reshape(2, 4, 63)
    for order in ("C", "F"):
        padded = np.asarray(x, order=order)  # type: ignore[call-overload]
        np.savez(
            tmp_path / "d.npz", X_train=padded, y_train=[0, 1], lengths_train=[1, 3],
            X_test=padded[:, :2], y_test=[0, 1],
        )  # fmt: skip
        raw = read(tmp_path / "d.npz")
        assert np.diff(raw.offsets).tolist() == [1, 3, 2, 2]
        expected = np.concatenate([x[0, :1], x[1, :3], x[0, :2], x[1, :2]])
        np.testing.assert_array_equal(raw.values, expected.astype(np.float32))


def test_arrays_of_one_number_or_text_for_each_clip_are_groups(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "d.npz", X=np.ones((2, 3, 63)), y=[0, 1], subjects=[4, 5], groups=["m", "n"], seq=[7, 7],
        score=[0.5, 0.25], window=np.ones((2, 3)),
    )  # fmt: skip
    assert read(tmp_path).groups == {"signer": ["4", "5"], "groups": ["m", "n"], "seq": ["7", "7"]}


def test_a_last_number_that_is_the_label_of_every_frame_is_left_out_and_told(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(4, 5, 63))
    y = np.array([0, 1, 2, 1])
    with_label = np.concatenate([x, np.broadcast_to(y[:, None, None], (4, 5, 1))], axis=2)
    np.savez(tmp_path / "d.npz", X=with_label, y=y)
    raw = read(tmp_path)
    np.testing.assert_array_equal(raw.values, x.reshape(-1, 63).astype(np.float32))
    assert any("last number of each frame is its label" in note for note in raw.notes)
    with_label[2, 3, 63] = 0
    np.savez(tmp_path / "d.npz", X=with_label, y=y)
    assert read(tmp_path).values.shape == (20, 64)


@pytest.mark.parametrize(
    ("shape", "options", "read_shape"),
    [
        ((4, 30, 84), {}, (120, 84)),
        ((4, 84), {}, (4, 84)),
        ((4, 21, 3), {}, (4, 21, 3)),
        ((4, 30, 3), {"landmarks": "points"}, (4, 30, 3)),
        ((4, 30, 3), {"landmarks": "channels"}, (120, 3)),
        ((4, 3, 21), {"landmarks": "channels"}, (12, 21)),
        ((4, 30, 1), {}, (120, 1)),
        ((4, 30, 21, 3), {}, (120, 21, 3)),
    ],
)
def test_axes_are_frames_numbers_points_and_coords_as_their_sizes_say_or_as_told(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, str], read_shape: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "d.npz", X=np.ones(shape), y=range(4))
    assert read(tmp_path, **options).values.shape == read_shape


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((4, 30, 3), "single frames of 30 points, or 30 frames of 3 numbers; say --landmarks points"),
        ((4, 3, 21), "3 coordinates of 21 points"),
        ((4, 3, 21, 30), "is not [clips, frames, points, coords]"),
        ((4, 9, 30, 21, 1), "expected numbers [clips, frames, ...]"),
    ],
)
def test_axes_of_which_it_is_not_certain_what_they_are_are_asked_for(
    tmp_path: Path, shape: tuple[int, ...], part: str
) -> None:
    np.savez(tmp_path / "d.npz", X=np.ones(shape), y=range(4))
    assert part in error_of(tmp_path)

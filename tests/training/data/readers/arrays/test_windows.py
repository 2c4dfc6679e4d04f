"""Windows in files of recordings are clips; their class is in the name and in the last column, which must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading


def recording(label: float, seed: int, frames: int = 14) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(frames, 99))
    return np.concatenate([values, np.full((frames, 1), label)], axis=1)


def windows(frames: np.ndarray, length: int = 5, step: int = 1) -> np.ndarray:
    return np.stack([frames[start : start + length] for start in range(0, len(frames) - length, step)])


def read(path: Path) -> RawClips:
    return read_raw(str(path), Reading())


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        read(path)
    return str(raised.value)


def test_windows_are_read_without_their_label_and_raw_files_are_not(tmp_path: Path) -> None:
    expected = {}
    for label, action in enumerate(("come", "away", "spin")):
        frames = recording(label, label)
        np.save(tmp_path / f"raw_{action}_1627646273.npy", frames)
        np.save(tmp_path / f"seq_{action}_1627646273.npy", windows(frames))
        expected[action] = windows(frames)[..., :99].reshape(-1, 99).astype(np.float32)
    raw = read(tmp_path)
    assert (raw.source_format, raw.class_names) == ("windows", ["come", "away", "spin"])
    assert list(raw.labels) == ["away"] * 9 + ["come"] * 9 + ["spin"] * 9
    np.testing.assert_array_equal(raw.values, np.concatenate([expected[name] for name in ("away", "come", "spin")]))
    assert np.diff(raw.offsets).tolist() == [5] * 27
    assert raw.groups["recording"][0] == "seq_away_1627646273"
    notes = " ".join(raw.notes)
    assert "3 other files are not: raw_away" in notes
    assert "each begins 1 frame after" in notes
    assert "the last number of each frame is its label" in notes


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("ㄱ_오른손_idx_1_1-0mp4", "ㄴ_오른손_idx_1_1-0mp4"), ["ㄱ", "ㄴ"]),
        (("seq_thank_you_16", "seq_hello_17"), ["thank_you", "hello"]),
        (("seq_thank_you_16", "seq_thank_god_17"), ["thank_you", "thank_god"]),
        (("a", "b"), ["a", "b"]),
    ],
)
def test_the_class_is_what_the_name_says_before_numbers(
    tmp_path: Path, names: tuple[str, str], classes: list[str]
) -> None:
    for label, name in enumerate(names):
        np.save(tmp_path / f"{name}.npy", windows(recording(label, label)))
    assert read(tmp_path).class_names == classes


def test_several_files_of_a_class_agree_by_the_start_of_their_names(tmp_path: Path) -> None:
    for label, letter in enumerate("ㄱㄴ"):
        for hand in ("왼손", "오른손"):
            np.save(tmp_path / f"{letter}_{hand}_1.npy", windows(recording(label, label)))
    raw = read(tmp_path)
    assert raw.class_names == ["ㄱ", "ㄴ"]
    assert len(set(raw.groups["recording"])) == 4


def test_windows_without_a_column_of_labels_are_named_by_their_files(tmp_path: Path) -> None:
    for seed, name in enumerate(("seq_come_16", "seq_away_16")):
        np.save(tmp_path / f"{name}.npy", windows(recording(0.5, seed), step=5)[..., :99])
    raw = read(tmp_path)
    assert (list(raw.labels), raw.values.shape[1]) == (["away"] * 2 + ["come"] * 2, 99)
    assert any("no column of labels" in note for note in raw.notes)
    assert not any("overlap" in note for note in raw.notes)


def test_a_file_of_several_labels_and_names_that_contradict_labels_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "seq_come_1.npy", windows(recording(0, 0)))
    values = windows(recording(1, 1))
    values[2:, :, -1] = 2
    np.save(tmp_path / "seq_away_1.npy", values)
    assert "seq_away_1.npy: its last column holds several labels (1, 2)" in error_of(tmp_path)
    np.save(tmp_path / "seq_away_1.npy", windows(recording(0, 1)))
    assert "label 0 stands in seq_away_1.npy and seq_come_1.npy, whose names begin differently" in error_of(tmp_path)
    np.save(tmp_path / "seq_away_1.npy", windows(recording(1, 1)))
    np.save(tmp_path / "seq_come_2.npy", windows(recording(2, 1)))
    assert "both say 'come', but have the labels 0 and 2" in error_of(tmp_path)


def test_files_of_other_windows_are_all_named(tmp_path: Path) -> None:
    np.save(tmp_path / "seq_a_1.npy", windows(recording(0, 0)))
    np.save(tmp_path / "seq_b_1.npy", windows(recording(1, 0), length=4))
    np.save(tmp_path / "seq_c_1.npy", recording(2, 0))
    message = read_error_as_windows(tmp_path)
    assert "seq_b_1.npy: windows of [4, 100], where" in message
    assert "seq_c_1.npy: float64 [14, 100]" in message


def read_error_as_windows(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        read_raw(str(path), Reading(format="windows"))
    return str(raised.value)

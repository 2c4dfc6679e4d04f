"""A folder of arrays named after classes is read; names that may be anything else are not taken for classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading


def save(folder: Path, names: list[str], shape: tuple[int, ...]) -> np.ndarray:
    values = np.random.default_rng(0).random((len(names), *shape), dtype=np.float32)
    for name, array in zip(names, values, strict=True):
        np.save(folder / f"{name}.npy", array)
    return values


@pytest.mark.parametrize(
    ("shape", "frame", "clips", "frames"),
    [
        ((12, 63), (63,), 12, 1),
        ((12, 21, 3), (21, 3), 12, 1),
        ((6, 30, 21, 3), (21, 3), 6, 30),
    ],
)
def test_one_file_for_each_class_holds_its_clips(
    tmp_path: Path, shape: tuple[int, ...], frame: tuple[int, ...], clips: int, frames: int
) -> None:
    values = save(tmp_path, ["hello", "no", "thank you"], shape)
    raw = read_raw(str(tmp_path), Reading())
    assert raw.source_format == "class_files"
    assert np.array_equal(raw.values, values.reshape(-1, *frame))
    assert raw.offsets.tolist() == list(range(0, 3 * clips * frames + 1, frames))
    assert raw.labels == [name for name in ("hello", "no", "thank you") for _ in range(clips)]


@pytest.mark.parametrize(("shape", "frames"), [((63,), 1), ((9, 63), 9), ((9, 27, 2), 9)])
def test_numbered_files_are_clips_of_the_class_before_the_number(
    tmp_path: Path, shape: tuple[int, ...], frames: int
) -> None:
    values = save(tmp_path, ["no_1", "no_2", "yes_1", "yes_2", "yes_10"], shape)
    raw = read_raw(str(tmp_path), Reading())
    assert raw.labels == ["no", "no", "yes", "yes", "yes"]
    assert np.array_equal(raw.values.reshape(-1), values.reshape(-1))
    assert raw.offsets.tolist() == [frames * clip for clip in range(6)]


@pytest.mark.parametrize(
    "names",
    [
        ["01_01_01", "01_01_02", "02_01_01"],
        ["signer1_sample1", "signer2_sample1"],
        ["pose_1", "pose_2", "left_hand_1", "left_hand_2"],
        ["clip_1", "clip_2"],
        ["train_1", "test_1", "test_2"],
        ["0", "1", "2"],
    ],
)
def test_names_that_may_be_anything_else_are_no_classes(tmp_path: Path, names: list[str]) -> None:
    save(tmp_path, names, (9, 63))
    with pytest.raises(UserError, match="no known data format"):
        read_raw(str(tmp_path), Reading())


def test_names_as_those_of_lsa64_are_class_signer_and_repetition(tmp_path: Path) -> None:
    save(tmp_path, ["001_003_001", "001_004_001", "002_003_001"], (9, 63))
    raw = read_raw(str(tmp_path), Reading())
    assert raw.labels == ["001", "001", "002"]
    assert raw.groups == {"signer": ["003", "004", "003"]}
    assert "the signer is in the names of the files, as '003' of 001_003_001.npy" in raw.notes

"""Folders and archives as people have them are read bit for bit as they were made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading


@pytest.fixture(scope="module")
def cases(shared_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the scripts of cases make."""
    out = tmp_path_factory.mktemp("cases")
    for name in ("hangul_and_strays", "windows_with_label_column", "x_y_arrays", "coords_csv"):
        subprocess.run([sys.executable, shared_cases / f"data_{name}.py", out / name], check=True)
    return out


def read(path: Path) -> RawClips:
    return read_raw(str(path), Reading())


def clips_of(raw: RawClips) -> list[np.ndarray]:
    return np.split(raw.values, raw.offsets[1:-1])


@pytest.mark.parametrize("name", ["nfd", "strays", "empty"])
def test_recordings_in_hangul_half_nfd_half_made_and_among_strays(cases: Path, name: str) -> None:
    root = cases / "hangul_and_strays" / name / "MP_Data"
    raw = read(root.parent)
    sequences = 8 if name == "empty" else 10
    assert {label: list(raw.labels).count(label) for label in set(raw.labels)} == dict.fromkeys(
        ("감사", "안녕", "사랑"), sequences
    )
    for index, clip in enumerate(clips_of(raw)):
        frames = [np.load(f"{raw.where(index)}/{number}.npy") for number in range(30)]
        np.testing.assert_array_equal(clip, np.stack(frames).astype(np.float32))
    assert bool(raw.notes) == (name == "empty")
    assert raw.warnings == ()


def test_a_frame_of_another_size_among_them_is_named(cases: Path) -> None:
    for name in ("all", "short"):
        with pytest.raises(UserError, match=r"11\.npy: 258 numbers, where .* has 1662 numbers"):
            read(cases / "hangul_and_strays" / name)


def test_frames_of_points_in_folders(cases: Path) -> None:
    raw = read(cases / "coords_csv" / "frames21x4")
    assert raw.values.shape == (180, 21, 4)
    assert np.diff(raw.offsets).tolist() == [6] * 30
    frames = [np.load(f"{raw.where(index)}/{number}.npy") for index in range(30) for number in range(6)]
    np.testing.assert_array_equal(raw.values, np.stack(frames).astype(np.float32))


@pytest.mark.parametrize(("name", "numbers"), [("dataset", 99), ("korean", 54)])
def test_windows_in_the_form_of_the_korean_tutorial(cases: Path, name: str, numbers: int) -> None:
    folder = cases / "windows_with_label_column" / name
    raw = read(folder)
    values, offsets, labels = [], [0], []
    for recording in dict.fromkeys(raw.groups["recording"]):
        windows = np.load(folder / f"{recording}.npy")
        values.append(windows[..., :-1].reshape(-1, numbers))
        offsets += [offsets[-1] + windows.shape[1] * number for number in range(1, len(windows) + 1)]
        labels += [int(window[0, -1]) for window in windows]
    np.testing.assert_array_equal(raw.values, np.concatenate(values).astype(np.float32))
    assert raw.offsets.tolist() == offsets
    assert raw.class_names is not None
    assert list(raw.labels) == [raw.class_names[label] for label in labels]
    assert raw.class_names == (["come", "away", "spin"] if name == "dataset" else list("ㄱㄴㄷ"))


def test_windows_in_an_archive_with_and_without_their_label(cases: Path) -> None:
    with_label, without = (read(cases / "windows_with_label_column" / f"windows{n}.npz") for n in (100, 99))
    np.testing.assert_array_equal(with_label.values, without.values)
    assert with_label.labels == without.labels
    assert without.values.shape == (192 * 30, 99)


@pytest.mark.parametrize(
    "name",
    ["arrays", "arrays_no_map", "npz_one_hot", "npz_float", "npz_from_1", "npz_splits", "npz_with_map"],
)
def test_arrays_of_clips_and_labels(cases: Path, name: str) -> None:
    folder = cases / "x_y_arrays" / name
    arrays = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
    arrays |= {} if arrays else dict(np.load(folder / "data.npz"))
    keys = [("X", "y", "")] if "X" in arrays else [(f"X_{split}", f"y_{split}", split) for split in ("train", "test")]
    raw = read(folder)
    values = np.concatenate([arrays[x] for x, _, _ in keys])
    np.testing.assert_array_equal(raw.values, values.reshape(-1, 63).astype(np.float32))
    assert raw.offsets.tolist() == list(range(0, 30 * len(values) + 1, 30))
    y = np.concatenate([arrays[y].argmax(axis=1) if arrays[y].ndim == 2 else arrays[y] for _, y, _ in keys])
    names = json.loads((folder / "label_map.json").read_text()) if (folder / "label_map.json").exists() else None
    assert list(raw.labels) == [names[int(label)] if names else str(int(label)) for label in y]
    assert raw.splits == [split for x, _, split in keys for _ in arrays[x]]

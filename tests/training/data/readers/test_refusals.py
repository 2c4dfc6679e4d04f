"""Files that are not read say what they are and the line that converts them; the line works as it is printed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io

from slipway.training.common.errors import UserError
from slipway.training.data.readers.refusals import refusal
from slipway.training.data.understanding.understand import read_landmarks
from tests.limits import HANG_SECONDS
from tests.training.data.golden import assert_refused

RNG = np.random.default_rng(0)


class Trap:
    """An object whose pickle writes a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.file,))


def pickled(file: Path, content: object, protocol: int = 4) -> None:
    file.write_bytes(pickle.dumps(content, protocol=protocol))


def convert(source: Path, folder: Path) -> None:
    """Run the line that the error of a path prints."""
    with pytest.raises(UserError) as raised:
        read_landmarks(str(source))
    lines = [line.strip() for line in str(raised.value).splitlines()]
    assert lines[-1].startswith("slipway data inspect ")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", lines[-2]], check=True, cwd=folder, env=environment, timeout=HANG_SECONDS)


# a file of each kind


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ROWS = [RNG.random(42).tolist() for _ in range(4)]


def write_zip(file: Path, *names: str) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "1")


FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "tutorial": ("data.pickle", lambda file: pickled(file, {"data": ROWS, "labels": ["0", "0", "1", "1"]})),
    "openhands": (
        "00335.pkl",
        lambda file: pickled(file, {"keypoints": np.ones((3, 75, 3)), "confidences": np.ones((3, 75))}),
    ),
    "table": ("frames.pkl", lambda file: pickled(file, pd.DataFrame({"x0": [0.5], "label": ["a"]}))),
    "array": ("X.pickle", lambda file: pickled(file, np.ones((4, 42)))),
    "model_pickle": ("model.p", lambda file: pickled(file, {"model": [1, 2]})),
    "old_protocol": ("data.pkl", lambda file: pickled(file, {"data": ROWS, "labels": list("aabb")}, protocol=0)),
    "named_npy": ("X_train.npy", lambda file: pickled(file, {"data": ROWS, "labels": list("aabb")})),
    "keras": ("action.keras", lambda file: write_zip(file, "config.json", "model.weights.h5")),
    "keras_h5": ("action.h5", lambda file: file.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99 + b"model_config")),
    "hdf5": ("poses.h5", lambda file: file.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99)),
    "tflite": ("model.tflite", lambda file: file.write_bytes(b"\x1c\0\0\0TFL3")),
    "task": ("hand_landmarker.task", lambda file: write_zip(file, "hand_detector.tflite")),
    "torch": ("poses.pt", lambda file: write_zip(file, "poses/data.pkl")),
    "matlab": ("signs.mat", lambda file: scipy.io.savemat(file, {"X": np.ones((4, 42))})),
    "excel": ("signs.xlsx", lambda file: write_zip(file, "xl/workbook.xml")),
    "feather": ("train.feather", lambda file: file.write_bytes(b"ARROW1")),
    "tar": ("data.tar.gz", lambda file: file.write_bytes(b"\x1f\x8b\x08")),
    "zip": ("MP_Data.zip", lambda file: write_zip(file, "MP_Data/a/0/0.npy")),
    "rar": ("MP_Data.rar", lambda file: file.write_bytes(b"Rar!")),
    "gzip": ("train.csv.gz", lambda file: file.write_bytes(b"\x1f\x8b\x08")),
    "video": ("hello 1.mp4", lambda file: file.write_bytes(b"\0\0\0\x18ftypmp42")),
    "image": ("hello.jpg", lambda file: file.write_bytes(b"\xff\xd8\xff")),
    "empty": ("train.csv", lambda file: file.write_bytes(b"")),
    "lfs": ("X_train.npy", lambda file: file.write_bytes(LFS)),
    "html": ("train.csv", lambda file: file.write_bytes(b"\n<!DOCTYPE html><html><title>Sign in</title>")),
    "parquet_named_csv": ("train.csv", lambda file: pd.DataFrame({"a": [1]}).to_parquet(file)),
    "npy_named_npz": ("train.npz", lambda file: np.save(file.open("wb"), np.ones(3))),
    "npz_named_npy": ("train.npy", lambda file: np.savez(file.open("wb"), X=np.ones(3))),
    "zip_named_npz": ("train.npz", lambda file: write_zip(file, "a.csv", "b.csv")),
    "excel_named_csv": ("train.csv", lambda file: write_zip(file, "xl/workbook.xml")),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_not_read_says_what_it_is_and_what_to_do(tmp_path: Path, kind: str) -> None:
    name, write = FILES[kind]
    write(tmp_path / name)
    assert_refused(f"refused.{kind}", tmp_path / name, root=tmp_path)


def test_data_that_are_read_are_not_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.ones((1, 2, 63)), y=["a"])
    np.save(tmp_path / "d.npy", np.ones(3))
    (tmp_path / "d.csv").write_text("label,x\na,1\n")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "d.parquet")
    assert [refusal(file) for file in sorted(tmp_path.iterdir())] == [None] * 4


# the lines work


@pytest.mark.parametrize("name", ["data.pickle", "my data's.pickle"])
def test_the_line_for_the_tutorials_pickle_gives_what_stood_in_it(tmp_path: Path, name: str) -> None:
    pickled(tmp_path / name, {"data": ROWS, "labels": ["0", "1", "0", "1"]})
    convert(tmp_path / name, tmp_path)
    data = read_landmarks(str((tmp_path / name).with_suffix(".npz")))
    assert [data.class_names[label] for label in data.labels] == ["0", "1", "0", "1"]
    np.testing.assert_array_equal(data.values, np.array(ROWS, dtype=np.float32).reshape(4, 21, 2))


def test_rows_of_one_and_of_two_hands_become_equally_long_with_missing_numbers(tmp_path: Path) -> None:
    rows = [*ROWS, RNG.random(84).tolist()]
    pickled(tmp_path / "data.pickle", {"data": rows, "labels": [0, 1, 0, 1, 1]})
    convert(tmp_path / "data.pickle", tmp_path)
    with np.load(tmp_path / "data.npz") as arrays:
        assert arrays["X"].shape == (5, 84)
        assert np.isnan(arrays["X"]).sum(axis=1).tolist() == [42, 42, 42, 42, 0]
        np.testing.assert_array_equal(arrays["X"][:4, :42], np.array(ROWS, dtype=np.float32))
        assert arrays["y"].tolist() == ["0", "1", "0", "1", "1"]


def test_the_line_for_openhands_converts_a_folder_and_marks_missing_points(tmp_path: Path) -> None:
    clips = {}
    for clip in "ab":
        keypoints, confidences = RNG.random((3, 75, 3)), RNG.random((3, 75))
        confidences[:, 10:20] = 0
        pickled(tmp_path / f"{clip}.pkl", {"keypoints": keypoints, "confidences": confidences})
        clips[clip] = np.where(confidences[..., None] > 0, keypoints, np.nan)
    convert(tmp_path / "a.pkl", tmp_path)
    for clip, expected in clips.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{clip}.npy"), expected)


def test_the_line_for_a_matlab_file_gives_its_arrays(tmp_path: Path) -> None:
    values = RNG.random((4, 42))
    scipy.io.savemat(tmp_path / "signs.mat", {"X": values, "y": np.array([[1], [2], [1], [2]])})
    convert(tmp_path / "signs.mat", tmp_path)
    data = read_landmarks(str(tmp_path / "signs.npz"))
    np.testing.assert_array_equal(data.values.reshape(4, 42), values.astype(np.float32))
    assert [data.class_names[label] for label in data.labels] == ["1", "2", "1", "2"]


def test_the_line_for_a_pickled_table_gives_its_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x0": [0.5, 0.25], "label": ["a", "b"]})
    pickled(tmp_path / "frames.pkl", frame)
    convert(tmp_path / "frames.pkl", tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "frames.csv"), frame, check_dtype=False)


def test_no_pickle_is_loaded_wherever_it_stands(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (tmp_path / "data").mkdir()
    for name in ("data.pickle", "X.npy", "d.npz", "d.csv", "d.json", "d.pose"):
        pickled(tmp_path / "data" / name, {"data": Trap(sprung), "labels": []})
        with pytest.raises(UserError, match=r"a pickle can run any code|not"):
            read_landmarks(str(tmp_path / "data" / name))
    with pytest.raises(UserError):
        read_landmarks(str(tmp_path / "data"))
    assert not sprung.exists()

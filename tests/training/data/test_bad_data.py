"""Bad input ends in one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

from slipway.training.common.errors import UserError
from slipway.training.data.readers.read import READERS
from slipway.training.data.readers.tables import hub
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks


def error_of(source: object, data_format: str | None = None, *, most_lines: int = 1) -> str:
    with pytest.raises(UserError) as raised:
        read_landmarks(str(source), Reading(format=data_format))
    message = str(raised.value)
    assert len(message.splitlines()) <= most_lines
    return message


def assert_says(message: str, *parts: object) -> None:
    for part in parts:
        assert str(part) in message


# which data, which format


def test_a_mistyped_format_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    assert_says(error_of(tmp_path, "frame_folder"), "'frame_folder'", "did you mean 'frame_folders'", "npz")


def test_a_path_that_does_not_exist_is_not_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HfApi", None)
    monkeypatch.chdir(tmp_path)
    assert_says(error_of(tmp_path / "nothing"), tmp_path / "nothing", "no such file or folder")
    assert_says(error_of("someone/signs"), "someone/signs: no such file", "Hub is written hub:someone/signs")
    assert_says(error_of(tmp_path / "nothing", "npz"), tmp_path / "nothing", "no such file or folder")


def test_a_name_the_hub_does_not_have_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, name: str, timeout: float) -> None:
        raise ConnectionError("404 not found\nRequest id 12345")

    monkeypatch.setattr(hub.HfApi, "dataset_info", refuse)
    monkeypatch.setattr(hub.datasets.config, "HF_HUB_OFFLINE", False)
    assert_says(error_of("hub:someone/signs"), "hub:someone/signs is no data set of the Hub", "404 not found")
    assert_says(error_of("someone/signs", "hub"), "hub:someone/signs is no data set of the Hub", "404 not found")


@pytest.mark.parametrize(
    "files", ["https://example.com/x.parquet", "[{split: train, path: 'hf://datasets/a/b/x.parquet'}]"]
)
def test_the_card_of_a_local_folder_never_opens_the_network(tmp_path: Path, files: str) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text('{"landmarks": [[[0.1, 0.2]]], "label": "a"}\n')
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files: {files}\n---\n# A card\n"
    )
    assert_says(error_of(tmp_path, "hub"), "README.md: its data_files name", "local data never open the network")


def test_a_folder_of_two_formats_asks_for_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.ones((1, 2, 63)), y=["a"])
    (tmp_path / "toy.ts").write_text("@classLabel true a\n@data\n1:a\n")
    assert_says(error_of(tmp_path), tmp_path, "several formats", "--data-format npz or uea_ts")
    assert read_landmarks(str(tmp_path), Reading(format="npz")).source_format == "npz"
    assert read_landmarks(str(tmp_path / "toy.ts")).source_format == "uea_ts"


def test_a_folder_of_two_data_files_names_them(tmp_path: Path, shared_data: Path) -> None:
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", X=np.ones((1, 2, 63)), y=["a"])
    assert_says(error_of(tmp_path), "one.npz, two.npz", "name one of them")
    assert_says(error_of(shared_data / "hand_gesture_mediapipe"), "keypoint.csv, point_history.csv")


@pytest.mark.parametrize("data_format", READERS)
def test_noise_read_as_any_format_is_one_line(tmp_path: Path, data_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    for number, content in enumerate((b"", noise, b"a,b\n1,2\n", b"[1, 2]", b"PK\x03\x04" + noise, b"PAR1" + noise)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("d.npz", "d.ts", "d.csv", "movement_libras.data", "train.csv", "d.parquet"):
            (folder / name).write_bytes(content)
            error_of(folder / name, data_format, most_lines=12)
        error_of(folder, data_format, most_lines=12)
    (tmp_path / "empty").mkdir()
    assert "empty" in error_of(tmp_path / "empty", data_format)


# text


BAD_CSV = {
    "a word": ("0,1,2,3,4\n1,1,2,three,4\n", ("line 2", "'three' is not a number")),
    "a short row": ("0,1,2,3,4\n\n1,1,2,3\n", ("line 3", "4 columns where the first row has 5")),
    "an infinite number": ("0,1,2,3,4\n0,1,2,inf,4\n", ("line 2", "infinite")),
    "no class": ("label,a,b,c,d\n,1,2,3,4\n", ("line 2", "no label")),
    "only a header": ("label,a,b,c,d\n", ("no rows",)),
    "nothing": ("", ("is empty",)),
    "a class without a name": ("0,1,2,3,4\n3,1,2,3,4\n", ("line 2", "class '3'", "2 classes")),
    "an unknown split": ("label,split,a,b\nyes,evening,1,2\n", ("line 2", "'evening'", "train, validation or test")),
}


@pytest.mark.parametrize("fault", BAD_CSV)
def test_a_bad_csv_names_the_line(tmp_path: Path, fault: str) -> None:
    text, parts = BAD_CSV[fault]
    (tmp_path / "d.csv").write_text(text)
    if fault == "a class without a name":
        (tmp_path / "d_label.csv").write_text("Open\nClose\n")
    assert_says(error_of(tmp_path / "d.csv"), tmp_path / "d.csv", *parts)


def test_a_csv_that_is_no_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(b"0,1,2\x00\xff\xfe")
    assert_says(error_of(tmp_path / "d.csv"), tmp_path / "d.csv", "cannot be read", "UTF-8")


# data sets that `datasets` opens


BAD_ROWS = {
    "no label": ({"landmarks": [[[1.0]]]}, ("needs the columns landmarks and label", "it has landmarks")),
    "frames of unequal size": ({"landmarks": [[[1.0], [1.0, 2.0]]], "label": ["a"]}, ("unequal size (1, 2)",)),
    "words": ({"landmarks": [[["a"]]], "label": ["a"]}, ("not lists of numbers",)),
    "a number": ({"landmarks": [1.0], "label": ["a"]}, ("not lists of numbers",)),
    "a null clip": ({"landmarks": [[[1.0]], None], "label": ["a", "b"]}, ("null",)),
    "a null label": ({"landmarks": [[[1.0]], [[1.0]]], "label": ["a", None]}, ("row 1", "no label")),
    "a clip without frames": ({"landmarks": [[[1.0]], []], "label": ["a", "b"]}, ("row 1", "without frames")),
    "too deep": ({"landmarks": [[[[[1.0]]]]], "label": ["a"]}, ("nested too deep",)),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_bad_data_set_is_named(tmp_path: Path, fault: str) -> None:
    rows, parts = BAD_ROWS[fault]
    Dataset.from_dict(rows).save_to_disk(str(tmp_path))
    assert_says(error_of(tmp_path), tmp_path, *parts)


def test_a_split_of_an_unknown_name_is_named(tmp_path: Path) -> None:
    part = Dataset.from_dict({"landmarks": [[[1.0]]], "label": ["a"]})
    DatasetDict(train=part, extra=part).save_to_disk(str(tmp_path))
    assert_says(error_of(tmp_path), tmp_path, "'extra' is not a split")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("d.parquet", "cannot be loaded as a data set"),
        ("d.json", "is not complete JSON"),
        ("d.arrow", "is damaged (Expected to read"),
    ],
)
def test_a_file_that_datasets_cannot_load_says_so(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(b"{not data")
    assert_says(error_of(tmp_path / name), tmp_path / name, what)


def test_a_bad_islr_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,participant_id,sequence_id,sign\na.parquet,1,2,tv\n")
    assert_says(error_of(tmp_path), "line 2", tmp_path / "a.parquet")
    pd.DataFrame({axis: np.zeros(544) for axis in "xyz"}).to_parquet(tmp_path / "a.parquet")
    assert_says(error_of(tmp_path), tmp_path / "a.parquet", "544 rows", "543")
    pd.DataFrame({axis: np.zeros(543) for axis in "xyz"}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "sign_to_prediction_index_map.json").write_text(json.dumps({"after": 0}))
    assert_says(error_of(tmp_path), "line 2", "class 'tv'")

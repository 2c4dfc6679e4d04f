"""Where no reader recognises a path, what is there is said, and what to do; a data set a little deeper is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.read import READERS
from slipway.training.data.readers.refusals import texts_in
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_golden, assert_refused


def touch(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0")


def arrays(folder: Path) -> None:
    for name in ("a", "b", "c"):
        np.save(folder / f"{name}.npy", np.ones((2, 3, 4, 5, 6), dtype=bool))


def list_of_videos(folder: Path) -> None:
    touch(folder, *(f"{number}.mp4" for number in range(4)))
    (folder / "WLASL_v0.3.json").write_text('[{"gloss": "book", "instances": [{"video_id": "1"}]}]')


def other_json(folder: Path) -> None:
    (folder / "hands.json").write_text('{"hello": [[0.1, 0.2]], "thanks": [[0.3, 0.4]]}')


def tutorial(folder: Path) -> None:
    import pickle

    touch(folder, *(f"data/{label}/{number}.jpg" for label in range(3) for number in range(10)), "train.py", "model.p")
    (folder / "data.pickle").write_bytes(pickle.dumps({"data": [[0.5] * 42], "labels": ["0"]}))


def table_of_videos(folder: Path) -> None:
    touch(folder, *(f"videos/{number}.mp4" for number in range(4)))
    (folder / "clips.csv").write_text("clip,word_id,landmark_path\na,1,a.bin\n")


FOLDERS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda folder: None,
    "strays": lambda folder: touch(folder, ".DS_Store", "Logs/events", "__pycache__/a.pyc"),
    "videos": lambda folder: touch(folder, *(f"{label}/{n}.mp4" for label in ("hello", "thanks") for n in range(60))),
    "images": lambda folder: touch(folder, *(f"{label}/{number}.jpg" for label in "ABC" for number in range(5))),
    "tutorial": tutorial,
    "archive": lambda folder: touch(folder, "MP_Data.tar.gz", "README.md"),
    "table_of_videos": table_of_videos,
    "code": lambda folder: touch(folder, "train.py", "README.md", "model/a.ipynb"),
    "arrays": arrays,
    "list_of_videos": list_of_videos,
    "other_json": other_json,
    "json_lines_of_texts": lambda folder: (folder / "a.jsonl").write_text(
        '{"text": "It rains.", "label": "weather"}\n'
    ),
    "table_of_texts": lambda folder: (folder / "a.csv").write_text(
        "id,review,label\n1,Good soup,food\n2,Fog,weather\n"
    ),
    "table_of_sentences": lambda folder: (folder / "a.csv").write_text("one,two\nIt rains.,b\nThere is soup.,b\n"),
    "other_text": lambda folder: (folder / "WLASL_v0.3.txt").write_text("[]"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_what_is_there_is_said_with_what_to_do(tmp_path: Path, kind: str) -> None:
    FOLDERS[kind](tmp_path)
    with pytest.raises(UserError) as raised:
        read_landmarks(str(tmp_path))
    assert_golden(f"unknown.{kind}", str(raised.value).replace(", ".join(READERS), "FORMATS"), tmp_path)


def test_a_wrong_path_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "MP_Data" / "hello").mkdir(parents=True)
    for key, wrong in (("near", "MP_Dat"), ("below", "MP_Data/helo"), ("above", "nowhere/at/all")):
        assert_refused(f"path.{key}", tmp_path / wrong, Reading(format="npz"), root=tmp_path)


def test_the_only_data_set_a_little_deeper_is_read_and_said(tmp_path: Path) -> None:
    touch(tmp_path, "README.md", "src/train.py", "download/notes.txt")
    (tmp_path / "download" / "v2").mkdir()
    np.savez(tmp_path / "download" / "v2" / "d.npz", X=np.ones((2, 3, 63)), y=["a", "b"])
    data = read_landmarks(str(tmp_path))
    assert data.notes[0] == f"read from download/v2, the only data set below {tmp_path.name}"


def test_several_data_sets_a_little_deeper_are_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "d.npz", X=np.ones((2, 3, 63)), y=["a", "b"])
    assert_refused("path.several_sets", tmp_path)


def test_several_formats_in_a_folder_name_the_paths_and_the_options(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.ones((1, 2, 63)), y=["a"])
    (tmp_path / "toy.ts").write_text("@classLabel true a\n@data\n1:a\n")
    assert_refused("path.several_formats", tmp_path)


def test_a_set_whose_files_were_not_downloaded_is_told_by_one_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "MP_Data" / "hello" / "0"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.npy").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")
    with pytest.raises(UserError, match=r"npy: is a pointer of Git LFS, not the data; run git lfs pull"):
        read_landmarks(str(tmp_path))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (["label", "note", "x", "y"], ["thank you", "at home", "0.1", "0.2"]),
        (["landmarks", "text"], ["[0.1, 0.2]", "[0.1, 0.2]"]),
        (["pixels", "emotion"], ["70 80 82 72", "0"]),
        (["text", "a", "b", "c", "d"], ["thank you", "1", "2", "3", "4"]),
    ],
)
def test_a_table_of_numbers_is_no_table_of_texts(header: list[str], row: list[str]) -> None:
    assert texts_in(header, [row] * 4) is None


def test_the_digits_of_scikit_learn_are_said_to_be_pictures() -> None:
    with pytest.raises(UserError, match="scikit-learn's digits are pictures: add --task images"):
        read_landmarks("digits")

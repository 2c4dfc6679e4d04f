"""Class folders as people have them; what is no class folder is told."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from slipway.training.data.labelled.folders import files_in_class_folders
from slipway.training.data.labelled.labelled import Samples
from tests.training.helpers import catch


def made(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def found(folder: Path, *files: str) -> Samples[Path]:
    return files_in_class_folders(made(folder, *files), (".png", ".jpg"), "picture")


def pairs(samples: Samples[Path]) -> Sequence[tuple[str, str, str]]:
    return [
        (item.name, label, own) for item, label, own in zip(samples.items, samples.labels, samples.own, strict=True)
    ]


def test_the_first_folder_is_the_class_however_deep_a_file_lies_and_what_tools_leave_is_passed_over(
    tmp_path: Path,
) -> None:
    samples = found(
        tmp_path, "cat/2.PNG", "cat/10.png", "dog/more/1.jpg", "dog/.DS_Store", ".git/x.png", "cat/notes.md"
    )
    assert pairs(samples) == [("2.PNG", "cat", ""), ("10.png", "cat", ""), ("1.jpg", "dog", "")]


def test_names_of_one_class_in_two_forms_of_unicode_are_one_class(tmp_path: Path) -> None:
    samples = found(tmp_path, "crème/1.png", unicodedata.normalize("NFD", "crème") + "/2.png", "b/1.png")
    assert sorted(set(samples.labels)) == ["b", "crème"]


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "dev", "testing"), ("seg_train/seg_train", "seg_test/seg_test")]
)
@pytest.mark.parametrize("around", ["", "download/photos/"])
def test_folders_of_splits_are_splits_also_in_a_folder_around_them(
    tmp_path: Path, names: tuple[str, ...], around: str
) -> None:
    samples = found(tmp_path, *(f"{around}{name}/{kind}/{name[0]}.png" for name in names for kind in ("a", "b")))
    splits = ["train", "validation", "test"] if len(names) == 3 else ["train", "test"]
    assert sorted(set(samples.own)) == sorted(splits)
    assert sorted(set(samples.labels)) == ["a", "b"]


def test_a_class_may_be_named_as_a_split_is(tmp_path: Path) -> None:
    assert set(found(tmp_path, "train/1.png", "bus/1.png", "car/1.png").labels) == {"train", "bus", "car"}


def test_what_is_in_no_class_folder_and_which_folders_are_empty_is_told(tmp_path: Path) -> None:
    (tmp_path / "cow").mkdir()
    samples = found(tmp_path, "cat/1.png", "dog/1.png", "cover.jpg")
    assert samples.notes == (
        f"1 picture in {tmp_path.name} itself, in no class folder: left out",
        "no picture in cow: left out",
    )


def test_pictures_of_a_test_without_classes_are_left_out_and_told(tmp_path: Path) -> None:
    samples = found(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png", "test/2.png")
    assert set(samples.own) == {"train"}
    assert "2 pictures in test itself, in no class folder: left out" in samples.notes


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            ["1.png", "2.png"],
            "2 pictures, but no folders of classes; put those of each class in a folder named after it",
        ),
        (
            ["a/1.mp4", "b/2.mp4", "b/x.csv"],
            "no picture in it (it holds 2 .mp4, 1 .csv); name a folder with a folder for",
        ),
        ([], "no picture in it (it holds nothing)"),
        (["train/a/1.png", "train/b/1.png", "misc/1.png"], "train is a split, but misc beside it is none"),
        (["train/1.png", "test/2.png"], "test, train are splits, but hold no folders of classes: <split>/<class>/*"),
    ],
)
def test_other_folders_are_refused_with_what_is_in_them(tmp_path: Path, files: list[str], words: str) -> None:
    assert words in str(catch(found, tmp_path, *files))


def test_a_file_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    assert "is one file" in str(catch(files_in_class_folders, made(tmp_path, "a.png") / "a.png", (".png",), "picture"))
    assert "no such folder" in str(catch(files_in_class_folders, tmp_path / "b", (".png",), "picture"))

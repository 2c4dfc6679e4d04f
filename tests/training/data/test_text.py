"""What people's tools leave in folders is passed over, and names are equal whatever system wrote them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from slipway.training.data.text import (
    files_with,
    find_column,
    folders_in,
    listing_of,
    natural_key,
    one_read,
    plain_label,
)

STRAY_FILES = (".DS_Store", "._0.npy", "Thumbs.db", "desktop.ini", "~$labels.csv")
STRAY_FOLDERS = (".ipynb_checkpoints", ".git", "__pycache__", "__MACOSX", "Logs")


@pytest.fixture
def littered(tmp_path: Path) -> Path:
    """Return a folder of two folders, two files and what tools leave behind."""
    for name in (*STRAY_FOLDERS, "10", "9"):
        (tmp_path / name).mkdir()
    for name in (*STRAY_FILES, "b.npy", "A.NPY"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_what_tools_leave_in_a_folder_is_passed_over(littered: Path) -> None:
    found = listing_of(littered)
    assert (found.folders, found.files) == (["9", "10"], ["A.NPY", "b.npy"])
    assert folders_in(littered) == [littered / "9", littered / "10"]
    assert files_with(littered, ".npy", ".npz") == [littered / "A.NPY", littered / "b.npy"]


def test_hangul_of_a_mac_is_the_same_name() -> None:
    decomposed = unicodedata.normalize("NFD", "감사")
    assert decomposed != "감사"
    assert plain_label(decomposed) == "감사"
    assert natural_key(decomposed) == natural_key("감사")
    assert find_column([unicodedata.normalize("NFD", "이름")], ("이름",)) == 0


def test_numbers_in_names_sort_as_numbers() -> None:
    assert sorted(["b10", "b9", "a", "10", "9"], key=natural_key) == ["9", "10", "a", "b9", "b10"]


def test_a_folder_is_listed_once_in_a_read_and_anew_in_the_next(
    littered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    with one_read():
        assert files_with(littered, ".npy") == [littered / "A.NPY", littered / "b.npy"]
        assert len(folders_in(littered)) == 2
        assert len(listed) == 1
    (littered / "b.npy").unlink()
    with one_read():
        assert files_with(littered, ".npy") == [littered / "A.NPY"]


def test_links_that_lead_nowhere_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "gone.npy").symlink_to(tmp_path / "nothing")
    assert files_with(tmp_path, ".npy") == []
    assert listing_of(tmp_path).files == ["gone.npy"]

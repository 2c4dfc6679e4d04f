"""The key of a prepared data set changes with all that the data depend on, and with nothing else."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.prepared import content
from slipway.training.data.readers.unknown import check_source
from slipway.training.data.specs import DataSpec, Reading
from tests.conftest import ROOT
from tests.test_house import imports
from tests.training.clip_sources import LONG_AGO, changed_byte, write_archive, write_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "clips")


def changed_byte_of_the_same_time(source: Path) -> None:
    changed_byte(source)
    os.utime(source / "hello" / "0" / "1.npy", (LONG_AGO, LONG_AGO))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a changed byte": changed_byte,
    "a changed byte, its time set back": changed_byte_of_the_same_time,
    "a renamed class": lambda source: (source / "hello").rename(source / "bye"),
    "an added file": lambda source: shutil.copy(source / "hello" / "0" / "0.npy", source / "hello" / "0" / "3.npy"),
    "a removed file": lambda source: (source / "hello" / "0" / "2.npy").unlink(),
    "a file under another name": lambda source: (source / "hello" / "0" / "2.npy").rename(
        source / "hello" / "0" / "7.npy"
    ),
    "an empty sequence": lambda source: (source / "hello" / "9").mkdir(),
    "a link to another folder": lambda source: (source / "more").symlink_to(source / "hello"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_content_is_another_key(change: str, source: Path, tmp_path: Path, settled: None) -> None:
    before = key_of(source, tmp_path)
    assert key_of(source, tmp_path) == before
    CHANGES[change](source)
    assert key_of(source, tmp_path) != before


def key_of(source: Path, folder: Path, seed: int = 0, **options: Any) -> str:
    (folder / "digests").mkdir(exist_ok=True)
    spec = replace(DataSpec(source=str(source)), **options)
    return content.data_key(spec, seed, content.FileDigests(folder / "digests", source))


def test_another_choice_another_version_or_other_code_is_another_key(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [
        key_of(source, tmp_path),
        key_of(source, tmp_path, seed=1),
        key_of(source, tmp_path, split="stratified"),
        key_of(source, tmp_path, train_ratio=0.5),
        key_of(source, tmp_path, duplicates="keep"),
        key_of(source, tmp_path, reading=Reading(format="frame_folders")),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(content, "version", lambda package: "99.0" if package == "numpy" else "1.0")
        keys.append(key_of(source, tmp_path))
    code = tmp_path / "code"
    shutil.copytree(content._CODE, code)
    monkeypatch.setattr(content, "_CODE", code)
    assert key_of(source, tmp_path) == keys[0]
    with (code / "normalise.py").open("a", encoding="utf-8") as file:
        file.write("# another rule\n")
    keys.append(key_of(source, tmp_path))
    assert len(set(keys)) == len(keys)


def test_a_numpy_that_does_not_report_the_processor_is_no_failure(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key_of(source, tmp_path)
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": {}})
    assert key_of(source, tmp_path) != before


def test_all_code_that_decides_a_prepared_data_set_is_in_the_key() -> None:
    imported = {target for path in (ROOT / "training" / "data").rglob("*.py") for target in imports(path)}
    own = {".".join(target.split(".")[2:4]) for target in imported if target.startswith("slipway.training.")}
    others = {name for name in own if not name.startswith("data.")}
    hashed = {f"{path.parent.name}.{path.stem}" for path in content._OTHER_CODE}
    # These decide nothing: errors, records of what was asked for, how files are written; augmentation comes later.
    deciding_nothing = {
        *(
            "common.errors",
            "common.conversion",
            "common.keyed_random",
            "common.program",
            "config.recipe",
            "devices.ranks",
            "storage.entries",
            "storage.files",
        ),
    }
    assert others - hashed == deciding_nothing


def test_a_file_that_did_not_change_is_read_once_for_its_digest(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: None
) -> None:
    read = hashed_files(monkeypatch)
    key_of(source, tmp_path)
    assert len(read) == 36
    del read[:]
    key_of(source, tmp_path)
    assert read == []
    changed_byte(source)
    key_of(source, tmp_path)
    assert read == [source / "hello" / "0" / "1.npy"]


def test_a_file_of_the_last_two_seconds_is_not_trusted(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its times are set back, as `cp -p` does, but it came to be just now.
    before = key_of(source, tmp_path)
    read = hashed_files(monkeypatch)
    assert key_of(source, tmp_path) == before
    assert len(read) == 36
    # Later all are remembered, but for one that a clock ahead of this one has dated.
    ahead = source / "hello" / "0" / "1.npy"
    os.utime(ahead, (time.time() + 3600, time.time() + 3600))
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10_000_000_000)
    key_of(source, tmp_path)
    del read[:]
    key_of(source, tmp_path)
    assert read == [ahead]


def hashed_files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []
    own = content.sha256_of

    def recorded(path: Path) -> str:
        read.append(path)
        return own(path)

    monkeypatch.setattr(content, "sha256_of", recorded)
    return read


def test_an_index_that_is_not_understood_is_as_good_as_empty(source: Path, tmp_path: Path, settled: None) -> None:
    key = key_of(source, tmp_path)
    (index,) = (tmp_path / "digests").glob("*.json")
    whole = json.loads(index.read_text())
    for text in (
        "",
        "[]",
        "{",
        '{"files": 3}',
        json.dumps({**whole, "schema_version": 0, "files": {name: [0] for name in whole["files"]}}),
        json.dumps({**whole, "files": dict.fromkeys(whole["files"], 3)}),
        json.dumps({**whole, "files": {name: [*entry[:-1], None] for name, entry in whole["files"].items()}}),
    ):
        index.write_text(text)
        assert key_of(source, tmp_path) == key
    assert json.loads(index.read_text()) == whole


def test_files_beside_a_table_and_its_folder_belong_to_it(tmp_path: Path, settled: None) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "point.csv").write_text("\n".join(f"{row % 2}" + ",0.1" * 42 for row in range(8)))
    (folder / "point_label.csv").write_text("open\nclosed\n")
    (folder / "notes.txt").write_text("nothing\n")
    before = key_of(folder / "point.csv", tmp_path)
    (folder / "notes.txt").write_text("something\n")
    assert key_of(folder / "point.csv", tmp_path) == before
    (folder / "point_label.csv").write_text("open\nshut\n")
    changed = key_of(folder / "point.csv", tmp_path)
    assert changed != before
    assert key_of(folder.rename(tmp_path / "signs") / "point.csv", tmp_path) != changed
    archive = write_archive(tmp_path / "alone" / "clips.npz")
    before = key_of(archive, tmp_path)
    (archive.parent / "label.csv").write_text("open\n")
    assert key_of(archive, tmp_path) == before
    assert key_of(archive, tmp_path, reading=Reading(format="landmark_csv")) != before


BESIDE = {
    "X_train.npy": ("y_train.npy", "label_map.json", "classes.txt", "actions.npy"),
    "clips.npz": ("label_map.json", "actions.npy"),
    "points.csv": ("points_label.csv", "label_map.json", "labels.txt", "segments.tsv"),
    "movement_libras.data": ("movement_libras.names",),
    "manifest.csv": ("user1/a.npz", "labels.json"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_read_beside_a_single_file_belongs_to_it(name: str, tmp_path: Path, settled: None) -> None:
    folder = tmp_path / "set"
    (folder / "user1").mkdir(parents=True)
    (folder / name).write_text("landmark_path,label\nuser1/a.npz,a\n" if name == "manifest.csv" else "0,0.5\n")
    for beside in BESIDE[name]:
        before = key_of(folder / name, tmp_path)
        (folder / beside).write_text("one")
        added = key_of(folder / name, tmp_path)
        (folder / beside).write_text("two")
        assert len({before, added, key_of(folder / name, tmp_path)}) == 3, beside
    if name != "manifest.csv":
        before = key_of(folder / name, tmp_path)
        (folder / "film.mp4").write_text("nothing")
        assert key_of(folder / name, tmp_path) == before


def islr_list(folder: Path, path: str) -> None:
    (folder / "train.csv").write_text(f"path,sequence_id,participant_id,sign\na.parquet,1,2,hi\n{path},1,2,hi\n")


ELSEWHERE: dict[str, Callable[[Path], object]] = {
    "a clip above": lambda folder: islr_list(folder, "../b.parquet"),
    "a clip anywhere": lambda folder: islr_list(folder, "/data/b.parquet"),
    "files of a card": lambda folder: (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: hf://datasets/other/x.parquet\n---\n# Text\n"
    ),
    "a saved set of other files": lambda folder: (folder / "state.json").write_text(
        '{"_data_files": [{"filename": "../other/data.arrow"}]}'
    ),
}
WITHIN: dict[str, Callable[[Path], object]] = {
    "clips within": lambda folder: islr_list(folder, "train_landmark_files/2/b.parquet"),
    "files of a card": lambda folder: (folder / "README.md").write_text(
        "---\nconfigs:\n- data_files:\n  - split: train\n    path: data/train-*\n---\nSee https://example.org/../x\n"
    ),
    "a saved set": lambda folder: (folder / "state.json").write_text(
        '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": null}'
    ),
    "a text": lambda folder: (folder / "README.md").write_text("See https://example.org and ../x\n"),
    "a table": lambda folder: (folder / "train.csv").write_text("label,x,y\n/a,1,2\n"),
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_source_that_refers_to_files_elsewhere_is_not_kept(kind: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    ELSEWHERE[kind](tmp_path / "set")
    with pytest.raises(content.NotCacheable, match="may refer to files elsewhere"):
        key_of(tmp_path / "set", tmp_path)


@pytest.mark.parametrize("kind", WITHIN)
def test_a_source_that_lists_its_own_files_is_kept(kind: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    WITHIN[kind](tmp_path / "set")
    assert key_of(tmp_path / "set", tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_and_a_device_in_place_of_data_are_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero")
    if kind == "pipe":
        os.mkfifo(path := tmp_path / "pipe.csv")
    with pytest.raises(content.NotCacheable, match="is neither a file nor a folder"):
        key_of(path, tmp_path)
    with pytest.raises(UserError, match="is a pipe, a socket or a device; give a file or a folder with data"):
        check_source(path)


def test_links_are_followed_and_circles_and_dead_ends_do_no_harm(source: Path, tmp_path: Path, settled: None) -> None:
    outside = write_folder(tmp_path / "outside", clips=1)
    (source / "linked").symlink_to(outside / "hello")
    (source / "circle").symlink_to(source)
    (source / "nowhere").symlink_to(tmp_path / "missing")
    os.mkfifo(source / "pipe")
    (source / ".git").mkdir()
    before = key_of(source, tmp_path)
    (source / ".git" / "index").write_text("changed by a look at the status")
    assert key_of(source, tmp_path) == before
    np.save(outside / "hello" / "0" / "0.npy", np.ones(63))
    assert key_of(source, tmp_path) != before

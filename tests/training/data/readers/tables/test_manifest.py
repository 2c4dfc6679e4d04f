"""A table of clips names a file for each: what is there is read, what is not is told at once."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.prepared.content import FileDigests, NotCacheable, data_key
from slipway.training.data.specs import DataSpec, Reading
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_golden, assert_refused

HAND = np.random.default_rng(0).uniform(0.2, 0.8, (4, 5, 21, 3)).astype(np.float32)
"""Four clips of five frames."""
PATHS = ["user1/a 1.npy", "user1/b.npy", "user2/a.npy", "user2/b.npy"]


def table(**columns: object) -> pd.DataFrame:
    rows = {"sample_id": range(4), "symbol": list("abab"), "signer_id": [1, 1, 2, 2], "landmark_path": PATHS}
    return pd.DataFrame({**rows, "fps": 30.0, "source": "home", **columns})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four clips without a table."""
    for path, clip in zip(PATHS, HAND, strict=True):
        file = tmp_path / "set" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, clip)
    return tmp_path / "set"


def assert_is_hand(data: LandmarkData) -> None:
    assert data.source_format == "manifest"
    assert data.values.tobytes() == HAND.tobytes()
    assert data.offsets.tolist() == [0, 5, 10, 15, 20]
    assert [data.class_names[label] for label in data.labels] == list("abab")


def test_a_table_of_clips_gives_labels_signers_and_nothing_that_is_the_same_for_all(folder: Path) -> None:
    table().to_csv(folder / "manifest.csv", index=False)
    for source in (folder, folder / "manifest.csv"):
        data = read_landmarks(str(source))
        assert_is_hand(data)
        assert data.groups == {"signer": ["1", "1", "2", "2"]}
    assert list(read_landmarks(str(folder), Reading(group="source")).groups["source"]) == ["home"] * 4


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet"])
def test_a_table_of_clips_may_be_of_any_kind(folder: Path, kind: str) -> None:
    rows = table(split=["train", "train", "val", "test"], camera=["l", "r", "l", "r"])
    if kind == "tsv":
        rows.to_csv(folder / "index.tsv", index=False, sep="\t")
    elif kind == "jsonl":
        rows.to_json(folder / "index.jsonl", orient="records", lines=True)
    else:
        rows.to_parquet(folder / "index.parquet")
    data = read_landmarks(str(folder))
    assert_is_hand(data)
    assert list(data.own_split) == ["train", "train", "validation", "test"]
    assert list(data.groups["view"]) == ["l", "r", "l", "r"]


@pytest.mark.parametrize(
    "spelling",
    ["{}", "./{}", "set/{}", "C:\\Users\\ann\\set\\{}", "/home/ann/data/set/{}", "~/set/{}"],
)
def test_paths_of_another_folder_or_machine_are_found_below_the_table(folder: Path, spelling: str) -> None:
    paths = [spelling.format(path.replace("/", "\\") if "\\" in spelling else path) for path in PATHS]
    table(landmark_path=paths).to_csv(folder / "manifest.csv", index=False)
    assert_is_hand(read_landmarks(str(folder)))


def test_a_path_in_the_hangul_of_another_system_is_found(tmp_path: Path) -> None:
    np.save(tmp_path / unicodedata.normalize("NFD", "감사.npy"), HAND[0])
    pd.DataFrame({"file": ["감사.npy"], "label": ["감사"]}).to_csv(tmp_path / "list.csv", index=False)
    assert read_landmarks(str(tmp_path)).class_names == ("감사",)


def test_tables_named_after_splits_are_the_own_split(folder: Path) -> None:
    for split, rows in (("train", slice(0, 3)), ("val", slice(3, 4))):
        table().iloc[rows].to_csv(folder / f"manifest_{split}.csv", index=False)
    assert list(read_landmarks(str(folder)).own_split) == ["train", "train", "train", "validation"]


def test_a_row_that_stands_twice_is_read_once_and_told(folder: Path) -> None:
    rows = pd.concat([table(), table().iloc[[1]]])
    rows.to_csv(folder / "manifest.csv", index=False)
    data = read_landmarks(str(folder))
    assert_is_hand(data)
    assert any("1 row stands twice" in note and "line 6" in note for note in data.notes)


def test_clips_may_be_archives_tables_parquet_files_or_json(tmp_path: Path) -> None:
    flat = HAND[0].reshape(5, 63)
    names = [f"{axis}{point}" for point in range(21) for axis in "xyz"]
    wide = pd.DataFrame(flat, columns=names)
    long = pd.DataFrame(HAND[0].reshape(-1, 3), columns=list("xyz"))
    long.insert(0, "frame", np.repeat(range(5), 21))
    long.insert(1, "landmark_index", np.tile(range(21), 5))
    np.savez(tmp_path / "one.npz", data=HAND[0], fps=30.0)
    np.savez(tmp_path / "named.npz", landmarks=HAND[0], world=HAND[1], mask=np.ones(5, bool))
    wide.assign(frame=range(5)).to_csv(tmp_path / "wide.csv", index=False)
    wide.to_csv(tmp_path / "bare.csv", index=False, header=False)
    long.to_parquet(tmp_path / "long.parquet")
    wide.assign(timestamp=range(5)).to_parquet(tmp_path / "wide.parquet")
    (tmp_path / "lists.json").write_text(json.dumps(HAND[0].tolist()))
    points = [{"landmarks": [dict(zip("xyz", point, strict=True)) for point in frame]} for frame in HAND[0].tolist()]
    (tmp_path / "points.json").write_text(json.dumps({"fps": 30, "frames": points}))
    for file in sorted(tmp_path.iterdir()):
        pd.DataFrame({"path": [file.name] * 2, "label": ["a", "a"]}).to_csv(tmp_path / "list.csv", index=False)
        data = read_landmarks(str(tmp_path / "list.csv"))
        assert data.values.shape == (5, 21, 3), file.name
        np.testing.assert_array_equal(data.values, HAND[0], err_msg=file.name)


def test_a_table_called_labels_with_a_path_and_a_label_is_a_table_of_clips(folder: Path) -> None:
    pd.DataFrame({"filename": PATHS, "label": list("abab")}).to_csv(folder / "labels.csv", index=False)
    assert_is_hand(read_landmarks(str(folder)))


def test_all_files_that_are_not_there_are_told_at_once(folder: Path) -> None:
    table(landmark_path=[PATHS[0], "user1/gone.npy", "user2\\lost.npy", ""]).to_csv(
        folder / "manifest.csv", index=False
    )
    assert_refused("manifest.not_there", folder)


def test_two_tables_ask_for_one(folder: Path) -> None:
    for name in ("manifest.csv", "manifest_clean.csv"):
        table().to_csv(folder / name, index=False)
    assert_refused("manifest.two", folder)


def test_clips_of_other_sizes_and_broken_ones_are_named(folder: Path) -> None:
    table().to_csv(folder / "manifest.csv", index=False)
    np.save(folder / PATHS[1], HAND[0][:, :20])
    assert_refused("manifest.size", folder)
    (folder / PATHS[2]).write_bytes(b"\x93NUMPY")
    np.savez(folder / "user1" / "several.npz", first=HAND[0], second=HAND[0])
    table(landmark_path=[PATHS[0], "user1/several.npz", *PATHS[2:]]).to_csv(folder / "manifest.csv", index=False)
    assert_refused("manifest.broken", folder)


def test_one_file_of_two_classes_is_refused(folder: Path) -> None:
    table(landmark_path=[PATHS[0], PATHS[0], *PATHS[2:]]).to_csv(folder / "manifest.csv", index=False)
    assert_refused("manifest.two_classes", folder)


def test_a_table_without_a_class_asks_for_the_column(folder: Path) -> None:
    table().rename(columns={"symbol": "what"}).to_csv(folder / "manifest.csv", index=False)
    assert_refused("manifest.no_class", folder)
    assert_is_hand(read_landmarks(str(folder), Reading(label="what")))


def test_two_columns_of_the_class_are_one_if_they_agree_and_asked_for_if_not(folder: Path) -> None:
    table(label=[0, 1, 0, 1]).to_csv(folder / "manifest.csv", index=False)
    assert_is_hand(read_landmarks(str(folder)))
    table(category=["x", "x", "y", "y"]).to_csv(folder / "manifest.csv", index=False)
    assert_refused("manifest.classes_differ", folder)


def test_the_cache_does_not_keep_what_lies_in_other_folders(folder: Path, tmp_path: Path) -> None:
    lists = folder.parent / "lists"
    lists.mkdir()
    table(landmark_path=[f"set/{path}" for path in PATHS]).to_csv(lists / "manifest.csv", index=False)
    assert_is_hand(read_landmarks(str(lists)))
    with pytest.raises(NotCacheable, match="names files elsewhere"):
        data_key(DataSpec(source=str(lists)), 0, FileDigests(tmp_path, lists))


def test_the_example_of_a_collector_is_read_and_its_fault_is_told(shared_cases: Path, tmp_path: Path) -> None:
    import runpy
    import sys

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["", str(tmp_path)])
        runpy.run_path(str(shared_cases / "data_manifest.py"))
    root = tmp_path / "collected_targeted"
    data = read_landmarks(str(root / "manifest_clean.csv"))
    assert (len(data), data.layout.num_landmarks, data.layout.num_coords) == (40, 21, 3)
    assert set(data.signers) == {"user1", "user2"}
    assert np.isnan(data.values).all(axis=(1, 2)).mean() == 0.15
    with pytest.raises(UserError) as raised:
        read_landmarks(str(root / "manifest.csv"))
    assert_golden("manifest.example", str(raised.value), root)

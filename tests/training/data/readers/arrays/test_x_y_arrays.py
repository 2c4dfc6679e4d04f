"""Arrays of clips and labels are found by their names, labels are named by the file beside them, and neither is guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.arrays.pairs import Role, role_of
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading


def save(folder: Path, **arrays: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(array))
    return folder


def read(path: Path, **options: object) -> RawClips:
    return read_raw(str(path), Reading(**options))  # type: ignore[arg-type]


def error_of(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as raised:
        read(path, **options)
    return str(raised.value)


X = np.arange(4 * 3 * 63, dtype=np.float64).reshape(4, 3, 63)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("X", "y"), ("x", "Y"), ("data", "labels"), ("features", "targets"), ("X_asl", "y_asl"), ("asl_x", "asl_y"),
        ("keypoints", "label"), ("X", "classes"),
    ],
)  # fmt: skip
def test_clips_and_labels_are_found_by_many_names(tmp_path: Path, x: str, y: str) -> None:
    raw = read(save(tmp_path, **{x: X, y: [2, 0, 1, 2]}))
    assert (raw.source_format, list(raw.labels)) == ("x_y_arrays", ["2", "0", "1", "2"])
    np.testing.assert_array_equal(raw.values, X.reshape(-1, 63).astype(np.float32))


@pytest.mark.parametrize("pattern", ["X_{}", "{}_x", "x{}", "{}X", "{}_data", "X-{}"])
def test_splits_are_known_by_names(tmp_path: Path, pattern: str) -> None:
    label = pattern.replace("X", "y").replace("x", "y").replace("data", "labels")
    for split, count in (("train", 3), ("test", 1)):
        save(tmp_path, **{pattern.format(split): X[:count], label.format(split): range(count)})
    raw = read(tmp_path)
    assert sorted(raw.splits or []) == ["test", "train", "train", "train"]
    assert sorted(raw.labels) == ["0", "0", "1", "2"]


def test_folders_of_splits_are_read_as_one_data_set(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / split, X=X, y=range(4))
    raw = read(tmp_path)
    assert (raw.source_format, raw.splits) == ("x_y_arrays", ["train"] * 4 + ["test"] * 4)


def test_the_roles_of_names() -> None:
    assert role_of("X_train") == Role("x", "train", "", True)
    assert role_of("ytest") == Role("y", "test", "", True)
    assert role_of("val_labels") == Role("y", "validation", "")
    assert role_of("seq_come_1627646273") is None
    assert role_of("ㄱ_오른손_idx_1_1-0mp4") is None
    assert role_of("0") is None


LABELS = {
    "numbers": [2, 0, 1, 2],
    "floats": [2.0, 0.0, 1.0, 2.0],
    "a column": [[2], [0], [1], [2]],
    "one-hot": np.eye(3)[[2, 0, 1, 2]],
    "one-hot truth values": np.eye(3)[[2, 0, 1, 2]].astype(bool),
    "digits": ["2", "0", "1", "2"],
}
NAMES = {
    "label_map.json": json.dumps(["yes", "no", "go"]),
    "labels.json": json.dumps({"yes": 0, "go": 2, "no": 1}),
    "class_names.json": json.dumps({"0": "yes", "1": "no", "2": "go"}),
    "classes.txt": "yes\nno\ngo\n",
    "labels.txt": "0 yes\n1 no\n2 go\n",
}


@pytest.mark.parametrize("labels", LABELS)
def test_labels_of_any_kind_are_named_by_any_file_beside(tmp_path: Path, labels: str) -> None:
    save(tmp_path, X=X, y=LABELS[labels])
    assert list(read(tmp_path).labels) == ["2", "0", "1", "2"]
    for name, text in NAMES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        raw = read(tmp_path)
        assert (list(raw.labels), raw.class_names) == (["go", "yes", "no", "go"], ["yes", "no", "go"]), name
        assert any(name in note for note in raw.notes)
        (tmp_path / name).unlink()
    save(tmp_path, actions=["yes", "no", "go"])
    assert list(read(tmp_path).labels) == ["go", "yes", "no", "go"]


def test_labels_that_count_from_1_are_known_by_the_count_of_names(tmp_path: Path) -> None:
    save(tmp_path, X=X, y=[3, 1, 2, 3])
    (tmp_path / "classes.txt").write_text("yes\nno\ngo\n")
    raw = read(tmp_path)
    assert list(raw.labels) == ["go", "yes", "no", "go"]
    assert any("count from 1: class 1 is 'yes'" in note for note in raw.notes)


def test_texts_are_classes_in_the_order_of_their_file(tmp_path: Path) -> None:
    save(tmp_path, X=X, y=["go", "yes", "no", "go"])
    assert read(tmp_path).class_names is None
    (tmp_path / "classes.txt").write_text("yes\nno\ngo\n")
    assert read(tmp_path).class_names == ["yes", "no", "go"]


def test_one_file_reads_its_pair_alone(tmp_path: Path) -> None:
    save(tmp_path, X_train=X, y_train=[0, 1, 0, 1], X_test=X[:1], y_test=[0])
    (tmp_path / "classes.txt").write_text("yes\nno\n")
    for name in ("X_train", "y_train"):
        raw = read(tmp_path / f"{name}.npy")
        assert (list(raw.labels), list(raw.files)) == (["yes", "no"] * 2, ["X_train.npy", "y_train.npy"])


def test_signers_and_lengths_beside_are_used(tmp_path: Path) -> None:
    raw = read(save(tmp_path, X=X, y=range(4), signers=["a", "a", "b", "b"], lengths=[1, 2, 3, 3]))
    assert raw.groups == {"signer": ["a", "a", "b", "b"]}
    assert np.diff(raw.offsets).tolist() == [1, 2, 3, 3]


def test_the_whole_beside_its_splits_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, X=X, y=range(4), X_train=X[:3], y_train=range(3), X_test=X[3:], y_test=[0])
    raw = read(tmp_path)
    assert len(raw.labels) == 4
    assert any("X.npy is passed over" in note for note in raw.notes)
    save(tmp_path, X_test=X, y_test=range(4))
    assert "X.npy stands beside X_test.npy, X_train.npy" in error_of(tmp_path)


def test_an_array_beside_that_has_no_labels_is_passed_over_and_told(tmp_path: Path) -> None:
    raw = read(save(tmp_path, X=X, y=range(4), X_mean=X[0, 0], X_std=X[0, 0]))
    assert any("X_mean.npy" in note and "passed over" in note for note in raw.notes)


HOT = np.eye(3)[[2, 0, 1, 2]]
FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "no labels": (
        {"X_train": X},
        "X_train.npy (4 clips) has no labels beside it; save the class of each clip as y_train",
    ),
    "no clips": ({"X": X, "y": range(4), "y_test": [1]}, "y_test.npy [1] has no clips beside it; save them as X_test"),
    "two data sets": (
        {"X_a": X, "y_a": range(4), "X_b": X, "y_b": range(4)},
        "several data sets (X_a.npy and X_b.npy)",
    ),
    "another count": ({"X": X, "y": range(3)}, "X.npy has 4 clips, but"),
    "a row of no one": ({"X": X, "y": HOT * np.array([[1], [0], [1], [1]])}, "y.npy, row 1: 0 columns are 1"),
    "a row of two ones": ({"X": X, "y": np.maximum(HOT, np.eye(4, 3))}, "y.npy, row 0: 2 columns are 1"),
    "soft labels": ({"X": X, "y": np.full((4, 3), 1 / 3)}, "neither one number for each clip nor one-hot"),
    "half a class": ({"X": X, "y": [0, 1, 0.5, 1]}, "y.npy, row 2: '0.5' is no class"),
    "no number": ({"X": X, "y": [0, 1, np.nan, 1]}, "y.npy, row 2: 'nan' is no class"),
    "other frames": (
        {"X_train": X, "y_train": range(4), "X_test": X[..., :50], "y_test": range(4)},
        "frames of [50], where those of",
    ),
    "signers of another count": ({"X": X, "y": range(4), "signers": [1]}, "signers.npy: has shape [1], not [4]"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_file(tmp_path: Path, fault: str) -> None:
    arrays, part = FAULTS[fault]
    assert part in error_of(save(tmp_path, **arrays))


def test_names_that_do_not_belong_to_the_labels_are_refused_or_told(tmp_path: Path) -> None:
    save(tmp_path, X=X, y=[0, 1, 2, 3])
    (tmp_path / "classes.txt").write_text("yes\nno\n")
    message = error_of(tmp_path)
    assert "class 2 (of 1 clips) has no name in classes.txt, which names 0 to 1" in message
    save(tmp_path, y=np.eye(4))
    assert "4 columns, where classes.txt names 2 classes" in error_of(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps(["a", "b", "c", "d"]))
    assert "classes.txt and labels.json name different classes" in error_of(tmp_path)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "labels.json").write_text(json.dumps({"a": [1, 2], "b": {"c": 0.5}}))
    assert any("labels.json is not used" in warning for warning in read(tmp_path).warnings)
    (tmp_path / "labels.json").unlink()
    (tmp_path / "label_encoder.pkl").write_bytes(b"")
    assert any("label_encoder.pkl is not read: a pickle can run code" in warning for warning in read(tmp_path).warnings)

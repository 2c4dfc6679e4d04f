"""What people read when arrays cannot be read, or may be two things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.golden import assert_refused


def save(folder: Path, **arrays: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(array))


def frames(folder: Path, shape: tuple[int, ...] = (63,), count: int = 2) -> None:
    save(folder, **{str(number): np.ones(shape) for number in range(count)})


def faulty_frames(root: Path) -> None:
    frames(root / "a" / "0", count=4)
    save(root / "a" / "0", **{"1": np.ones(62), "2": np.array(["x"] * 63)})
    (root / "a" / "0" / "3.npy").write_bytes(b"")
    frames(root / "b" / "0", count=4)


def signers_or_classes(root: Path) -> None:
    for person in ("anna", "bert"):
        for word in ("no", "yes"):
            frames(root / person / word / "0")


def windows_of_two_labels(root: Path) -> None:
    save(root, seq_come_1=np.zeros((4, 3, 10)), seq_away_1=np.arange(4.0)[:, None, None] * np.ones((4, 3, 10)))


X, HOT = np.ones((4, 3, 63)), np.eye(3)[[0, 1, 2, 0]]
MADE: dict[str, Callable[[Path], object]] = {
    "faulty_frames": faulty_frames,
    "class_or_signer": signers_or_classes,
    "signers_without_class": lambda root: [frames(root / name) for name in ("user1", "user2")],
    "points_or_frames": lambda root: [frames(root / name, (30, 3)) for name in "ab"],
    "two_hands_or_frames": lambda root: [frames(root / name, (2, 21, 3)) for name in "ab"],
    "coords_first_in_a_file": lambda root: [frames(root / name, (3, 30, 27)) for name in "ab"],
    "x_without_y": lambda root: save(root, X_train=X),
    "y_without_x": lambda root: save(root, X=X, y=range(4), y_test=[1]),
    "another_count": lambda root: save(root, X=X, y=range(3)),
    "not_one_hot": lambda root: save(root, X=X, y=np.where(HOT.sum(axis=0) > 1, 1, HOT)),
    "several_data_sets": lambda root: save(root, X_a=X, y_a=range(4), X_b=X, y_b=range(4)),
    "axes_of_coords_first": lambda root: save(root, X=np.ones((4, 3, 21)), y=range(4)),
    "points_or_frames_of_x": lambda root: save(root, X=np.ones((4, 30, 3)), y=range(4)),
    "two_labels_of_a_window_file": windows_of_two_labels,
}


@pytest.mark.parametrize("key", MADE)
def test_the_message_says_what_where_and_what_to_do(tmp_path: Path, key: str) -> None:
    root = tmp_path / "set"
    MADE[key](root)
    assert_refused(f"arrays.{key}", root)

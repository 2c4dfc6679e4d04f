"""Tables that are not read come with a command, and what it writes is read as what was meant."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.understanding.understand import read_landmarks

HANDS = np.random.default_rng(0).uniform(0.2, 0.8, (6, 21, 3)).astype(np.float32)
LABELS = ["no", "no", "no", "yes", "yes", "yes"]
NAMES = [f"{axis}{point}" for point in range(21) for axis in "xyz"]
ROWS = pd.DataFrame(HANDS.reshape(6, 63).astype(float), columns=NAMES)


def one_hot(root: Path) -> Path:
    hot = pd.get_dummies(pd.Series(LABELS)).astype(int)
    pd.concat([ROWS, hot], axis=1).to_csv(root / "d.csv", index=False)
    return root / "d.csv"


def a_list_in_a_cell(root: Path) -> Path:
    cells = [hand.reshape(-1).tolist() for hand in HANDS]
    pd.DataFrame({"label": LABELS, "landmarks": cells}).to_csv(root / "d.csv", index=False)
    return root / "d.csv"


def a_point_in_a_cell(root: Path) -> Path:
    points = {f"p{point}": [tuple(hand[point].tolist()) for hand in HANDS] for point in range(21)}
    pd.DataFrame({"label": LABELS, **points}).to_csv(root / "d.csv", index=False)
    return root / "d.csv"


def a_point_in_a_row(root: Path) -> Path:
    rows = [
        (clip, 0, label, point, *hand[point].astype(float))
        for clip, (hand, label) in enumerate(zip(HANDS, LABELS, strict=True))
        for point in range(21)
    ]
    columns = ["clip", "frame", "label", "landmark", "X", "Y", "Z"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "d.csv", index=False)
    return root / "d.csv"


def a_table_of_each_class(root: Path) -> Path:
    for label in ("no", "yes"):
        rows = ROWS[[other == label for other in LABELS]]
        (root / "my data").mkdir(exist_ok=True)
        rows.to_csv(root / "my data" / f"{label}.csv", index=False)
    return root / "my data"


def a_column_for_each_number_in_parquet(root: Path) -> Path:
    ROWS.astype(np.float32).assign(label=LABELS).to_parquet(root / "d.parquet")
    return root / "d.parquet"


def a_list_of_numpy_in_a_cell(root: Path) -> Path:
    cells = [" ".join(["[", *map(repr, hand.reshape(-1).astype(float).tolist()), "]"]) for hand in HANDS]
    pd.DataFrame({"label": LABELS, "landmarks": cells}).to_csv(root / "d.csv", index=False)
    return root


def separators_of_thousands(mark: str) -> Callable[[Path], Path]:
    """Return what writes pixels with two decimals and separators of thousands, in quotes or between semicolons."""

    def write(root: Path) -> Path:
        separator = "," if mark == "," else ";"
        lines = [separator.join(["label", *NAMES])]
        for hand, label in zip(HANDS, LABELS, strict=True):
            cells = [f"{number * 4096:,.7f}" for number in hand.reshape(-1).astype(float)]
            if mark == ".":
                cells = [cell.translate(str.maketrans(",.", ".,")) for cell in cells]
            lines.append(separator.join([label, *(f'"{cell}"' if mark == "," else cell for cell in cells)]))
        (root / "d.csv").write_text("\n".join(lines))
        return root

    return write


def classes_in_another_table(root: Path) -> Path:
    ROWS.assign(clip=range(6)).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"clip": range(6), "sign": LABELS}).to_csv(root / "labels.csv", index=False)
    return root / "train.csv"


@pytest.mark.parametrize(
    "write",
    [
        a_list_of_numpy_in_a_cell,
        classes_in_another_table,
        one_hot,
        a_list_in_a_cell,
        a_point_in_a_cell,
        a_point_in_a_row,
        a_table_of_each_class,
        a_column_for_each_number_in_parquet,
    ],
)
def test_the_command_in_the_error_makes_data_that_are_read(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = write(tmp_path)
    with pytest.raises(UserError) as raised:
        read_landmarks(str(source))
    _, program, inspect = str(raised.value).splitlines()
    command = [sys.executable, *shlex.split(program)[1:]]
    subprocess.run(command, check=True)
    data = read_landmarks(shlex.split(inspect)[-1])
    assert data.layout.title == "hand"
    assert np.array_equal(data.values, HANDS)
    assert [data.class_names[label] for label in data.labels] == LABELS


@pytest.mark.parametrize("mark", [",", "."])
def test_separators_of_thousands_come_with_the_command_that_takes_them_out(tmp_path: Path, mark: str) -> None:
    with pytest.raises(UserError, match="separators of thousands") as raised:
        read_landmarks(str(separators_of_thousands(mark)(tmp_path)))
    _, program, inspect = str(raised.value).splitlines()
    subprocess.run([sys.executable, *shlex.split(program)[1:]], check=True)
    data = read_landmarks(shlex.split(inspect)[-1])
    np.testing.assert_allclose(data.values, HANDS * 4096, rtol=1e-6)


def test_annotations_of_coco_come_with_the_command_that_makes_a_table_of_them(tmp_path: Path) -> None:
    annotations = [
        {
            "image_id": row,
            "category_id": 1 + (label == "yes"),
            "keypoints": [n for x, y, _ in hand.tolist() for n in (x, y, 2)],
        }
        for row, (hand, label) in enumerate(zip(HANDS, LABELS, strict=True))
    ]
    annotations[0]["keypoints"][12:15] = [0, 0, 0]
    content = {
        "images": [],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "no"}, {"id": 2, "name": "yes"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="annotations of COCO") as raised:
        read_landmarks(str(tmp_path))
    _, program, inspect = str(raised.value).splitlines()
    subprocess.run([sys.executable, *shlex.split(program)[1:]], check=True)
    data = read_landmarks(shlex.split(inspect)[-1])
    expected = HANDS[:, :, :2].copy()
    expected[0, 4] = np.nan
    assert np.array_equal(data.values, expected, equal_nan=True)
    assert [data.class_names[label] for label in data.labels] == LABELS


def test_poses_of_yolo_come_with_the_command_that_makes_a_table_of_them(tmp_path: Path) -> None:
    (tmp_path / "labels" / "train").mkdir(parents=True)
    for row, (hand, label) in enumerate(zip(HANDS, LABELS, strict=True)):
        numbers = [n for x, y, _ in hand.astype(float).tolist() for n in (x, y, 2)]
        line = " ".join(map(repr, [int(label == "yes"), 0.5, 0.5, 1.0, 1.0, *numbers]))
        (tmp_path / "labels" / "train" / f"{row}.txt").write_text(line)
    (tmp_path / "data.yaml").write_text("train: images/train\nkpt_shape: [21, 3]\n")
    with pytest.raises(UserError, match="YOLO") as raised:
        read_landmarks(str(tmp_path))
    _, program, inspect = str(raised.value).splitlines()
    subprocess.run([sys.executable, *shlex.split(program)[1:]], check=True)
    assert np.array_equal(read_landmarks(shlex.split(inspect)[-1]).values, HANDS[:, :, :2])


def test_one_column_too_many_is_said_with_what_the_others_would_be(tmp_path: Path) -> None:
    rows = ROWS.assign(score=np.random.default_rng(1).uniform(0.5, 1, 6), label=LABELS)
    rows.to_csv(tmp_path / "d.csv", index=False, header=False)
    with pytest.raises(
        UserError,
        match=r"63 would be hand x, y, z or hand x, y, confidence: if 1 of the columns is no coordinate, remove it",
    ):
        read_landmarks(str(tmp_path / "d.csv"))

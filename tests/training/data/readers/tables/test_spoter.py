"""SPOTER's CSV, a list in each cell, becomes an upper body and hands in the order of their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slipway.training.data.layouts.openpose import upper_body_and_hands
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused

BODY = (
    "nose neck rightEye leftEye rightEar leftEar rightShoulder leftShoulder rightElbow leftElbow rightWrist leftWrist"
)
FINGERS = ("index", "middle", "ring", "little")
HAND = (
    "wrist",
    *(f"{finger}{joint}" for finger in FINGERS for joint in ("Tip", "DIP", "PIP", "MCP")),
    *("thumbTip", "thumbIP", "thumbMP", "thumbCMC"),
)
OURS = {"Tip": "tip", "DIP": "dip", "PIP": "pip", "MCP": "mcp", "IP": "ip", "MP": "mcp", "CMC": "cmc"}
LENGTHS = (3, 5, 2, 4)


def our_name(column: str) -> str:
    """Return the name of a landmark by SPOTER's, written down apart from the reader."""
    point, _, side = column.partition("_")
    if not side:
        words = point.replace("right", "right_").replace("left", "left_").lower()
        return f"pose.{words}"
    part = "left_hand" if side in ("left", "0") else "right_hand"
    for joint in sorted(OURS, key=len, reverse=True):
        if point.endswith(joint):
            return f"{part}.{point.removesuffix(joint).replace('little', 'pinky')}_{OURS[joint]}"
    return f"{part}.{point}"


def points_of(sides: tuple[str, str]) -> list[str]:
    return [*BODY.split(), *(f"{point}_{side}" for side in sides for point in HAND)]


def write(file: Path, points: list[str], **columns: object) -> dict[str, list[np.ndarray]]:
    """Write four clips and return point -> clips of [frames, 2]."""
    rng = np.random.default_rng(7)
    clips = {point: [rng.uniform(0.1, 0.9, (frames, 2)) for frames in LENGTHS] for point in points}
    clips[points[-1]][1][2] = 0.0
    cells = {
        f"{point}_{axis}": [str(clip[:, place].tolist()) for clip in of_point]
        for point, of_point in clips.items()
        for place, axis in enumerate("XY")
    }
    pd.DataFrame({**cells, "labels": [2, 0, 1, 2], "video_fps": 25.0, **columns}).to_csv(file, index=False)
    return clips


@pytest.mark.parametrize("sides", [("left", "right"), ("0", "1"), ("Left", "Right")])
def test_every_point_is_at_the_place_of_its_name(tmp_path: Path, sides: tuple[str, str]) -> None:
    points = points_of(sides)
    clips = write(tmp_path / "d.csv", points)
    data = read_landmarks(str(tmp_path))
    assert (data.source_format, data.layout) == ("spoter", upper_body_and_hands())
    assert np.diff(data.offsets).tolist() == list(LENGTHS)
    assert [data.class_names[label] for label in data.labels] == ["2", "0", "1", "2"]
    for point in points:
        place = data.layout.names.index(our_name(point.replace("_Left", "_left").replace("_Right", "_right")))
        expected = np.concatenate(clips[point]).astype(np.float32)
        expected[(expected == 0).all(axis=1)] = np.nan
        np.testing.assert_array_equal(data.values[:, place], expected, err_msg=point)


def test_one_hand_alone_and_a_table_without_a_neck_are_read(tmp_path: Path) -> None:
    write(tmp_path / "hand.csv", [f"{point}_1" for point in HAND])
    assert read_landmarks(str(tmp_path / "hand.csv")).layout == upper_body_and_hands(("right_hand",))
    write(tmp_path / "body.csv", [point for point in points_of(("0", "1")) if point != "neck"])
    data = read_landmarks(str(tmp_path / "body.csv"))
    assert np.isnan(data.values[:, data.layout.names.index("pose.neck")]).all()
    assert "the neck is not in the table and counts as missing" in data.notes


def test_files_named_after_splits_signers_and_label_names_are_read(tmp_path: Path) -> None:
    for name in ("WLASL3_train_25fps.csv", "WLASL3_val_25fps.csv"):
        write(tmp_path / name, points_of(("left", "right")), signer_id=[5, 5, 6, 6])
    (tmp_path / "label_map.json").write_text('{"book": 0, "drink": 1, "go": 2}')
    data = read_landmarks(str(tmp_path))
    assert list(data.own_split) == ["train"] * 4 + ["validation"] * 4
    assert list(data.signers) == ["5", "5", "6", "6"] * 2
    assert data.class_names == ("book", "drink", "go")


def test_lists_of_numbers_in_other_words_are_read(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", points_of(("left", "right")))
    rows = pd.read_csv(tmp_path / "d.csv")
    rows.loc[0, "nose_X"] = "[0.1 nan None]"
    rows.to_csv(tmp_path / "d.csv", index=False)
    np.testing.assert_array_equal(np.isnan(read_landmarks(str(tmp_path)).values[:3, 0, 0]), [False, True, True])


def test_cells_that_are_no_lists_and_lists_of_unequal_length_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", points_of(("left", "right")))
    rows = pd.read_csv(tmp_path / "d.csv")
    rows.loc[1, "neck_Y"] = "[0.5, 0.5]"
    rows.loc[2, "leftEar_X"] = "__import__('os').system('echo this is never run')"
    rows.to_csv(tmp_path / "d.csv", index=False)
    assert_refused("spoter.cells", tmp_path)


def test_points_that_are_not_there_are_named(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", points_of(("left", "right"))[:-2])
    assert_refused("spoter.points", tmp_path)


def test_a_table_without_a_class_asks_for_it(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", points_of(("left", "right")), what=["a", "b", "a", "b"])
    rows = pd.read_csv(tmp_path / "d.csv").drop(columns="labels")
    rows.to_csv(tmp_path / "d.csv", index=False)
    assert_refused("spoter.no_class", tmp_path)
    assert read_landmarks(str(tmp_path), Reading(label="what")).class_names == ("a", "b")

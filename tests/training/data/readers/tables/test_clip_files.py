"""A table or an archive for each clip, in a folder of its class, is read as folders of arrays are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused

HAND = np.random.default_rng(0).uniform(0.2, 0.8, (6, 5, 63)).astype(np.float32)
"""Six clips of five frames."""
NAMES = [f"{axis}{point}" for point in range(21) for axis in "xyz"]


def write_csv(file: Path, clip: np.ndarray, header: Sequence[str] = (), *, counted: bool = False) -> None:
    rows = [[*([str(number)] if counted else []), *map(repr, frame)] for number, frame in enumerate(clip.tolist())]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(",".join(row) + "\n" for row in ([list(header)] if header else []) + rows))


def write_classes(root: Path, header: Sequence[str] = (), *, counted: bool = False) -> None:
    for number, clip in enumerate(HAND):
        write_csv(root / ("hello" if number < 3 else "thanks") / f"{number}.csv", clip, header, counted=counted)


def assert_is_hand(source: Path, reading: Reading | None = None) -> None:
    data = read_landmarks(str(source), reading)
    assert (data.source_format, data.layout.title) == ("frame_folders", "hand")
    assert [data.class_names[label] for label in data.labels] == ["hello"] * 3 + ["thanks"] * 3
    assert data.offsets.tolist() == [5 * number for number in range(7)]
    np.testing.assert_array_equal(data.values.reshape(HAND.shape), HAND)


@pytest.mark.parametrize(
    ("header", "counted"), [((), False), (NAMES, False), (["frame", *NAMES], True), (["timestamp", *NAMES], True)]
)
def test_a_csv_of_frames_in_the_folder_of_its_class_is_a_clip(
    tmp_path: Path, header: Sequence[str], counted: bool
) -> None:
    write_classes(tmp_path, header, counted=counted)
    assert_is_hand(tmp_path)


def test_an_npz_of_one_array_is_a_clip(tmp_path: Path) -> None:
    for number, clip in enumerate(HAND):
        folder = tmp_path / ("hello" if number < 3 else "thanks")
        folder.mkdir(exist_ok=True)
        np.savez(folder / f"{number}.npz", clip.reshape(5, 21, 3))
    assert_is_hand(tmp_path)


def test_a_row_for_each_point_of_a_frame_is_a_clip_of_points(tmp_path: Path) -> None:
    for number, clip in enumerate(HAND):
        points = [
            f"{frame},{point},{x!r},{y!r},{z!r}"
            for frame, of_frame in enumerate(clip.reshape(5, 21, 3).tolist())
            for point, (x, y, z) in enumerate(of_frame)
        ]
        file = tmp_path / ("hello" if number < 3 else "thanks") / f"{number}.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(["frame,landmark,x,y,z", *points]))
    assert_is_hand(tmp_path)
    (tmp_path / "hello" / "0.csv").write_text("frame,landmark,x,y,z\n0,0,1,1,1\n0,1,1,1,1\n1,1,1,1,1\n1,0,1,1,1\n")
    assert_refused("clip_files.points_in_another_order", tmp_path)


def test_signers_and_splits_above_classes_are_levels_as_those_of_arrays(tmp_path: Path) -> None:
    for number, clip in enumerate(HAND):
        write_csv(tmp_path / f"user{number % 2}" / ("a", "b")[number // 3] / f"{number}.csv", clip)
    data = read_landmarks(str(tmp_path))
    assert sorted(set(data.signers)) == ["user0", "user1"]
    assert data.class_names == ("a", "b")


def test_faults_of_several_tables_are_told_at_once(tmp_path: Path) -> None:
    write_classes(tmp_path, NAMES)
    write_csv(tmp_path / "thanks" / "6.csv", HAND[0], [*NAMES[3:], *NAMES[:3]])
    (tmp_path / "hello" / "7.csv").write_text(
        "".join(",".join(NAMES) + "\n" + ",".join(["0.5"] * 62 + ["half"]) + "\n")
    )
    assert_refused("clip_files.faults", tmp_path)


@pytest.mark.parametrize("what", ["a class in each row", "a header with a label", "splits", "one file in each folder"])
def test_folders_of_tables_that_are_data_sets_are_not_clips(tmp_path: Path, what: str) -> None:
    for number, clip in enumerate(HAND):
        names = ("train", "test") if what == "splits" else ("hello", "thanks")
        rows, header = clip, NAMES
        if what == "a class in each row":
            rows, header = np.concatenate([np.array([[0], [1], [0], [1], [2]]), clip], axis=1), []
        if what == "a header with a label":
            rows, header = np.concatenate([np.ones((5, 1)), clip], axis=1), ["label", *NAMES]
        if what != "one file in each folder" or number in (0, 3):
            file = tmp_path / names[number // 3] / f"{number}.csv"
            write_csv(file, rows, header)
            file.write_text(file.read_text().replace("1.0,", "1,").replace("0.0,", "0,").replace("2.0,", "2,"))
    if what == "one file in each folder":
        assert_refused("clip_files.one_file_in_each_folder", tmp_path)
    else:
        with pytest.raises(UserError, match=r"holds [23] data sets"):
            read_landmarks(str(tmp_path))


def test_files_of_the_same_words_in_each_folder_may_be_the_classes(tmp_path: Path) -> None:
    for number, clip in enumerate(HAND):
        write_csv(tmp_path / ("anna", "bora")[number // 3] / f"{('hello', 'thanks', 'yes')[number % 3]}.csv", clip)
    assert_refused("clip_files.words_in_each_folder", tmp_path)
    assert read_landmarks(str(tmp_path), Reading(label="folder1")).class_names == ("anna", "bora")


@pytest.mark.parametrize("mark", [" ", ", ", "\t"])
def test_a_text_of_numbers_is_a_clip_with_a_frame_a_line(tmp_path: Path, mark: str) -> None:
    clips = np.random.default_rng(0).uniform(0.2, 0.8, (4, 6, 63)).astype(np.float32)
    for number, clip in enumerate(clips):
        (tmp_path / ("no", "yes")[number % 2]).mkdir(exist_ok=True)
        lines = [mark.join(map(repr, frame)) for frame in clip.astype(float).tolist()]
        (tmp_path / ("no", "yes")[number % 2] / f"{number}.txt").write_text("\n".join(lines))
    (tmp_path / "README.md").write_text("# signs")
    raw = read_raw(str(tmp_path), Reading())
    assert raw.labels == ["no", "no", "yes", "yes"]
    assert np.array_equal(raw.values, clips[[0, 2, 1, 3]].reshape(24, 63))
    (tmp_path / "no" / "0.txt").write_text("1 2 3\n")
    with pytest.raises(UserError, match="numbers"):
        read_raw(str(tmp_path), Reading())


def test_rows_of_points_that_name_their_part_are_joined_whatever_their_order(tmp_path: Path) -> None:
    hands = np.random.default_rng(0).uniform(0.2, 0.8, (4, 5, 2, 21, 3)).round(5)
    for number, clip in enumerate(hands):
        rows = [
            (frame, part, point, *clip[frame, hand, point])
            for frame in range(5)
            for hand, part in ((1, "right_hand"), (0, "left_hand"))
            for point in range(21)
        ]
        folder = tmp_path / ("no", "yes")[number % 2]
        folder.mkdir(exist_ok=True)
        columns = ["frame", "type", "landmark_index", "x", "y", "z"]
        pd.DataFrame(rows, columns=columns).to_csv(folder / f"{number}.csv", index=False)
    data = read_landmarks(str(tmp_path))
    assert data.layout.title == "both hands"
    expected = hands[[0, 2, 1, 3], ..., :2].reshape(20, 42, 2)
    assert np.array_equal(data.values, expected.astype(np.float32))

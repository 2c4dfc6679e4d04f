"""A table of landmarks is read by its columns, in any encoding; what is not certain is asked for."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slipway.training.data.layouts import mediapipe as layouts
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_refused

ROWS = np.random.default_rng(0).uniform(0.1, 0.9, (12, 42)).round(4)
COORDS = [f"{axis}{point}" for point in range(1, 22) for axis in "xy"]
WORDS = ["fist", "palm", "fist", "palm"] * 3


def table(values: np.ndarray = ROWS, **columns: object) -> pd.DataFrame:
    """Return a table with some columns before the coordinates."""
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(values, columns=COORDS)], axis=1)


def raw_of(path: Path, **reading: str) -> RawClips:
    return read_raw(str(path), Reading(**reading))  # type: ignore[arg-type]


def assert_is_rows(raw: RawClips, labels: list[str] = WORDS) -> None:
    assert raw.values.tobytes() == ROWS.astype(np.float32).tobytes()
    assert list(raw.labels) == labels
    assert raw.offsets.tolist() == list(range(13))


# the class


def test_coords_csv_gives_the_numbers_of_each_row_and_their_names(tmp_path: Path) -> None:
    names = [f"{axis}{point}" for point in range(1, 22) for axis in "xyzv"]
    values = np.random.default_rng(1).normal(size=(6, 84)).astype(np.float32)
    rows = pd.DataFrame(values, columns=names)
    rows.insert(0, "class", ["High Five", "Victory"] * 3)
    rows.to_csv(tmp_path / "coords.csv", index=False)
    raw = raw_of(tmp_path)
    assert raw.values.tobytes() == values.tobytes()
    assert (list(raw.labels), raw.number_names) == (["High Five", "Victory"] * 3, names)
    assert (raw.layout, raw.offsets.tolist()) == (None, list(range(7)))


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("labels", ["words", "numbers"])
def test_without_a_header_the_class_is_found_where_it_stands(tmp_path: Path, place: str, labels: str) -> None:
    names = WORDS if labels == "words" else [str(number % 3) for number in range(12)]
    rows = pd.DataFrame(ROWS)
    rows.insert(0 if place == "first" else 42, "class", names)
    rows.to_csv(tmp_path / "k.csv", index=False, header=False)
    assert_is_rows(raw_of(tmp_path), names)


def test_visibilities_of_zero_in_the_last_column_are_no_classes(tmp_path: Path) -> None:
    rows = pd.DataFrame(ROWS)
    rows[41] = 0
    rows.insert(0, "class", [number % 3 for number in range(12)])
    rows.to_csv(tmp_path / "k.csv", index=False, header=False)
    assert list(raw_of(tmp_path).labels) == ["0", "1", "2"] * 4


def test_a_header_that_counts_is_a_header(tmp_path: Path) -> None:
    rows = pd.DataFrame(ROWS)
    rows["letter"] = WORDS
    rows.to_csv(tmp_path / "letters.csv")  # pandas writes the row number as a first column without a name
    assert_is_rows(raw_of(tmp_path))


def test_the_only_column_of_text_is_the_class_and_that_is_said(tmp_path: Path) -> None:
    table(what=WORDS).to_csv(tmp_path / "d.csv", index=False)
    raw = raw_of(tmp_path)
    assert_is_rows(raw)
    assert raw.notes == ("the class is the column 'what', the only one of text",)


def test_a_column_is_chosen_by_its_name_or_its_number(tmp_path: Path) -> None:
    table(label=range(12), 동작=WORDS).to_csv(tmp_path / "d.csv", index=False)
    for label in ("동작", unicodedata.normalize("NFD", "동작"), "1", "-42"):
        if label != "-42":
            assert list(raw_of(tmp_path, label=label).labels) == WORDS
    pd.DataFrame(ROWS).assign(c=WORDS, d=WORDS).to_csv(tmp_path / "d.csv", index=False, header=False)
    assert list(raw_of(tmp_path, label="-1").labels) == WORDS


def test_a_class_that_is_not_certain_is_asked_for(tmp_path: Path) -> None:
    table(Time=np.arange(12) / 30).to_csv(tmp_path / "time.csv", index=False)
    assert_refused("csv.time_first", tmp_path / "time.csv", root=tmp_path)
    table(what=WORDS, where=WORDS[::-1]).to_csv(tmp_path / "two.csv", index=False)
    assert_refused("csv.two_texts", tmp_path / "two.csv", root=tmp_path)
    pd.DataFrame((ROWS * 100).round()).astype(int).to_csv(tmp_path / "pixels.csv", index=False, header=False)
    assert_refused("csv.pixels", tmp_path / "pixels.csv", root=tmp_path)
    table(label=WORDS, category=WORDS[1:] + WORDS[:1], sign=["a"] * 12).to_csv(tmp_path / "several.csv", index=False)
    assert_refused("csv.several_classes", tmp_path / "several.csv", root=tmp_path)
    assert list(raw_of(tmp_path / "several.csv", label="category").labels) == WORDS[1:] + WORDS[:1]


def test_a_column_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    table(label=WORDS, person_name=WORDS).to_csv(tmp_path / "d.csv", index=False)
    for option, column in (("label", "lable"), ("signer", "person"), ("group", "takes")):
        assert_refused(f"csv.no_{option}", tmp_path, Reading(**{option: column}))  # type: ignore[arg-type]


# other columns


def test_signers_recordings_views_splits_and_texts_are_groups_and_no_landmarks(tmp_path: Path) -> None:
    split = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    table(
        label=WORDS, user=[1, 2, 3] * 4, take=[1] * 6 + [2] * 6, cam=["l", "r"] * 6, place=["hall"] * 4 + ["yard"] * 8,
        id=range(12), fps=30, tool="v1", split=split,
    ).to_csv(tmp_path / "d.csv", index=False)  # fmt: skip
    raw = raw_of(tmp_path)
    assert_is_rows(raw)
    assert raw.groups == {
        "signer": ["1", "2", "3"] * 4,
        "recording": ["1"] * 6 + ["2"] * 6,
        "view": ["l", "r"] * 6,
        "place": ["hall"] * 4 + ["yard"] * 8,
    }
    assert list(raw.splits or ()) == ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
    assert raw.notes == ("left out: 'fps', no landmarks by the name",)
    assert raw_of(tmp_path, group="user").groups["user"] == ["1", "2", "3"] * 4
    assert_refused("csv.group_is_class", tmp_path, Reading(group="label"))
    assert raw_of(tmp_path, signer="place", group="user").groups["user"] == ["1", "2", "3"] * 4


def test_a_column_of_times_is_left_out_with_a_warning(tmp_path: Path) -> None:
    table(Time=np.arange(12) / 30, label=WORDS).to_csv(tmp_path / "d.csv", index=False)
    raw = raw_of(tmp_path)
    assert_is_rows(raw)
    assert raw.warnings == ("the column 'Time' is no landmark and is left out",)


def test_files_named_after_splits_are_the_own_split(tmp_path: Path) -> None:
    table(label=WORDS).iloc[:8].to_csv(tmp_path / "hands_train.csv", index=False)
    table(label=WORDS).iloc[8:].to_csv(tmp_path / "hands_test.csv", index=False)
    raw = raw_of(tmp_path)
    assert list(raw.splits or ()) == ["test"] * 4 + ["train"] * 8
    assert raw.where(4) == f"{tmp_path / 'hands_train.csv'}, line 2"


# frames of clips


def test_rows_are_frames_of_clips_where_columns_say_so(tmp_path: Path) -> None:
    # Four clips of three frames, numbered from 0 for each class as MP_Data is, in no order.
    order = np.random.default_rng(3).permutation(12)
    rows = table(label=np.repeat(list("abab"), 3), sequence=np.repeat([0, 0, 1, 1], 3), frame=[0, 1, 10] * 4)
    rows.iloc[order].to_csv(tmp_path / "d.csv", index=False)
    raw = raw_of(tmp_path)
    assert raw.offsets.tolist() == [0, 3, 6, 9, 12]
    clips = {(label, recording): clip for label, recording, clip in zip(
        raw.labels, raw.groups["recording"], np.split(raw.values, 4), strict=True)}  # fmt: skip
    for number, key in enumerate((("a", "0"), ("b", "0"), ("a", "1"), ("b", "1"))):
        np.testing.assert_array_equal(clips[key], ROWS[3 * number : 3 * number + 3].astype(np.float32))
    assert raw.notes == ("12 rows are frames of 4 clips by the columns 'sequence' and 'frame'",)


def test_a_clip_in_each_row_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    table(label=WORDS, video=range(12), frame=range(12)).to_csv(tmp_path / "d.csv", index=False)
    assert_is_rows(raw_of(tmp_path))


def test_rows_of_one_clip_whose_order_is_not_certain_are_asked_for(tmp_path: Path) -> None:
    columns = {"label": np.repeat(["a", "b"], 6), "video": np.repeat(["v1", "v2"], 6)}
    table(**columns).to_csv(tmp_path / "d.csv", index=False)
    assert_refused("csv.no_frame", tmp_path)
    raw = raw_of(tmp_path, group="video")
    assert len(raw.labels) == 12
    assert list(raw.groups["video"]) == ["v1"] * 6 + ["v2"] * 6
    table(**columns, frame=[0, 1, 2, 3, 3, 4] * 2).to_csv(tmp_path / "d.csv", index=False)
    assert_refused("csv.frame_twice", tmp_path)
    table(**columns, frame=[0, 1, "nan", 3, 4, 5] * 2).to_csv(tmp_path / "d.csv", index=False)
    assert_refused("csv.frame_nan", tmp_path)
    table(**{**columns, "label": ["a", "b"] * 6}, frame=[*range(6)] * 2).to_csv(tmp_path / "d.csv", index=False)
    assert_refused("csv.class_changes", tmp_path)
    table(**columns, frame=[*range(6)] * 2, split=["train", "test"] * 6).to_csv(tmp_path / "d.csv", index=False)
    assert_refused("csv.clip_in_two_splits", tmp_path)


def test_two_columns_of_one_name_are_refused_unless_all_numbers_are_named_so(tmp_path: Path) -> None:
    whole = table(label=WORDS)
    first, second = whole.columns[1:3]
    whole.rename(columns={second: first}).to_csv(tmp_path / "d.csv", index=False)
    assert_refused("csv.one_name", tmp_path)
    axes = ["label", *("xyz"[place % 3] for place in range(len(whole.columns) - 1))]
    whole.set_axis(axes, axis=1).to_csv(tmp_path / "d.csv", index=False)
    assert len(raw_of(tmp_path).labels) == len(WORDS)


def test_frames_without_a_clip_are_told(tmp_path: Path) -> None:
    table(label=WORDS, frame=[0, 1, 2] * 4).to_csv(tmp_path / "d.csv", index=False)
    raw = raw_of(tmp_path)
    assert_is_rows(raw)
    assert "no column names the clip of a row" in raw.warnings[0]


def test_a_row_a_landmark_is_refused(tmp_path: Path) -> None:
    rows = pd.DataFrame({"label": "a", "frame": [0, 0, 1, 1], "landmark": [0, 1, 0, 1], "x": 0.1, "y": 0.2, "z": 0.3})
    rows.to_csv(tmp_path / "d.csv", index=False)
    assert_refused("csv.long_form", tmp_path / "d.csv", root=tmp_path)


def test_a_row_of_a_point_history_is_the_track_of_one_point(tmp_path: Path) -> None:
    rows = np.arange(64).reshape(2, 32) / 100
    for name in ("point_history.csv", "mine.csv"):
        pd.DataFrame(rows).assign(label=["a", "b"]).to_csv(tmp_path / name, index=False)
    raw = raw_of(tmp_path / "point_history.csv")
    assert (raw.layout, raw.offsets.tolist()) == (layouts.points(1, 2), [0, 16, 32])
    # The first point of a track is its origin, not a missing one.
    np.testing.assert_array_equal(raw.values[:2, 0], np.float32([[0.0, 0.01], [0.02, 0.03]]))
    assert raw_of(tmp_path / "mine.csv").values.shape == (2, 32)
    assert raw_of(tmp_path / "mine.csv", landmarks="points", coords="xy").values.shape == (32, 1, 2)


# how it is written


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949", "euc-kr"])
def test_hangul_is_read_in_every_encoding_that_is_certain_or_told(tmp_path: Path, encoding: str) -> None:
    words = ["주먹", "보", "가위"] * 4
    table(이름=words).to_csv(tmp_path / "d.csv", index=False, encoding=encoding)
    certain = encoding.startswith("utf")
    assert_is_rows(raw_of(tmp_path, **({} if certain else {"encoding": encoding})), words)
    assert_is_rows(raw_of(tmp_path, encoding="utf-8" if certain else "cp949"), words)
    if encoding.startswith("utf-8"):  # a file beside that is UTF-8 beyond doubt
        assert_is_rows(raw_of(tmp_path, encoding="cp949"), words)


@pytest.mark.parametrize(("encoding", "word"), [("cp949", "주먹"), ("shift_jis", "グー"), ("latin-1", "poing fermé")])
def test_another_encoding_is_refused_with_the_likely_one(tmp_path: Path, encoding: str, word: str) -> None:
    table(label=[word, "x"] * 6).to_csv(tmp_path / "d.csv", index=False, encoding=encoding)
    assert_refused(f"csv.encoding_{encoding}", tmp_path)
    assert_is_rows(raw_of(tmp_path, encoding=encoding), [word, "x"] * 6)


def test_an_unknown_or_wrong_encoding_is_answered_with_the_nearest(tmp_path: Path) -> None:
    table(label=["주먹", "x"] * 6).to_csv(tmp_path / "d.csv", index=False, encoding="cp949")
    assert_refused("csv.encoding_mistyped", tmp_path, Reading(encoding="cp94"))
    assert_refused("csv.encoding_wrong", tmp_path, Reading(encoding="ascii"))


@pytest.mark.parametrize(("sep", "decimal"), [(";", ","), ("\t", ","), (";", "."), ("\t", ".")])
def test_semicolons_tabs_and_decimal_commas_are_read(tmp_path: Path, sep: str, decimal: str) -> None:
    table(label=WORDS).to_csv(tmp_path / "d.csv", index=False, sep=sep, decimal=decimal)
    assert_is_rows(raw_of(tmp_path))


def test_blank_rows_quotes_spaces_and_missing_numbers_are_read(tmp_path: Path) -> None:
    lines = table(label=WORDS).to_csv(index=False).splitlines()
    lines[1] = lines[1].replace("fist", '"fi, st"').replace(",", ", ")
    lines[2] = ",".join(["palm", "NaN", "?", "none", "", *lines[2].split(",")[5:]])
    lines[3:3] = ["", "," * 42]
    (tmp_path / "d.csv").write_text("\r\n".join(lines) + "\r\n\r\n", newline="")
    raw = raw_of(tmp_path)
    assert len(raw.labels) == 12
    assert np.isnan(raw.values[1, :5]).tolist() == [True] * 4 + [False]
    np.testing.assert_array_equal(raw.values[2], ROWS[2].astype(np.float32))
    assert [raw.where(index).rpartition(" ")[2] for index in (0, 2)] == ["2", "6"]


def test_all_faults_of_a_file_are_told_at_once_with_line_column_and_cell(tmp_path: Path) -> None:
    lines = table(label=WORDS).to_csv(index=False).splitlines()
    lines[2] = lines[2].rsplit(",", 1)[0]
    lines[5] = ",".join(["palm", "a cell that is far longer than forty characters", *lines[5].split(",")[2:]])
    lines[9] = ",".join(["palm", "0.1", "1_0", *lines[9].split(",")[3:]])
    (tmp_path / "d.csv").write_text("\n".join(lines))
    assert_refused("csv.faults", tmp_path)


def test_a_table_without_rows_or_numbers_says_so(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("label,x1,y1,x2,y2\n")
    assert_refused("csv.only_a_header", tmp_path / "d.csv", root=tmp_path)
    (tmp_path / "d.csv").write_text("")
    assert_refused("csv.empty", tmp_path / "d.csv", root=tmp_path)
    (tmp_path / "d.csv").write_text("label\na\nb\n")
    assert_refused("csv.no_numbers", tmp_path / "d.csv", root=tmp_path)


# names of classes


LABEL_FILES = {
    "k_label.csv": "\ufefffist\npalm\nwave\n",
    "label.csv": "number,name\n2,wave\n0,fist\n1,palm\n",
    "label_map.json": '{"fist": 0, "palm": 1, "wave": 2}',
    "labels.json": '["fist", "palm", "wave"]',
    "classes.txt": "0: fist\n1: palm\n2: wave\n",
    "labels.txt": "fist\npalm\nwave\n",
    "class_names.json": '{"0": "fist", "1": "palm", "2": "wave"}',
}


@pytest.mark.parametrize("name", LABEL_FILES)
def test_the_names_of_class_numbers_come_from_a_label_file_beside(tmp_path: Path, name: str) -> None:
    table(label=[0, 1, 2] * 4).to_csv(tmp_path / "k.csv", index=False)
    (tmp_path / name).write_text(LABEL_FILES[name], encoding="utf-8")
    raw = raw_of(tmp_path)
    assert_is_rows(raw, ["fist", "palm", "wave"] * 4)
    assert list(raw.class_names or ()) == ["fist", "palm", "wave"]


def test_label_files_that_differ_and_numbers_without_a_name_are_refused(tmp_path: Path) -> None:
    table(label=[0, 1, 2, 7] * 3).to_csv(tmp_path / "k.csv", index=False)
    (tmp_path / "k_label.csv").write_text("fist\npalm\n")
    assert_refused("csv.number_without_name", tmp_path)
    (tmp_path / "k_classifier_label.csv").write_text("palm\nfist\n")
    assert_refused("csv.label_files_differ", tmp_path)
    (tmp_path / "k_classifier_label.csv").unlink()
    (tmp_path / "k_label.csv").write_text("0,fist\n2,palm\n")
    assert_refused("csv.label_numbers_with_a_gap", tmp_path)


def test_an_unknown_split_is_named(tmp_path: Path) -> None:
    table(label=WORDS, split=["train", "evening"] * 6).to_csv(tmp_path / "d.csv", index=False)
    assert_refused("csv.split", tmp_path)


def test_a_label_file_belongs_to_the_data_whose_full_name_it_begins_with(tmp_path: Path) -> None:
    for stem, name in (("point", "P"), ("point_history", "H")):
        table(label=[0] * 12).to_csv(tmp_path / f"{stem}.csv", index=False)
        (tmp_path / f"{stem}_classifier_label.csv").write_text(name)
    assert read_landmarks(str(tmp_path / "point.csv")).class_names == ("P",)
    assert read_landmarks(str(tmp_path / "point_history.csv")).class_names == ("H",)


def test_columns_that_name_their_frames_make_clips_of_them(tmp_path: Path) -> None:
    clips = np.random.default_rng(0).uniform(0.2, 0.8, (6, 5, 21, 2)).astype(np.float32)
    names = [f"frame{frame}_{axis}{point}" for frame in range(5) for point in range(21) for axis in "xy"]
    table = pd.DataFrame(clips.reshape(6, -1).astype(float), columns=names).assign(label=["no", "yes"] * 3)
    table[[*names[42:], *names[:42], "label"]].to_csv(tmp_path / "d.csv", index=False)
    data = read_landmarks(str(tmp_path))
    assert data.layout.title == "hand"
    assert np.array_equal(data.values, clips.reshape(30, 21, 2))
    assert data.offsets.tolist() == list(range(0, 35, 5))

"""Folders of `.npy` files are read as clips of classes, whatever the levels of folders are; what is doubtful is asked for."""

from __future__ import annotations

import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.raw import RawClips
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks


def write(file: Path, value: object = 0.0, shape: tuple[int, ...] = (63,)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.full(shape, value))


def write_clip(folder: Path, values: range, shape: tuple[int, ...] = (63,)) -> None:
    for number, value in enumerate(values):
        write(folder / f"{number}.npy", float(value), shape)


def read(path: Path, **options: object) -> RawClips:
    return read_raw(str(path), Reading(**options))  # type: ignore[arg-type]


def firsts(raw: RawClips) -> list[list[float]]:
    """Return the first number of each frame of each clip."""
    numbers = raw.values.reshape(len(raw.values), -1)[:, 0]
    return [part.tolist() for part in np.split(numbers, raw.offsets[1:-1])]


def error_of(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as raised:
        read(path, **options)
    return str(raised.value)


def test_frames_and_sequences_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for sequence in (10, 2):
        write_clip(tmp_path / "MP_Data" / "hello" / str(sequence), range(sequence, sequence + 12))
    raw = read(tmp_path / "MP_Data")
    assert firsts(raw) == [[2.0 + frame for frame in range(12)], [10.0 + frame for frame in range(12)]]
    assert (raw.name, raw.where(0)) == ("MP_Data", str(tmp_path / "MP_Data" / "hello" / "2"))


def test_the_folder_above_is_accepted_with_other_things_beside(tmp_path: Path) -> None:
    write_clip(tmp_path / "MP_Data" / "a" / "0", range(2))
    write_clip(tmp_path / "MP_Data" / "b" / "0", range(2))
    (tmp_path / "Logs").mkdir()
    (tmp_path / "images").mkdir()
    write(tmp_path / "actions.npy")
    write(tmp_path / "old" / "x.npy")
    raw = read(tmp_path)
    assert (raw.name, list(raw.labels)) == ("MP_Data", ["a", "b"])
    assert any("actions.npy, old/x.npy" in note for note in raw.notes)


def test_split_folders_are_the_own_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_clip(tmp_path / split / "a" / "0", range(2))
    raw = read(tmp_path)
    assert (raw.splits, list(raw.labels)) == (["test", "train"], ["a", "a"])


def test_single_frames_of_a_class_are_clips_of_one_frame_and_that_is_said(tmp_path: Path) -> None:
    for label, letter in enumerate("ab"):
        for number in range(3):
            write(tmp_path / letter / f"frame_{number}.npy", 10.0 * label + number)
    raw = read(tmp_path)
    assert firsts(raw) == [[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]]
    assert any("6 of them are clips of one frame" in note for note in raw.notes)


@pytest.mark.parametrize("name", ["seq{}_frame{}", "video_{}_frame_{}", "seq_{}_{}", "hi-{}-f{}"])
def test_frames_whose_names_name_their_sequence_are_grouped(tmp_path: Path, name: str) -> None:
    for letter in "ab":
        for sequence in range(2):
            for frame in range(11):
                write(tmp_path / letter / (name.format(sequence, frame) + ".npy"), 100.0 * sequence + frame)
    raw = read(tmp_path)
    expected = [[100.0 * sequence + frame for frame in range(11)] for sequence in range(2)]
    assert firsts(raw) == expected * 2
    assert list(raw.labels) == ["a", "a", "b", "b"]


def test_two_numbers_without_a_word_are_single_frames_with_a_warning(tmp_path: Path) -> None:
    for sequence in range(2):
        for frame in range(3):
            write(tmp_path / "a" / f"{sequence}_{frame}.npy")
    raw = read(tmp_path)
    assert len(raw.labels) == 6
    assert any("two numbers" in warning and "seq3_frame12" in warning for warning in raw.warnings)


def test_a_file_may_be_a_clip_of_any_length(tmp_path: Path) -> None:
    for letter in "ab":
        for number, frames in enumerate((3, 5)):
            write(tmp_path / letter / f"{number}.npy", number, (frames, 63))
    raw = read(tmp_path)
    assert np.diff(raw.offsets).tolist() == [3, 5, 3, 5]
    assert raw.values.shape == (16, 63)


def test_clips_of_points_are_read_with_their_points(tmp_path: Path) -> None:
    write(tmp_path / "a" / "0.npy", 1.0, (7, 21, 3))
    write(tmp_path / "b" / "0.npy", 2.0, (9, 21, 3))
    assert read(tmp_path).values.shape == (16, 21, 3)


@pytest.mark.parametrize(
    "signers", [("user1", "user2"), ("signer_02", "signer_10"), ("P03", "P04"), ("Subject-A", "Subject-B")]
)
def test_a_folder_of_a_signer_is_known_by_its_name(tmp_path: Path, signers: tuple[str, str]) -> None:
    for number, signer in enumerate(signers):
        for letter in "ab":
            write_clip(tmp_path / "frames" / signer / letter / "0", range(number, number + 2))
            write(tmp_path / "clips" / signer / letter / "0.npy", number, (4, 63))
            write(tmp_path / "single" / signer / letter / "0.npy", number)
            write_clip(tmp_path / "within" / letter / signer / "0", range(number, number + 2))
    for name in ("frames", "clips", "single"):
        raw = read(tmp_path / name)
        assert (list(raw.labels), raw.groups) == (
            ["a", "b", "a", "b"],
            {"signer": [signers[0], signers[0], signers[1], signers[1]]},
        ), name
    raw = read(tmp_path / "within")
    assert (list(raw.labels), raw.groups) == (["a", "a", "b", "b"], {"signer": list(signers) * 2})


def test_a_level_that_may_be_a_class_or_a_signer_is_asked_for_and_told_by_an_option(tmp_path: Path) -> None:
    for person in ("anna", "bert"):
        for letter in ("yes", "no"):
            write_clip(tmp_path / person / letter / "0", range(2))
    message = error_of(tmp_path)
    assert "--label folderN" in message
    assert "--signer folderN" in message
    assert "folder1: anna, bert; folder2: no, yes; folder3: 0" in message
    raw = read(tmp_path, signer="folder1")
    assert (list(raw.labels), raw.groups["signer"]) == (["no", "yes"] * 2, ["anna", "anna", "bert", "bert"])
    raw = read(tmp_path, label="folder1", group="folder2")
    assert (list(raw.labels), raw.groups) == (["anna", "anna", "bert", "bert"], {"folder2": ["no", "yes"] * 2})
    assert "--label word" in error_of(tmp_path, label="word")


def test_the_same_words_below_every_word_are_asked_for(tmp_path: Path) -> None:
    for person in ("anna", "bert"):
        for letter in ("yes", "no"):
            write_clip(tmp_path / person / letter, range(2))
    assert "not certain which folder is the class" in error_of(tmp_path)


def test_folders_of_signers_without_a_class_are_no_classes(tmp_path: Path) -> None:
    for person in ("user1", "user2"):
        write(tmp_path / person / "0.npy")
    assert "user1, user2 look like signers" in error_of(tmp_path)
    assert list(read(tmp_path, label="folder1").labels) == ["user1", "user2"]


def test_several_data_folders_that_are_no_splits_ask_for_one(tmp_path: Path) -> None:
    for name in ("MP_Data", "More_Data"):
        write_clip(tmp_path / name / "hello" / "0", range(2))
    message = error_of(tmp_path)
    assert "MP_Data, More_Data are several data sets, name one" in message.replace(
        "More_Data, MP_Data", "MP_Data, More_Data"
    )


@pytest.mark.parametrize(
    ("shape", "options", "read_shape"),
    [
        ((1, 63), {}, (2, 63)),
        ((63, 1), {}, (2, 63)),
        ((21, 3), {}, (2, 21, 3)),
        ((30, 3), {"landmarks": "points"}, (2, 30, 3)),
        ((30, 3), {"coords": "xyz"}, (2, 30, 3)),
        ((30, 3), {"landmarks": "channels"}, (60, 3)),
        ((2, 21, 3), {"landmarks": "hands"}, (2, 42, 3)),
        ((2, 21, 3), {"landmarks": "hand"}, (4, 21, 3)),
    ],
)
def test_a_file_of_a_class_is_a_frame_or_a_clip_by_its_shape_or_as_told(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, str], read_shape: tuple[int, ...]
) -> None:
    for letter in "ab":
        write(tmp_path / letter / "0.npy", 1.0, shape)
    assert read(tmp_path, **options).values.shape == read_shape


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((30, 3), "30 points of one frame or 30 frames of 3 numbers; say --landmarks points or --landmarks channels"),
        ((2, 21, 3), "both hands in one frame, or one hand in two frames; say --landmarks hands"),
        ((3, 30, 27), "[3, 30, 27] may be [coords, frames, points]"),
        ((3, 30, 27, 1), "[3, 30, 27, 1] may be [coords, frames, points, bodies]"),
        ((4, 2, 30, 21, 3), "shape [4, 2, 30, 21, 3]; a frame is"),
        ((0, 63), "shape [0, 63]"),
    ],
)
def test_a_shape_that_may_be_two_things_or_none_is_refused(tmp_path: Path, shape: tuple[int, ...], part: str) -> None:
    for letter in "ab":
        write(tmp_path / letter / "0.npy", 1.0, shape)
    assert part in error_of(tmp_path)


@pytest.mark.parametrize(
    ("shape", "frame"), [((4, 30, 63), (63,)), ((4, 30, 27, 3), (27, 3)), ((1, 30, 27, 3), (27, 3))]
)
def test_a_file_of_several_clips_is_read_as_these(
    tmp_path: Path, shape: tuple[int, ...], frame: tuple[int, ...]
) -> None:
    numbers = np.random.default_rng(0).random((2, 2, *shape), dtype=np.float32)
    for letter, files in zip("ab", numbers, strict=True):
        for file, values in enumerate(files):
            (tmp_path / letter).mkdir(exist_ok=True)
            np.save(tmp_path / letter / f"take{file}.npy", values)
    raw = read(tmp_path)
    assert np.array_equal(raw.values, numbers.reshape(-1, *frame))
    assert raw.offsets.tolist() == list(range(0, 4 * shape[0] * 30 + 1, 30))
    assert raw.labels == ["a"] * 2 * shape[0] + ["b"] * 2 * shape[0]
    assert len(set(raw.groups["recording"])) == 4


def test_the_rows_of_one_file_in_each_class_folder_are_single_frames_and_that_is_told(tmp_path: Path) -> None:
    for letter in "ab":
        write(tmp_path / letter / "landmarks.npy", 1.0, (12, 63))
    raw = read(tmp_path)
    assert len(raw.labels) == 24
    assert "whose rows are read as clips of one frame" in " ".join(raw.notes)


def test_frames_of_two_hands_on_an_axis_of_their_own_are_read(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).random((2, 5, 2, 21, 3), dtype=np.float32)
    for letter, values in zip("ab", numbers, strict=True):
        (tmp_path / letter).mkdir()
        np.save(tmp_path / letter / "0.npy", values)
        np.save(tmp_path / letter / "1.npy", values[:4])
    raw = read(tmp_path)
    assert raw.values.shape == (18, 42, 3)
    assert np.array_equal(raw.values[:5], numbers[0].reshape(5, 42, 3))


def test_the_line_for_coordinates_in_the_first_axis_makes_data_that_are_read(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).random((2, 3, 5, 27), dtype=np.float32)
    for letter, values in zip("ab", numbers, strict=True):
        (tmp_path / "my data" / letter).mkdir(parents=True)
        np.save(tmp_path / "my data" / letter / "0.npy", values)
    command = error_of(tmp_path / "my data").splitlines()[1].strip()
    subprocess.run(shlex.split(command.replace("python", sys.executable, 1)), check=True)
    raw = read(tmp_path / "my data_turned")
    assert np.array_equal(raw.values, numbers.transpose(0, 2, 3, 1).reshape(10, 27, 3))


def test_a_class_half_in_nfd_is_one_class(tmp_path: Path) -> None:
    for number in range(4):
        word = unicodedata.normalize("NFD" if number % 2 else "NFC", "감사")
        write_clip(tmp_path / word / str(number), range(number, number + 2))
    write_clip(tmp_path / "b" / "0", range(2))
    raw = read(tmp_path)
    assert list(raw.labels) == ["b", *["감사"] * 4]
    assert raw.class_names is None


def test_half_made_recordings_are_passed_over_and_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "a" / "0", range(3))
    for name in "123456":
        (tmp_path / "a" / name).mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c" / "0").mkdir(parents=True)
    raw = read(tmp_path)
    assert list(raw.labels) == ["a"]
    assert raw.notes == ("7 empty sequence folders are passed over: a/1, a/2, a/3 and 4 more",)
    assert raw.warnings == ("2 class folders without a recording: b, c",)


def test_a_short_clip_is_kept_and_a_gap_in_the_numbers_is_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "a" / "0", range(30))
    write_clip(tmp_path / "a" / "1", range(27))
    for number in (0, 1, 2, 5):
        write(tmp_path / "a" / "2" / f"{number}.npy")
    for number in (0, 5, 10):  # every fifth frame
        write(tmp_path / "a" / "3" / f"{number}.npy")
    raw = read(tmp_path)
    assert np.diff(raw.offsets).tolist() == [30, 27, 4, 3]
    assert raw.warnings == ("frames are missing in 1 sequences: a/2 (after 2 comes 5)",)


def test_strays_are_passed_over(tmp_path: Path) -> None:
    for letter in "ab":
        write_clip(tmp_path / letter / "0", range(3))
        (tmp_path / letter / "0" / "._0.npy").write_bytes(b"stray")
        (tmp_path / letter / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".DS_Store").write_bytes(b"stray")
    (tmp_path / "action.h5").write_bytes(b"stray")
    raw = read(tmp_path)
    assert (raw.notes, raw.warnings, len(raw.values)) == ((), (), 6)


BAD_FRAMES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "another size": (lambda file: np.save(file, np.ones(126)), ("126 numbers", "0.npy has 63 numbers")),
    "pickled objects": (lambda file: np.save(file, np.array([{}]), allow_pickle=True), ("pickled objects",)),
    "words": (lambda file: np.save(file, np.array(["a"] * 63)), ("not numbers",)),
    "no array": (lambda file: file.write_bytes(b"not an array"), ("not a complete .npy file",)),
    "nothing": (lambda file: file.write_bytes(b""), ("not a complete .npy file",)),
    "half of it": (lambda file: file.write_bytes(file.read_bytes()[:300]), ("not a complete .npy file",)),
    "a whole clip": (lambda file: np.save(file, np.ones((30, 63))), ("30 x 63 numbers", "0.npy has 63 numbers")),
}


@pytest.mark.parametrize("fault", BAD_FRAMES)
def test_a_bad_frame_is_named(tmp_path: Path, fault: str) -> None:
    for letter in "ab":
        write_clip(tmp_path / letter / "0", range(3))
    make, parts = BAD_FRAMES[fault]
    make(tmp_path / "a" / "0" / "1.npy")
    message = error_of(tmp_path)
    for part in (str(tmp_path / "a" / "0" / "1.npy"), *parts):
        assert part in message


def test_all_bad_frames_are_told_at_once(tmp_path: Path) -> None:
    write_clip(tmp_path / "a" / "0", range(40))
    for number in range(13):
        write(tmp_path / "a" / "0" / f"{number}.npy", 0.0, (62,))
    (tmp_path / "a" / "0" / "20.npy").write_bytes(b"")
    lines = error_of(tmp_path).splitlines()
    assert lines[0] == f"{tmp_path}: 14 faults"
    assert (len(lines), lines[-1].strip()) == (12, "and 4 more")


@pytest.mark.parametrize("number", [np.inf, 1e300])
def test_an_infinite_number_is_refused_with_the_place_of_its_clip(tmp_path: Path, number: float) -> None:
    write_clip(tmp_path / "a" / "0", range(3))
    write(tmp_path / "a" / "0" / "1.npy", number)
    with pytest.raises(UserError, match="infinite") as raised:
        read_landmarks(str(tmp_path))
    assert str(tmp_path / "a" / "0") in str(raised.value)


def test_signers_in_the_names_of_clips_are_known_and_told(tmp_path: Path) -> None:
    for label in ("no", "yes"):
        for signer in (1, 2):
            write(tmp_path / label / f"signer{signer}_sample0_color.npy", shape=(9, 63))
    raw = read(tmp_path)
    assert raw.groups == {"signer": ["signer1", "signer2"] * 2}
    assert any("the signer is in the names" in note for note in raw.notes)

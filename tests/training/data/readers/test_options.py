"""An option that says how data are to be understood does what it says for them, or is refused in one line."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.readers.read import READERS
from slipway.training.data.specs import SYNTHETIC, DataSpec, Reading
from slipway.training.data.splits.split import split
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.golden import assert_golden
from tests.training.data.layout_examples import EXAMPLES
from tests.training.data.layout_examples.example import Example

BINARY = {".npy", ".npz", ".parquet", ".arrow", ".pose"}


def refusal_of(source: str, **options: str) -> str:
    reading = Reading(**options)  # type: ignore[arg-type]
    with pytest.raises(UserError) as raised:
        split(read_landmarks(source, reading), DataSpec(source=source, reading=reading), seed=0)
    message = str(raised.value)
    assert "\n" not in message
    return message


def read_or_refused(source: str, reading: Reading) -> LandmarkData | str:
    try:
        return read_landmarks(source, reading)
    except UserError as error:
        return str(error)


def written(example: Example, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return str(folder / example.write(folder).source)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.on_disk)
def test_a_column_a_level_or_an_encoding_that_is_not_there_is_never_ignored(example: Example, tmp_path: Path) -> None:
    source = written(example, tmp_path)
    given = {field.name: getattr(example.reading, field.name) for field in fields(Reading)}
    for option in ("label", "signer", "group"):
        for value in ("no-such-thing", "folder9"):
            assert f"--{option} {value}" in refusal_of(source, **{**given, option: value})
    if {file.suffix for file in tmp_path.rglob("*.*")} <= BINARY:
        message = refusal_of(source, **{**given, "encoding": "cp949"})
        assert message.startswith("--encoding cp949: does nothing for ")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.on_disk)
def test_what_is_said_of_the_numbers_is_what_they_are_read_as(example: Example, tmp_path: Path) -> None:
    source = written(example, tmp_path / "data")
    skeleton = tmp_path / "skeleton.yaml"
    skeleton.write_text("names: [a, b, c, d, e, f, g]\ncoords: xy\n")
    given = {field.name: getattr(example.reading, field.name) for field in fields(Reading)}
    plain = {**given, "landmarks": "auto", "coords": "auto", "layout": None}
    assert "--layout" in refusal_of(source, **{**plain, "layout": str(skeleton)})
    channels = read_or_refused(source, Reading(**{**plain, "landmarks": "channels"}))
    if isinstance(channels, str):  # a file of [21, 4] is then 21 frames of 4 channels
        assert "--label folderN" in channels
    else:
        assert (channels.layout.spatial, channels.layout.num_coords) == (False, 1)
    for coords in ("xy", "xyz", "xyzv", "xyc"):
        data = read_or_refused(source, Reading(**{**plain, "landmarks": "points", "coords": coords}))
        if isinstance(data, str):
            assert f"--coords {coords}" in data
        else:
            assert data.layout.num_coords == len(coords.rstrip("vc"))


def test_the_examples_are_of_every_reader(tmp_path: Path) -> None:
    formats = set()
    for number, example in enumerate(EXAMPLES):
        formats.add(read_landmarks(written(example, tmp_path / str(number)), example.reading).source_format)
    assert formats == set(READERS)


def test_channels_have_neither_coords_nor_a_layout() -> None:
    for option, value in (("coords", "xy"), ("layout", "islr")):
        with pytest.raises(UserError, match=f"--{option} {value}: contradicts --landmarks channels"):
            Reading(landmarks="channels", **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("label", "word"), ("signer", "who"), ("encoding", "cp949"), ("landmarks", "hand"), ("coords", "xyz")),
        *(("layout", "body.yaml"), ("keep", "hand"), ("format", "npz"), ("group", "word")),
    ],
)
def test_the_generated_data_take_no_option_of_reading(option: str, value: str) -> None:
    assert_golden(f"options.synthetic_{option}", refusal_of(SYNTHETIC, **{option: value}))


def test_the_signers_of_the_generated_data_are_kept_together() -> None:
    data = read_landmarks(SYNTHETIC, Reading(group="signer"))
    assert split(data, DataSpec(reading=Reading(group="signer")), seed=0).group == "signer"

"""Small files are read whole, bounded and as plain values, and nothing is waited for."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from slipway.training.common.small_files import (
    UnreadableError,
    make_folders,
    parse_json,
    parse_yaml,
    read_json,
    read_small,
    read_yaml,
)
from slipway.training.storage.files import replaced


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("010", 10),
        ("-3", -3),
        ("0x1f", 31),
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("On", "On"),
        ("true", True),
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("~", None),
        ("", None),
        ("<<", "<<"),
        ("'7'", "7"),
        ("1_000", "1_000"),
    ],
)
def test_values_of_yaml_are_what_the_text_says(text: str, value: object) -> None:
    assert parse_yaml(f"key: {text}") == {"key": value}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands twice; keep one"),
        ("a:\n  b: 1\n  b: 2", "line 3: the key 'b' stands twice"),
        ("a: &x [1]\nb: *x", r"line 2: the alias \*x is not followed; write its value out"),
        (
            "!!python/object/apply:os.system ['true']",
            "line 1: the tag !!python/object/apply:os.system is not read; write plain values",
        ),
        ("a: !!binary zzz", "line 1: the tag !!binary is not read"),
        ("a: !!timestamp 2024-01-01", "line 1: the tag !!timestamp is not read"),
        ("a: [", "line 1: "),
        ("a: " + "9" * 5000, "4300 digits"),
        ("[" * 5000, "nested too deeply"),
        ("? [1, 2]\n: 3", "unhashable key"),
        ("a: 1\n--- 2", "line 2: "),
        ("\0", "unacceptable character"),
    ],
)
def test_yaml_that_misleads_or_exhausts_is_refused_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "not JSON"), ("[" * 200_000, "nested too deeply"), ("1" * 5000, "not JSON")]
)
def test_json_that_cannot_be_read_is_one_line(text: str, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        parse_json(text)


def test_what_is_no_regular_file_is_named_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bad").write_bytes(b"ab\xff")
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf[1]")
    for path, reason in (
        (tmp_path / "pipe", "is a pipe, not a file"),
        (Path("/dev/zero"), "is a device, not a file"),
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "bad", r"is not UTF-8 text \(byte 2\)"),
        (tmp_path / "a\0b", "no name that a file can have"),
    ):
        with pytest.raises(UnreadableError, match=reason):
            read_json(path)
    assert read_json(tmp_path / "marked.json") == [1]
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing")


def test_a_file_is_not_read_beyond_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnreadableError, match=r"holds 1,099,511,627,776 bytes, more than the 67,108,864"):
        read_small(path)
    with pytest.raises(UnreadableError, match="more than the 262,144"):
        read_yaml(path)


def test_a_pipe_is_not_replaced_by_what_is_written(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe")
    with pytest.raises(OSError, match="is a device, a pipe or a socket; name a file"), replaced(path):
        pass
    assert path.is_fifo()


def test_folders_too_deep_to_be_made_are_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        make_folders(tmp_path / ("x/" * 1500))

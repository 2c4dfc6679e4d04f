"""The benchmark of the recogniser: it keeps what it measured, says what it has no data for, and writes its tables."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import recognition
from benchmarks.recognition_sets import PROTOCOLS, parts_of

DIGITS = next(one for one in PROTOCOLS if one.name == "digits")


def measure(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    command = [
        "recognition",
        "--data",
        str(folder / "none"),
        "--cells",
        str(folder / "cells"),
        "--seeds",
        "2",
        *arguments,
    ]
    monkeypatch.setattr(sys, "argv", command)
    return recognition.main()


def test_what_was_measured_is_kept_and_stands_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure(monkeypatch, tmp_path, "--method", "1-NN") == 0
    told = capsys.readouterr()
    assert "left out: libras, no " in told.err
    assert told.out.count("digits, 1-NN (raw), ") == 2
    assert re.search(r"\| digits \| 0.985 \|.*\| 0\.9[789]\d ± 0\.0\d\d \|", told.out)
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- measured -->\n\nold\n\n<!-- end -->\n\nafter\n")
    monkeypatch.setattr(recognition, "_PAGE", page)
    assert measure(monkeypatch, tmp_path, "--write") == 0
    assert capsys.readouterr().out == ""
    assert measure(monkeypatch, tmp_path, "--method", "1-NN") == 0
    again = capsys.readouterr().out
    assert "(raw), " not in again
    assert page.read_text() == f"before\n\n<!-- measured -->\n\n{again.rstrip()}\n\n<!-- end -->\n\nafter\n"


def test_a_random_cut_takes_a_fifth_of_each_class_and_another_one_with_each_seed() -> None:
    first, second = (next(iter(parts_of(DIGITS, Path(), seed))) for seed in (0, 1))
    shares = np.bincount(first.data.labels[first.chosen("test")]) / np.bincount(first.data.labels)
    assert np.abs(shares - 0.2).max() < 0.005
    assert not np.array_equal(first.chosen("test"), second.chosen("test"))
    assert not set(first.chosen("train")) & set(first.chosen("test"))

"""Each layout that people have is understood as what was written, bit for bit, or refused; `docs/data.md` has the table of it.

`UPDATE_GOLDEN=1 python -m pytest -n 0 tests/training/data/test_layout_table.py` writes the table; read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.read import READERS
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.summary import summarise
from slipway.training.data.understanding.understand import read_landmarks
from tests.conftest import ROOT
from tests.training.data.layout_examples import EXAMPLES, REFUSED
from tests.training.data.layout_examples.example import Example, Refused, assert_same

PAGE = ROOT / "docs" / "data.md"
BEGIN, END = "<!-- made by tests/training/data/test_layout_table.py -->\n", "<!-- end of the table -->\n"

MOST_LETTERS = 200


def row_of(example: Example, folder: Path) -> str:
    """Write an example, check what is understood of it, and return its row of the table."""
    folder.mkdir()
    expected = example.write(folder)
    source = str(folder / expected.source)
    if example.reading != Reading():
        with pytest.raises(UserError, match=example.options.split()[0]):
            read_landmarks(source)
    data = read_landmarks(source, example.reading)
    assert_same(data, expected)
    understood = summarise(data)
    more = [f"{kind}: {count}" for kind, count in understood.groups.items()]
    more += [", ".join(f"{count} {split}" for split, count in understood.splits.items())] if understood.splits else []
    sentence = "; ".join([str(understood).partition("; from ")[0], *more])
    return f"| {example.on_disk} | `{understood.format}` | {f'`{example.options}`: ' if example.options else ''}{sentence} |"


def row_of_refused(refused: Refused, folder: Path) -> str:
    folder.mkdir()
    source = folder / refused.write(folder)
    with pytest.raises(UserError) as raised:
        read_landmarks(str(source))
    message = str(raised.value).replace(", ".join(READERS), "FORMATS").replace(str(folder), "PATH").splitlines()[0]
    short = message.partition(": ")[2].replace("no known data format (FORMATS; docs/data.md shows each); ", "")
    short = short if len(short) <= MOST_LETTERS else f"{short[:MOST_LETTERS].rpartition(' ')[0]} ..."
    return f"| {refused.on_disk} | refused | {short.rstrip(':')} |"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.on_disk)
def test_what_is_understood_is_what_was_written(example: Example, tmp_path: Path) -> None:
    row_of(example, tmp_path / "data")


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.on_disk)
def test_what_is_not_certain_or_not_read_is_refused(refused: Refused, tmp_path: Path) -> None:
    row_of_refused(refused, tmp_path / "data")


def test_the_page_has_the_table_of_what_is_understood(tmp_path: Path) -> None:
    rows = [row_of(example, tmp_path / str(number)) for number, example in enumerate(EXAMPLES)]
    rows += [row_of_refused(refused, tmp_path / f"refused{number}") for number, refused in enumerate(REFUSED)]
    table = "".join(f"{row}\n" for row in ("| on the disk | read as | what is understood |", "|---|---|---|", *rows))
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    known, after = rest.split(END)
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(f"{before}{BEGIN}{table}{END}{after}", encoding="utf-8")
        known = table
    assert known == table

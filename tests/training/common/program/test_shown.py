"""Text of files and names is shown as text."""

from __future__ import annotations

import pytest

from slipway.training.common.errors import TrainingFailed, UserError
from slipway.training.common.program.shown import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("\x9b31m", r"\x9b31m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten", r"over\rwritten"),
        ("back\x08", r"back\x08"),
        ("right\u202eleft", r"right\u202eleft"),
        ("\udcff", r"\udcff"),
        ("\x00", r"\x00"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("가나 ابجد 👩‍🔬 [red]", "가나 ابجد 👩‍🔬 [red]"),
    ],
)
def test_commands_to_a_terminal_are_shown_as_escapes_and_text_as_it_is(text: str, shown: str) -> None:
    assert printable(text) == str(UserError(text)) == str(TrainingFailed(text)) == shown

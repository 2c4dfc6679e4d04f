"""Text as it may be shown: what comes from files, names and data is text, and never a command to a terminal."""

from __future__ import annotations

import re

from .redaction import without_secrets

_LONG_WORD = re.compile(r"""(\S{200})\S{800,}?([:;,.'")\]]*)(?!\S)""")
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line end, what turns the direction of writing, and bytes of names that are no text."""


_MOST_SHOWN = 1000
"""Characters of a text that somebody else may have made long."""


def one_line(text: str) -> str:
    """Return a text as `printable` does, in one line and cut where it is very long."""
    line = printable(text).replace("\n", "\\n").replace("\t", "\\t")
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}... ({len(line):,} characters)"


def printable_json(text: str) -> str:
    """Return JSON that says the same, in which what would command a terminal is escaped."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def printable(text: str) -> str:
    """Return a text with what would command a terminal, or cannot be written, as escapes (`\\x1b[2J` for what clears it),
    and `***` for passwords and tokens. Of a word of thousands of letters the first stand for it.
    """
    return without_commands(_LONG_WORD.sub(_cut, without_secrets(text)))


def without_commands(text: str) -> str:
    """Return a text with what would command a terminal as escapes, and all else as it is: of a file that people open."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _cut(found: re.Match[str]) -> str:
    return f"{found[1]}... ({len(found[0]) - len(found[2]):,} letters){found[2]}"

"""Text of files and data in Markdown: it comes out as it is, and nothing in it is a tag, a link, or a folder of a machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from ....training.common.program.shown import one_line

_PART = r"""[^\s/\\'"<>]+"""
_FOLDERS = re.compile(
    rf"""file:///(?:{_PART}/)*
    |(?:(?<![\w/.~:<])//+(?={_PART})|(?<![\w/.~<])~[\w.-]*/)(?:{_PART}/)*              # //host/share/, ~/
    |(?<![\w/.~<])/(?:(?:home|Users)/{_PART}(?:/|(?=[\s'"])|$)|{_PART}/)(?:{_PART}/)*   # /home/me/
    |(?:\b[A-Za-z]:|(?<!\\)\\)\\(?:{_PART}\\)*                                          # C:\Users\me\, \\host\share\
    """,
    re.VERBOSE,
)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def code(text: object) -> str:
    """Return a text as a span of code, in which Markdown and HTML mean nothing; also in a cell of a table."""
    line = one_line(str(text)) or "(no name)"
    if "|" in line:  # which ends a cell, unless a backslash stands before it
        line = line.replace("\\", "\\x5c").replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line[0] in "` " or line[-1] in "` " else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 0) -> Iterator[str]:
    """Yield the lines of a table of cells that are Markdown already; the last `right` columns hold numbers."""
    if not rows:
        return
    left = len(headings) - right
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * left}{'--:|' * right}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def without_places(text: str) -> str:
    """Return a text in which the paths of this machine are cut to their last part: `/home/me/clips.npz` to `clips.npz`."""
    before, equals, value = text.rpartition("=")
    if "\n" not in text and (cut := _last_part(value)) is not None:  # a path alone, with spaces too
        return f"{without_places(before)}{equals}{cut}" if equals else cut
    return _FOLDERS.sub("", text.replace(f"{Path.home()}/", "~/"))


def _last_part(path: str) -> str | None:
    """Return the last part of a text that is one absolute path; None where it is none."""
    if _WINDOWS.match(path):
        return PureWindowsPath(path).name
    if not path.startswith(("/", "~/")) or path.startswith("//"):
        return None
    is_home = PurePosixPath(path).parent in (PurePosixPath("/home"), PurePosixPath("/Users"))
    return "~" if is_home else PurePosixPath(path).name

"""The pages of the documentation, and their blocks of code.

A block that cannot run in a test says why in a comment right before it, which no reader of the page sees:

    <!-- not run: needs a camera -->

and one whose output is of another machine than the reader's:

    <!-- printed elsewhere: a machine with two GPUs -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import ROOT

READMES = ("README.md", "README.ko.md")
PAGES = (*READMES, "SECURITY.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
SHELL, CONSOLE, PYTHON = ("sh", "bash"), ("console",), ("python", "py")
SHOWN = ("yaml", "json", "text")
"""What is shown and not run: files, and what was printed."""

_MARK = re.compile(r"<!-- (not run|printed elsewhere): (.+?) -->")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code of a page."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None
    """Why no test runs it; None for what runs."""
    printed_elsewhere: bool
    """Whether another machine prints something else."""

    @property
    def place(self) -> str:
        """Return the page and line, as an editor takes them."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a block, and what the page shows of its end."""

    block: Block
    words: str
    printed: tuple[str, ...] = ()
    code: int | None = None
    """The exit code that the page shows; None where it shows none."""


def text_of(page: str) -> str:
    """Return a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def tokens_of(page: str) -> list[Token]:
    """Return the parts of a page, in order."""
    return MarkdownIt("commonmark").enable("table").parse(text_of(page))


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of code of a page, in order; one without a language has the language ''."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    for token in tokens_of(page):
        if token.type == "html_block":
            marks = dict(_MARK.findall(token.content))
            continue
        if token.type in ("fence", "code_block"):
            language = token.info.split()[0] if token.info.strip() else ""
            assert token.map
            found.append(
                Block(
                    page=page,
                    line=token.map[0] + 1,
                    language=language,
                    text=token.content,
                    reason=marks.get("not run"),
                    printed_elsewhere="printed elsewhere" in marks,
                )
            )
        marks = {}
    return found


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a block: of a shell each line, of a console what follows each `$`."""
    if block.language in SHELL:
        return [Command(block=block, words=line) for line in _joined(block.text.splitlines()) if without_comment(line)]
    if block.language not in CONSOLE:
        return []
    found: list[Command] = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        words, *printed = part.splitlines()
        if words == "echo $?":
            before = found.pop()
            found.append(Command(block=block, words=before.words, printed=before.printed, code=int(printed[0])))
        else:
            code = 2 if printed and printed[-1].startswith("error: ") else None
            found.append(Command(block=block, words=words, printed=tuple(printed), code=code))
    return found


def inline_code(page: str) -> Iterator[str]:
    """Yield what stands between backticks in the text of a page."""
    for token in tokens_of(page):
        for child in token.children or ():
            if child.type == "code_inline":
                yield child.content


def without_comment(line: str) -> str:
    """Return a line of a shell without the comment at its end."""
    return re.sub(r"(^|\s)#.*", "", line).strip()


def _joined(lines: list[str]) -> Iterator[str]:
    """Yield whole commands of lines that may go on after a backslash."""
    whole = ""
    for line in lines:
        if line.endswith("\\"):
            whole += line[:-1] + " "
            continue
        yield whole + line
        whole = ""


def path_of(page: str) -> Path:
    """Return the file of a page."""
    return ROOT / page

"""How many lines of code a user's program has."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

LINE_LENGTH = 120
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The lines of a program that hold code."""

    code: int
    """Without imports."""
    imports: int


def lines_of(programs: Sequence[Path]) -> list[Lines]:
    """Return the lines of each program: not the blank ones, comments and docstrings.

    They are formatted first, all calls and literals on as few lines as fit, so that a comma at an end costs nobody lines.
    The lines of a YAML file of a program's name beside it count as well.
    """
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"{number}.py" for number in range(len(programs))]
        for program, copy in zip(programs, copies, strict=True):
            copy.write_bytes(program.read_bytes())
        options = [f"--line-length={LINE_LENGTH}", "--config=format.skip-magic-trailing-comma=true", "--isolated"]
        subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", *options, folder], check=True)
        counted = [count_lines(copy.read_text(encoding="utf-8")) for copy in copies]
    return [
        replace(lines, code=lines.code + _lines_of_yaml(program.with_suffix(".yaml")))
        for program, lines in zip(programs, counted, strict=True)
    ]


def count_lines(source: str) -> Lines:
    """Return the lines of a source as it stands."""
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    imports: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports |= _span(node)
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            code -= _span(node.body[0])
    return Lines(code=len(code - imports), imports=len(code & imports))


def _span(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _lines_of_yaml(path: Path) -> int:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text.splitlines())

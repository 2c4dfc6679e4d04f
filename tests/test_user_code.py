"""Programs of users for several libraries: the documentation shows their lines as they are, and Slipway's is never longer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks.user_code.lines import Lines, count_lines, lines_of
from benchmarks.user_code.programs import LIBRARIES, cases, program
from benchmarks.user_code.table import PAGE, all_lines, written

SHORT = '''"""A program."""

import os
from pathlib import (
    Path,
)


class Name:
    """What it is."""

    kept = 1  # counted


# A comment.
text = """two
lines"""
print(
    text,
    os.sep, Path(),
)
'''


def test_blank_lines_comments_docstrings_and_imports_are_no_lines_of_code() -> None:
    assert count_lines(SHORT) == Lines(code=8, imports=4)


def test_a_comma_at_the_end_costs_no_lines_and_a_yaml_file_of_the_program_does(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(SHORT, encoding="utf-8")
    path.with_suffix(".yaml").write_text("# stages\n\n- {name: a}\n- {name: b}\n", encoding="utf-8")
    assert lines_of([path]) == [Lines(code=5 + 2, imports=2)]


def test_the_documentation_shows_the_lines_and_results_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page, "python -m benchmarks.user_code --count writes the tables anew"


def test_no_program_of_slipway_is_longer_than_that_of_another_library() -> None:
    longer = {
        (case, library): lines.code
        for case, by in all_lines().items()
        for library, lines in by.items()
        if lines.code < by["slipway"].code
    }
    assert longer == {}


@pytest.mark.parametrize("case", cases())
def test_the_programs_of_a_case_train_as_long_at_the_same_rate_and_batch(case: str) -> None:
    calls = [one for one in ast.walk(tree("slipway", case)) if isinstance(one, ast.Call) and options(one)]
    (told,) = [options(one) for one in calls if isinstance(one.func, ast.Attribute) and "batch_size" in options(one)]
    for library in LIBRARIES:
        numbers = {one.value for one in ast.walk(tree(library, case)) if isinstance(one, ast.Constant)}
        assert set(told.values()) <= numbers, (library, told)


def options(call: ast.Call) -> dict[str | None, float]:
    return {
        one.arg: one.value.value
        for one in call.keywords
        if isinstance(one.value, ast.Constant) and isinstance(one.value.value, (int, float))
    }


def tree(library: str, case: str) -> ast.Module:
    return ast.parse(program(library, case).read_text(encoding="utf-8"))

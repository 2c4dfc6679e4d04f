"""Every block of code of the documentation is what it says it is: commands that parse, Python that compiles, files that load.

`make docs-run` runs them all.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from slipway.launcher.cli import COMMANDS
from slipway.training.common.errors import UserError
from slipway.training.run.training_config import TrainingConfig

from .command_lines import check, options_of, options_of_launchers, options_of_tools
from .pages import CONSOLE, PAGES, PYTHON, SHELL, SHOWN, Block, blocks_of, commands_of, inline_code

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMAND_LINES = [command for block in BLOCKS for command in commands_of(block)]
OF_OTHERS = {"--bf16", "--hf-token", "--lr", "--shm-size"}
OF_OTHERS |= {"--ntasks-per-node", "--gres", "--signal", "--requeue", "--open-mode", "--exclusive"}  # of sbatch
"""Options of other programs that the pages name."""


def assert_none(wrong: Iterable[str]) -> None:
    """Fail with each of them on a line of its own."""
    if lines := list(wrong):
        pytest.fail("\n".join(lines), pytrace=False)


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_every_block_says_its_language() -> None:
    known = {*SHELL, *CONSOLE, *PYTHON, *SHOWN}
    assert_none(f"{block.place}: {block.language!r}" for block in BLOCKS if block.language not in known)


def test_every_command_is_taken_by_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed = []
    for command in COMMAND_LINES:
        try:
            check(command.words)
        except (AssertionError, UserError, ValueError) as error:
            if not (command.code == 2 and any(str(error).split(";")[0] in line for line in command.printed)):
                failed.append(f"{command.block.place}: {command.words}\n  {error}")
    assert_none(failed)
    assert len(COMMAND_LINES) > 60


@pytest.mark.parametrize("block", of(*PYTHON), ids=lambda block: block.place)
def test_python_compiles_and_imports_names_that_there_are(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("slipway"):
            module = importlib.import_module(str(node.module))
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("TrainingConfig"):
            fields = {field.name for field in dataclasses.fields(TrainingConfig)}
            assert {word.arg for word in node.keywords} - {None} <= fields


def test_files_that_are_shown_can_be_read() -> None:
    for block in of("yaml"):
        assert yaml.safe_load(block.text), block.place
    for block in of("json"):
        assert all(json.loads(line) for line in block.text.splitlines()), block.place


def test_options_and_commands_that_the_text_names_are_there() -> None:
    commands = {command.name: options_of(command.name) for command in COMMANDS}
    every = {option for options in commands.values() for option in options}
    every |= options_of_tools() | options_of_launchers() | OF_OTHERS
    wrong = []
    for page in PAGES:
        for code in inline_code(page):
            found = re.match(r"slipway ([a-z]+)", code)
            taken = every if found is None or found[1] == "launch" else commands.get(found[1], {"no such command"})
            named = (
                set()
                if re.match("accelerate|make|python|srun|scancel|kubectl", code)
                else set(re.findall(r"(?<![\w-])--[a-z][\w-]+", code))
            )
            if named - taken or "no such command" in taken:
                wrong.append(f"{page}: {code}")
    assert_none(wrong)

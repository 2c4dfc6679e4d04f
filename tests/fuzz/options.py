"""Command lines with values that cannot be meant: every option of every command, each of the values."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from slipway.launcher import cli

from . import makers
from .guard import within

NUMBERS = (
    *(
        "9" * 5000,
        "-" + "9" * 5000,
        "1" * 400 + ".5",
        "1e309",
        "1e30",
        str(10**30),
        "1e-320",
        "nan",
        "-inf",
        "-1",
        "0",
        "1",
    ),
    *("0.5", "0x10", "1_000", "٣", "1000000", "99999999999"),
)
WORDS = (
    *(
        "",
        " ",
        "a\nb",
        "\x1b[31mred",
        "\x9b2J",
        "\u202eevil",
        "\udcff",
        "x" * 300,
        "é" * 300,
        "x/" * 2000,
        "~nobody/x",
        "~",
    ),
    *(
        ",",
        ",,,",
        "a=b",
        "=",
        "a=",
        "[1",
        "{",
        "null",
        "true",
        "auto",
        "no",
        "%s%n",
        "1,2,3" + ",1" * 5000,
        "-",
        "--",
        "*",
    ),
)
PLACES = (
    *(
        "fifo",
        "dir",
        "file.txt",
        "file.txt/x",
        "loop",
        "empty",
        "bin.dat",
        "closed",
        "closed/x",
        "script.py",
        "/",
        "..",
        ".",
    ),
    *("/dev/zero", "/dev/full", "/dev/null", "/dev/stdin", "/proc/self/mem", "/proc/self/environ", "../../x"),
)
VALUES = (*NUMBERS, *WORDS, *PLACES)

ENDS = (0, 2, 3)
_MOST_LETTERS = 3000
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_TRAINED = ("--epochs", "1", "--max-steps", "1", "--runs-dir", "r", "--model-width", "8", "--model-blocks", "1")


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A command that is tried."""

    name: str
    parser: argparse.ArgumentParser
    before: tuple[str, ...] = ()
    """Of its line: what stands before the option."""
    after: tuple[str, ...] = ()


@cache
def commands() -> dict[str, Tried]:
    """Return the commands by name; those of `slipway data` each by its own."""
    after = {
        "train": ("--explain",),
        "launch": ("--dry-run", "script.py"),
        "new": (),
        "wizard": ("--yes", "--out", "w.yaml"),
        "resume": ("--dry-run", "own"),
        "watch": ("--once", "own"),
        "continue": ("--dry-run", "signs"),
        "compare": ("own", "signs"),
        "track": ("own", "--tracker", "tensorboard"),
        "predict": ("signs", "data.csv"),
        "report": ("own",),
        "evaluate": ("signs", "--data", "data.csv"),
        "export": ("signs", "--to", "torchscript"),
        "card": ("signs",),
        "push": ("signs", "--to", "me/signs"),
        "config": ("--yes",),
        "doctor": ("--quick",),
        "data inspect": ("data.csv",),
        "data convert": ("data.csv", "made.parquet", "--force"),
        "data record": ("--help",),
        "sweep": ("--help",),
    }
    found: dict[str, Tried] = {}
    for command in cli.COMMANDS:
        parser = importlib.import_module(command.module).build_parser()
        parsers = {command.name: parser}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers = {f"{command.name} {name}": sub for name, sub in action.choices.items()}
        for name, one in parsers.items():
            found[name] = Tried(name=name, parser=one, after=after.get(name, ()))
    found["train whole"] = Tried(name="train whole", parser=found["train"].parser, before=_TRAINED)
    return found


def lines(name: str) -> Iterator[list[str]]:
    """Yield every command line of a command with one value that is tried."""
    tried = commands()[name]
    for action in tried.parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse.BooleanOptionalAction) or action.nargs == 0:
            values: tuple[str, ...] = ("", "x" * 300, "true", "\x1b[31mred")
        else:
            values = VALUES
        for value in values:
            yield line(tried, action, value)


def line(tried: Tried, action: argparse.Action, value: str) -> list[str]:
    """Return the command line that gives an option, or an argument, a value."""
    words = tried.name.removesuffix(" whole").split()
    given = [f"{action.option_strings[-1]}={value}"] if action.option_strings else [value]
    positional = [one for one in tried.after if not one.startswith("-")]
    if not action.option_strings and positional:
        at = [one.dest for one in tried.parser._actions if not one.option_strings].index(action.dest)
        position = [i for i, one in enumerate(tried.after) if not one.startswith("-")]
        after = list(tried.after)
        if at < len(position):
            after[position[at]] = value
            return [*words, *tried.before, *after]
    return [*words, *tried.before, *given, *tried.after]


def any_line(name: str, generator: Random) -> list[str]:
    """Return one of the command lines."""
    tried = commands()[name]
    actions = [action for action in tried.parser._actions if not isinstance(action, argparse._HelpAction)]
    return line(tried, generator.choice(actions), generator.choice(VALUES))


def write_place(folder: Path) -> None:
    """Write what the values name into a folder."""
    (folder / "dir").mkdir()
    (folder / "dir" / "file.txt").write_text("x", encoding="utf-8")
    (folder / "file.txt").write_text("hello\n", encoding="utf-8")
    (folder / "empty").write_text("", encoding="utf-8")
    (folder / "script.py").write_text("print('hi')\n", encoding="utf-8")
    (folder / "bin.dat").write_bytes(bytes(range(256)) * 40)
    makers.write_clips(folder / "data.csv")
    for name, run in (("own", makers.trained_run()), ("signs", makers.trained_sign_run())):
        shutil.copytree(run, folder / "runs" / name, ignore=shutil.ignore_patterns("*.png", "*.log"))


def make_special(folder: Path) -> None:
    """Put into a folder what is no file."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(folder / "fifo")
    with contextlib.suppress(FileExistsError):
        (folder / "loop").symlink_to("loop")
    (folder / "closed").mkdir(mode=0, exist_ok=True)


def run_line(words: list[str], folder: Path) -> int:
    """Run a command line in a folder, and return its exit code. Raises `AssertionError` for an answer that is none."""
    make_special(folder)
    before, environment = Path.cwd(), dict(os.environ)
    out, errors = io.StringIO(), io.StringIO()
    os.chdir(folder)
    os.environ.update(HOME=str(folder), XDG_CACHE_HOME=str(folder), XDG_CONFIG_HOME=str(folder), COLUMNS="100")
    stdin, argv = sys.stdin, sys.argv
    sys.stdin, sys.argv = io.StringIO(""), ["slipway", *words]
    try:
        with within(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = _answer(words)
    finally:
        sys.stdin, sys.argv = stdin, argv
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(before)
    check_answer(words, code, out.getvalue(), errors.getvalue())
    return code


def _answer(words: list[str]) -> int:
    try:
        if words[0] == "train":
            from slipway.training.run.cli import main

            return main(words[1:])
        return cli.main(words)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)


def check_answer(words: list[str], code: int, out: str, errors: str) -> None:
    """Raise `AssertionError` unless a command ended well, or with one line that a person can read."""
    told = [text for text in errors.splitlines() if text.startswith("error")]
    shown = json.dumps([word[:60] for word in words])
    assert "Traceback" not in errors, f"{words[0]}, traceback: {shown}: {errors[-2500:]}"
    assert code in ENDS, f"{words[0]}, exit code {code}: {shown}: {errors[-300:]}"
    assert code != 2 or len(told) == 1, f"{words[0]}, {len(told)} errors: {shown}: {errors[-600:]}"
    assert not told or len(told[0]) < _MOST_LETTERS, (
        f"{words[0]}, a long line: {shown}: {len(told[0])}: {told[0][:100]}"
    )
    raw = _COMMANDS.search(errors) or (None if "--json" in words else _COMMANDS.search(out))
    assert raw is None, f"{words[0]}, raw text: {shown}: {raw[0]!r} in {(out + errors)[:300]!r}"

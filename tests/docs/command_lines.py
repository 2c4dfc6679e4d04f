"""Whether a command line is one: each program of it takes the words, by its own parser. Nothing is started."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module

from slipway.launcher.cli import COMMANDS
from slipway.launcher.launch.command import split_command
from slipway.results.runs.command import _joined
from slipway.training.common.errors import UserError
from slipway.training.common.parser import mended, parse
from slipway.training.run.cli import parse_config
from slipway.training.run.training_config import TrainingConfig
from tests.conftest import ROOT

_SHELL = {"cd", "echo", "eval", "export", "mv", "source", "srun", "sbatch", "unset", "my-tracker"}
"""What is of the shell or of the reader, and takes what it takes."""
_TRAINS = ("bin/train.py", "slipway.training")
_MODULES = {
    "fuzz": "tests.fuzz.__main__",
    "chaos": "tests.chaos.__main__",
    "own-models": "tests.own_models.__main__",
    "exactness": "benchmarks.exactness",
    "bench": "benchmarks.__main__",
}
"""The programs of the targets of `make` that take ARGS."""
_ADDED = re.compile(r"add_argument\(\s*\"(--[a-z-]+)\"")


def check(line: str) -> None:
    """Raise `UserError` or `AssertionError` for a line with a word that its program does not take."""
    for inner in re.findall(r"\$\((.*?)\)", line):
        check(inner)
    for words in _programs(line):
        _check_program(words)


def options_of(command: str) -> set[str]:
    """Return the options of a command of `slipway`, those of its own commands too."""
    return set(_options_of_parser(parser_of(command)))


@cache
def options_of_tools() -> frozenset[str]:
    """Return the options of the programs that are not installed: the slow suites and the benchmarks."""
    files = (path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
    return frozenset(option for path in files for option in _ADDED.findall(path.read_text(encoding="utf-8")))


@cache
def options_of_launchers() -> frozenset[str]:
    """Return the options of `accelerate launch` and `torchrun`."""
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    return frozenset({*_options_of_parser(launch_command_parser()), *_options_of_parser(get_args_parser())})


@cache
def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command of `slipway`."""
    (found,) = (one for one in COMMANDS if one.name == command)
    parser: argparse.ArgumentParser = import_module(found.module).build_parser()
    return parser


def _options_of_parser(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _options_of_parser(inner)


def _programs(line: str) -> Iterator[list[str]]:
    """Yield the words of each program of a line, without variables before it and files after it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in ("|", "||", "&&", ";", "&"):
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words.pop(0)
            if ">" in words:
                words = words[: words.index(">")]
            if words:
                yield words
            words = []
        else:
            words.append(word)


def _check_program(words: list[str]) -> None:
    program, *arguments = words
    if program in _SHELL:
        return
    if program == "slipway":
        _check_slipway(arguments)
    elif program == "make":
        _check_make(arguments)
    elif program == "pip":
        _check_pip(arguments)
    elif program == "python":
        _check_script(arguments)
    elif program == "torchrun":
        from torch.distributed.run import get_args_parser

        options = _silent(get_args_parser(), arguments)
        _check_script([options.training_script, *options.training_script_args])
    elif words[:2] == ["accelerate", "launch"]:
        from accelerate.commands.launch import launch_command_parser

        options = _silent(launch_command_parser(), arguments[1:])
        _check_script([options.training_script, *options.training_script_args])
    else:
        raise AssertionError(f"{program}: unknown; is it one of the shell? add it to `_SHELL`")


def _check_slipway(arguments: list[str]) -> None:
    name, *rest = arguments
    if name in ("--help", "--version"):
        assert not rest
        return
    assert name in {one.name for one in COMMANDS}, name
    if "--help" in rest:
        return
    if name == "train":
        _check_training(rest)
    elif name == "sweep":
        _check_training(parser_of(name).parse_known_args(rest)[1])
    elif name == "launch":
        parser = parser_of(name)
        own, script = split_command(parser, rest)  # type: ignore[arg-type]
        parse(parser, own)  # type: ignore[arg-type]
        _check_script(script)
    elif name == "continue":
        _, of_training = parser_of(name).parse_known_args(rest)
        _check_training(of_training)
    elif name == "runs":
        parse(parser_of(name), _joined(rest))  # type: ignore[arg-type]
    else:
        parse(parser_of(name), rest)  # type: ignore[arg-type]


def _check_training(arguments: list[str]) -> None:
    of_reader = {"--config", "--resume"}  # with a file or a run that the reader has
    kept = [
        word
        for before, word in zip(["", *arguments], arguments, strict=False)
        if not {before, word} & of_reader and word != "--explain"
    ]
    parse_config(kept, {}, ROOT / "tests")


def _check_script(words: list[str]) -> None:
    """Check the words of a script or a module that trains; those of another are its own, if no option has their name."""
    script, *arguments = words[1:] if words[:1] == ["-m"] else words
    if script in _TRAINS:
        _check_training(arguments)
    elif script == "first.py":
        TrainingConfig.from_command_line(
            argparse.ArgumentParser(), arguments=[word for word in arguments if word != "--explain"]
        )


def _check_make(arguments: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = [word for word in arguments if "=" not in word and not word.startswith("-")]
    assert set(named) <= targets, f"{named} are none of {sorted(targets)}"
    for word in arguments:
        if word.startswith("ARGS="):
            (target,) = named
            given = shlex.split(word.removeprefix("ARGS="))
            if target == "train":
                _check_training(given)
            elif target in _MODULES:
                source = (ROOT / f"{_MODULES[target].replace('.', '/')}.py").read_text(encoding="utf-8")
                assert {one.split("=")[0] for one in given if one.startswith("--")} <= set(_ADDED.findall(source)), (
                    given
                )


def _check_pip(arguments: list[str]) -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert arguments[0] == "install"
    for word in arguments[1:]:
        if found := re.fullmatch(r"(?:slipway|\.)\[(.+)\]", word):
            assert set(found[1].split(",")) <= set(extras), word


def _silent(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser.parse_args(mended(arguments, ()))
    except SystemExit:
        raise UserError(said.getvalue()) from None

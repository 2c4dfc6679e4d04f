"""The command line of `bin/train.py`: a flag for each option, an error of one line, an exit code."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from ..common.conversion import choices_of, field_types
from ..common.errors import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_RESUMABLE,
    TrainingFailed,
    UserError,
    nearest,
)
from ..common.parser import DashesParser, mended, of_launcher
from ..common.program.doors import error_of_place
from ..common.program.redaction import command_without_secrets
from ..common.program.shown import printable
from ..common.program.streams import end_of_output, print_to_stderr
from ..common.program.uncaught import end_scripts_in_one_line, print_error, prints, wants_traceback
from ..common.settings import Level
from ..common.synonyms import right_name
from ..config.settings import explain, make_config, read_settings
from ..devices.interruption import Interrupted
from ..tasks.sign.options import SignOptions
from .training_config import TrainingConfig

_FLAGS = {"use_data_parallel": "data-parallel"}
"""Fields whose flag has another name: `--no-data-parallel`."""


class _Parser(DashesParser):
    def error(self, message: str) -> NoReturn:
        hint = "; a value that begins with - is given as --option=VALUE" if "expected one argument" in message else ""
        raise UserError(f"{message}{hint} ({self.prog} --help lists the options)")


def build_parser(
    script: Mapping[str, Any] = MappingProxyType({}), own: argparse.ArgumentParser | None = None
) -> argparse.ArgumentParser:
    """Return the parser, one flag for each field of the config, grouped as they are.

    `script` are the values that a script gives; `own` is its parser, whose options come first. An option of sign recognition
    that both have is the script's. Raises `UserError` for any other that both have.
    """
    taken = _taken_by(own)
    parser = _Parser(
        prog=_program() if own is None else own.prog,
        description=(own and own.description)
        or "Train a model in stages, with the same result on one device and on many.",
        formatter_class=argparse.HelpFormatter if own is None else own.formatter_class,
        parents=[] if own is None else [own],
        conflict_handler="resolve",  # the -h of both
        epilog="Each option may also stand in ~/.config/slipway/config.yaml, slipway.yaml, SLIPWAY_<OPTION> or the file "
        "of --config; the later of these wins, and a flag wins over all.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of these options")
    parser.add_argument("--explain", action="store_true", help="print every option and where its value comes from")
    groups: dict[str, Any] = {}
    types = field_types(TrainingConfig)
    for field in dataclasses.fields(TrainingConfig):
        if field.name in taken:
            continue
        title = field.metadata["group"].title
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        group = groups[title]
        flag = _flag(field.name)
        help_text = field.metadata["help"]
        if field.name in script:
            help_text += f" [{script[field.name]}, says the script]"
        elif field.default is not None and not isinstance(field.default, bool):
            help_text += f" [{field.default}]"
        if bool in (types[field.name], *typing.get_args(types[field.name])):
            group.add_argument(flag, dest=field.name, action=argparse.BooleanOptionalAction, help=help_text)
            continue
        choices = choices_of(types[field.name])
        metavar = "{" + ",".join(choices) + "}" if choices else field.name.rsplit("_", 1)[-1].upper()
        kinds = (types[field.name], *typing.get_args(types[field.name]))
        more: dict[str, Any] = {}
        if any(typing.get_origin(kind) in (tuple, dict) for kind in kinds):
            more["nargs"] = "+"
        if any(typing.get_origin(kind) is dict for kind in kinds):
            metavar, more["action"] = "NAME=VALUE", "extend"
        group.add_argument(flag, dest=field.name, metavar=metavar, help=help_text, **more)
    return parser


def _flag(name: str) -> str:
    return "--" + _FLAGS.get(name, name.replace("_", "-"))


def _taken_by(own: argparse.ArgumentParser | None) -> set[str]:
    """Return the options of sign recognition that a script's parser has too."""
    actions = [] if own is None else own._actions
    flags = {flag for action in actions for flag in action.option_strings}
    names = {action.dest for action in actions} | set({} if own is None else own._defaults)
    options = ("config", "explain", *(field.name for field in dataclasses.fields(TrainingConfig)))
    both = {name for name in options if name in names or flags & {_flag(name), _flag(name).replace("--", "--no-")}}
    general = [name for name in options if name in both - set(field_types(SignOptions))]
    if general:
        raise UserError(
            f"the script's parser has {_flag(general[0])}, which Slipway has too: take it out of the parser; the script then "
            f"reads it from the config, config.{general[0]}"
        )
    return both


def _program() -> str | None:
    """Return `slipway train` where the script inside the package runs, as that command does; None for any other script."""
    return "slipway train" if Path(sys.argv[0]).parts[-3:] == ("slipway", "bin", "train.py") else None


def parse_config(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> TrainingConfig:
    """Return the config of a command line. Raises `UserError` that names the nearest right flag, key or value.

    The project file is searched from `folder` up, which is the working folder unless given.
    """
    return make_config(TrainingConfig, _read_settings(_parse_flags(build_parser(), arguments), environment, folder))


def _read_settings(flags: Mapping[str, Any], environment: Mapping[str, str], folder: Path | None = None) -> Level:
    return read_settings(TrainingConfig, _options_of(flags), flags.get("config"), environment, folder)


def _options_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {
        # A list may be words or one word with commas.
        name: ",".join(value) if isinstance(value, list) and name != "task_options" else value
        for name, value in flags.items()
        if name not in ("config", "explain")
    }


def _parse_flags(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    # `--` separates a script from its arguments, for who is used to it.
    words = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    try:
        return vars(_parsed(parser, words))
    except UserError as error:
        if line := _meant(parser, words):
            raise UserError(f"{str(error).split(' (')[0]}; write: {line}") from None
        raise


def _parsed(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    parsed, unknown = parser.parse_known_args(words)
    if not unknown:
        return parsed
    word, name = unknown[0], unknown[0].split("=")[0]
    known = [option for action in parser._actions for option in action.option_strings]
    if not word.strip():
        raise UserError(
            "a blank follows the backslash at the end of a line, which ends the command there: remove the blank"
        )
    if not word.startswith("-"):
        raise UserError(f"unexpected argument {word!r}: every option starts with --")
    if of_launcher([word])[0] or right_name(name, ["num_processes"]):
        raise UserError(
            f"unknown option {name}: processes are started by `slipway launch --num-processes 2 ...`, and --multi-gpu "
            "takes all devices"
        )
    raise UserError(f"unknown option {name}{nearest(name, known)}")


def _meant(parser: argparse.ArgumentParser, words: list[str]) -> str | None:
    """Return the command that a line in the manner of other launchers means; None for a line with another mistake."""
    flags = {name for action in parser._actions if action.nargs == 0 for name in action.option_strings}
    own, rest = of_launcher(mended(words, flags))
    script = str(Path(sys.argv[0]))
    if Path("bin/train.py").is_file() and Path(script).exists() and Path("bin/train.py").samefile(script):
        script = "bin/train.py"
    if rest and rest[0].endswith(".py"):
        command = ["slipway", "launch", *own, *rest]
    elif rest == words or parser.parse_known_args(rest)[1]:
        return None
    elif own:
        command = ["slipway", "launch", *own, script, *rest]
    else:
        command = [*(("slipway", "train") if _program() else ("python", script)), *rest]
    return shlex.join(command_without_secrets(command))


def read_command_line(
    arguments: Sequence[str] | None, script: Mapping[str, Any], own: argparse.ArgumentParser | None
) -> tuple[TrainingConfig, Level, argparse.Namespace]:
    """Return what the command line of a script asks for, with the origins, and the values of the script's own parser.

    Ends the program after `--help` and `--explain`, and with one line and exit code 2 after bad input.
    """
    arguments = _arguments() if arguments is None else list(arguments)
    try:
        flags = _parse_flags(build_parser(script, own), arguments)
        names = set(flags) - {"config", "explain", *field_types(TrainingConfig)}
        names |= _taken_by(own)
        values = argparse.Namespace(**{name: flags.pop(name) for name in list(flags) if name in names})
        settings = read_settings(
            TrainingConfig,
            _options_of(flags),
            flags.get("config"),
            os.environ,
            script=script,
            script_name=Path(sys.argv[0]).name,
        )
        config = make_config(TrainingConfig, settings)
    except UserError as error:
        if wants_traceback(arguments):
            raise
        print_error(error)
        sys.exit(EXIT_BAD_INPUT)
    if "explain" in flags:
        sys.exit(_print_lines(explain(config, settings)) if prints() else 0)
    return config, settings, values


def _arguments() -> list[str]:
    # Those of a notebook's kernel are not the user's.
    return [] if Path(sys.argv[0]).name == "ipykernel_launcher.py" else sys.argv[1:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit code.

    0: done, or done before; 1: failed; 2: bad input; 75: stopped by a signal, saved, and to be resumed; 130: quit.
    """
    end_scripts_in_one_line()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = wants_traceback(list(arguments))
    try:
        flags = _parse_flags(build_parser(), arguments)
        settings = _read_settings(flags, os.environ)
        config = make_config(TrainingConfig, settings)
        debug = config.debug
        if "explain" in flags:
            if prints():
                return _print_lines(explain(config, settings))
            return 0
        # Imported late, so that --help and a typo answer at once.
        from .train import train

        train(config, settings=settings)
    except Interrupted:
        return EXIT_RESUMABLE
    except TrainingFailed as error:
        print_error(error)
        return EXIT_FAILED
    except UserError as error:
        if debug:
            raise
        print_error(error)
        return EXIT_BAD_INPUT
    except OSError as error:
        told = error_of_place(error)
        if debug or told is None:
            raise
        told.is_alone = not prints() or None
        print_error(told)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        if prints():
            print_to_stderr("interrupted: what was not saved is lost")
        return EXIT_INTERRUPTED
    return 0


def _print_lines(lines: Iterable[str]) -> int:
    """Print lines; return the exit code."""
    try:
        print(printable("\n".join(lines)))
        sys.stdout.flush()
    except OSError as error:
        code = end_of_output(error)
        if code is None:
            raise
        return code
    return 0

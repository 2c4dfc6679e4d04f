"""The command line of `bin/train.py`: a flag for each option, an error of one line, an exit code."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
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
from ..common.settings import Level
from ..common.synonyms import right_name
from ..config.settings import explain, make_config, read_settings
from ..devices.interruption import Interrupted
from .training_config import TrainingConfig

_FLAGS = {"use_data_parallel": "data-parallel"}
"""Fields whose flag has another name: `--no-data-parallel`."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help lists the options)")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser, one flag for each field of the config, grouped as they are."""
    parser = _Parser(
        prog=_program(),
        description="Train a model in stages, with the same result on one device and on many.",
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
        title = field.metadata["group"].title
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        group = groups[title]
        flag = "--" + _FLAGS.get(field.name, field.name.replace("_", "-"))
        help_text = field.metadata["help"]
        if field.default is not None and not isinstance(field.default, bool):
            help_text += f" [{field.default}]"
        if bool in (types[field.name], *typing.get_args(types[field.name])):
            group.add_argument(flag, dest=field.name, action=argparse.BooleanOptionalAction, help=help_text)
            continue
        choices = choices_of(types[field.name])
        metavar = "{" + ",".join(choices) + "}" if choices else field.name.rsplit("_", 1)[-1].upper()
        kinds = (types[field.name], *typing.get_args(types[field.name]))
        is_list = any(typing.get_origin(kind) is tuple for kind in kinds)
        more: dict[str, Any] = {"nargs": "+"} if is_list else {}
        group.add_argument(flag, dest=field.name, metavar=metavar, help=help_text, **more)
    return parser


def _program() -> str | None:
    """Return `slipway train` where the script inside the package runs, as that command does; None for any other script."""
    return "slipway train" if Path(sys.argv[0]).parts[-3:] == ("slipway", "bin", "train.py") else None


def parse_config(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> TrainingConfig:
    """Return the config of a command line. Raises `UserError` that names the nearest right flag, key or value.

    The project file is searched from `folder` up, which is the working folder unless given.
    """
    return make_config(TrainingConfig, _read_settings(_parse_flags(arguments), environment, folder))


def _read_settings(flags: dict[str, Any], environment: Mapping[str, str], folder: Path | None = None) -> Level:
    options = {
        name: ",".join(value) if isinstance(value, list) else value  # a list may be words or one word with commas
        for name, value in flags.items()
        if name not in ("config", "explain")
    }
    return read_settings(TrainingConfig, options, flags.get("config"), environment, folder)


def _parse_flags(arguments: Sequence[str]) -> dict[str, Any]:
    parser = build_parser()
    parsed, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        word = unknown[0]
        known = [option for action in parser._actions for option in action.option_strings]
        if not word.startswith("-"):
            raise UserError(f"unexpected argument {word!r}: every option starts with --")
        name = word.split("=")[0]
        if right_name(name, ["num_processes"]):
            raise UserError(
                f"unknown option {name}: processes are started by `slipway launch --num-processes 2 ...`, and --multi-gpu "
                "takes all devices"
            )
        raise UserError(f"unknown option {name}{nearest(name, known)}")
    return vars(parsed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit code.

    0: done, or done before; 1: failed; 2: bad input; 75: stopped by a signal, saved, and to be resumed; 130: quit.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments or os.environ.get("SLIPWAY_DEBUG", "") not in ("", "0")
    try:
        flags = _parse_flags(arguments)
        settings = _read_settings(flags, os.environ)
        config = make_config(TrainingConfig, settings)
        debug = config.debug
        if "explain" in flags:
            if _prints():
                _print_lines(explain(config, settings))
            return 0
        # Imported late, so that --help and a typo answer at once.
        from .train import train

        train(config, settings=settings)
    except Interrupted:
        return EXIT_RESUMABLE
    except TrainingFailed as error:
        _print_error(error)
        return EXIT_FAILED
    except UserError as error:
        if debug:
            raise
        _print_error(error)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        if _prints():
            print("interrupted: what was not saved is lost", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _print_lines(lines: Iterable[str]) -> None:
    try:
        print("\n".join(lines))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(error: UserError | TrainingFailed) -> None:
    if error.is_alone and os.environ.get("RANK") != "0":
        print(f"error: rank {os.environ.get('RANK')}: {error}", file=sys.stderr)
    elif _prints() or (error.is_alone is None and os.environ.get("LOCAL_RANK") == "0"):
        # Before the ranks are connected, each machine may have its own error, such as a missing file.
        print(f"error: {error}", file=sys.stderr)


def _prints() -> bool:
    # All ranks fail in the same way, so one prints the error; a rank whose error is that it has no world prints its own.
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"

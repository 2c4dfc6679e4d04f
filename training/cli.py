"""The command line of `bin/train.py`: defaults < environment < --config < flags, read into one typed config."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from training.config import AdvancedTrainingConfig
from training.errors import UserError, nearest
from training.typed import choices_of, convert, field_types, from_mapping

ENVIRONMENT_PREFIX = "SLIPWAY_"

_FLAGS = {"use_data_parallel": "data-parallel"}
"""Fields whose flag has another name: `--no-data-parallel`."""

EXIT_BAD_INPUT = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help lists the options)")


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser, one flag for each field of the config, grouped as they are."""
    parser = _Parser(
        prog=prog,
        description="Train a model in stages, with the same result on one device and on many.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of these options")
    groups: dict[str, Any] = {}
    types = field_types(AdvancedTrainingConfig)
    for field in dataclasses.fields(AdvancedTrainingConfig):
        name = field.metadata["group"]
        if name not in groups:
            groups[name] = parser.add_argument_group(name)
        group = groups[name]
        flag = "--" + _FLAGS.get(field.name, field.name.replace("_", "-"))
        help_text = field.metadata["help"]
        if field.default is not None and not isinstance(field.default, bool):
            help_text += f" [{field.default}]"
        if bool in (types[field.name], *typing.get_args(types[field.name])):
            group.add_argument(flag, dest=field.name, action=argparse.BooleanOptionalAction, help=help_text)
            continue
        choices = choices_of(types[field.name])
        metavar = "{" + ",".join(choices) + "}" if choices else field.name.rsplit("_", 1)[-1].upper()
        group.add_argument(flag, dest=field.name, metavar=metavar, help=help_text)
    return parser


def parse_config(arguments: Sequence[str], environment: Mapping[str, str]) -> AdvancedTrainingConfig:
    """Return the config of a command line. Raises `UserError` that names the nearest right flag, key or value."""
    parser = build_parser()
    parsed, unknown = parser.parse_known_args(list(arguments))
    flags = vars(parsed)
    if unknown:
        word = unknown[0]
        known = [option for action in parser._actions for option in action.option_strings]
        if not word.startswith("-"):
            raise UserError(f"unexpected argument {word!r}: every option starts with --")
        raise UserError(f"unknown option {word.split('=')[0]}{nearest(word.split('=')[0], known)}")
    file_values = _read_config_file(flags.pop("config")) if "config" in flags else {}
    types = field_types(AdvancedTrainingConfig)
    values = {
        **{name: convert(value, types[name], variable) for variable, name, value in _environment_values(environment)},
        **file_values,
        **{name: convert(value, types[name], f"--{name.replace('_', '-')}") for name, value in flags.items()},
    }
    return AdvancedTrainingConfig(**values)


def _environment_values(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    variables = [(ENVIRONMENT_PREFIX + name.upper(), name) for name in field_types(AdvancedTrainingConfig)]
    return [(variable, name, environment[variable]) for variable, name in variables if variable in environment]


def _read_config_file(name: str) -> dict[str, Any]:
    path = Path(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"--config: no file {name!r}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--config {name}: not a readable YAML file: {' '.join(str(error).split())}") from error
    content = {} if content is None else content
    checked = from_mapping(AdvancedTrainingConfig, content, name)
    return {key: getattr(checked, key) for key in content}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit code: 0 done, 1 failed, 2 bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments or os.environ.get("SLIPWAY_DEBUG", "") not in ("", "0")
    try:
        config = parse_config(arguments, os.environ)
        debug = config.debug
        # Imported late, so that --help and a typo answer at once.
        from training.run import train

        train(config)
    except UserError as error:
        if debug:
            raise
        # Ranks fail alike; one of them speaks. A rank without a world, which is the error, speaks for itself.
        if os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1":
            print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        logging.getLogger("slipway").warning("interrupted")
        return 130
    return 0

"""Command lines of the launcher: parsers whose errors are one line, and options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

from ...training.common.errors import UserError, nearest

if TYPE_CHECKING:
    from ..hardware.record import Hardware
    from ..plan.records import MergedIntent


class Parser(argparse.ArgumentParser):
    """A parser whose errors are raised as `UserError`."""

    def parse_known_args(self, *arguments: Any, **settings: Any) -> Any:
        """Parse, or hand this parser to `parser_of` where that one asks."""
        if _asked.get():
            raise _ParserFound(self)
        return super().parse_known_args(*arguments, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `UserError`."""
        raise UserError(f"{self.prog}: {message}; see `{self.prog} --help`")


class _ParserFound(BaseException):  # which no `except Exception` of a command holds up
    def __init__(self, parser: Parser) -> None:
        self.parser = parser


_asked: ContextVar[bool] = ContextVar("asked", default=False)


def parser_of(command: Callable[[list[str]], int]) -> Parser:
    """Return the parser that a command makes; the command is called and stopped where it would parse."""
    token = _asked.set(True)
    try:
        command([])
    except _ParserFound as found:
        return found.parser
    finally:
        _asked.reset(token)
    raise AssertionError("a command that parses nothing has no parser")


def make_parser(name: str, description: str) -> Parser:
    """Return the parser of `slipway name`."""
    return Parser(prog=f"slipway {name}", description=description, allow_abbrev=False)


def parse(parser: Parser, arguments: list[str]) -> argparse.Namespace:
    """Return the parsed arguments; an unknown option names the nearest right one."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        raise UserError(f"{parser.prog}: unknown argument {unknown[0]!r}{nearest(unknown[0].split('=')[0], known)}")
    return options


def read_hardware(path: str) -> Hardware:
    """Return the record in a file. Raises `UserError`."""
    from ..hardware.record import Hardware

    try:
        with open(path, encoding="utf-8") as file:
            return Hardware.from_json(file.read(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--hardware {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None


def hardware_of(path: str | None) -> Hardware:
    """Return the record in a file, or this machine's. Raises `UserError`."""
    if path:
        return read_hardware(path)
    from ..hardware.detect import detect
    from ..hardware.probes.sources import ProbeError

    try:
        return detect()
    except ProbeError as error:
        raise UserError(str(error)) from None


_HELP = {
    "device": "kind of device",
    "num_processes": "processes of all machines together",
    "num_machines": "machines that take part",
    "machine_rank": "which of them this is, from 0",
    "main_process_ip": "host name or address of machine 0",
    "main_process_port": "its port",
    "rdzv_backend": "how machines meet",
    "mixed_precision": "precision of the forward and backward pass",
    "parameters": "number of parameters of the model, such as 7000000000 or 7e9",
    "sharding": "replicas, FSDP2, or DeepSpeed ZeRO-2 or ZeRO-3",
    "compile": "use torch.compile",
    "global_batch_size": "samples of a step, of all processes together",
    "micro_batch_size": "most samples in one forward pass, or auto",
    "gradient_accumulation": "micro-batches per step instead",
    "share_weights": "a weight for each process, such as 3,1",
    "threads_per_process": "threads that compute",
    "num_workers": "data-loader workers of a process",
}


def add_intent(parser: Parser) -> None:
    """Add an option for each field of `Intent`, and `--config FILE`."""
    from ..plan.settings import choices_of, flag_of, intent_types, reader

    group = parser.add_argument_group(
        "what you fix",
        "Each may also stand in ~/.config/slipway/config.yaml, slipway.yaml, SLIPWAY_<OPTION> or the file of --config; "
        "the later of these wins, and a flag wins over all.",
    )
    group.add_argument("--config", metavar="FILE", help="YAML file with any of these options, or an Accelerate config")
    for name, kind in intent_types().items():
        settings: dict[str, Any] = {"dest": name, "default": None, "help": _HELP[name]}
        if kind is bool:
            group.add_argument(flag_of(name), action=argparse.BooleanOptionalAction, **settings)
        elif choices_of(name):
            group.add_argument(flag_of(name), choices=choices_of(name), **settings)
        else:
            group.add_argument(flag_of(name), type=reader(name), metavar=name.rsplit("_", 1)[-1].upper(), **settings)


def intent_of(options: argparse.Namespace) -> MergedIntent:
    """Return what is fixed: by the parsed options, `--config`, the environment, and the settings files.

    Raises `UserError` that names the file and key, or the variable.
    """
    import os

    from ..plan.settings import intent_types, read_intent

    return read_intent({name: getattr(options, name) for name in intent_types()}, options.config, os.environ)

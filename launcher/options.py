"""Command lines of the launcher: parsers whose errors are one line, and options that several commands share."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin

from launcher.errors import UserError, nearest

if TYPE_CHECKING:
    from launcher.hardware import Hardware
    from launcher.plan_records import Intent


class Parser(argparse.ArgumentParser):
    """A parser whose errors are raised as `UserError`."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `UserError`."""
        raise UserError(f"{self.prog}: {message}; see `{self.prog} --help`")


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
    from launcher.hardware import Hardware

    try:
        with open(path, encoding="utf-8") as file:
            return Hardware.from_json(file.read(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--hardware {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None


def hardware_of(path: str | None) -> Hardware:
    """Return the record in a file, or this machine's. Raises `UserError`."""
    if path:
        return read_hardware(path)
    from launcher.detect import detect
    from launcher.probes.sources import ProbeError

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
    "micro_batch_size": "most samples in one forward pass",
    "gradient_accumulation": "micro-batches per step instead",
    "share_weights": "a weight for each process, such as 3,1",
    "threads_per_process": "threads that compute",
    "num_workers": "data-loader workers of a process",
}


def add_intent(parser: Parser) -> None:
    """Add an option for each field of `Intent`."""
    from launcher.plan_records import Intent

    group = parser.add_argument_group("what you fix")
    for name, hint in typing.get_type_hints(Intent).items():
        kind = next(part for part in get_args(hint) if part is not type(None))
        flag = f"--{name.replace('_', '-')}"
        settings: dict[str, Any] = {"dest": name, "default": None, "help": _HELP[name]}
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **settings)
        elif get_origin(kind) is Literal:
            group.add_argument(flag, choices=get_args(kind), **settings)
        else:
            reader = _count if name == "parameters" else _weights if get_origin(kind) is tuple else kind
            group.add_argument(flag, type=reader, metavar=name.rsplit("_", 1)[-1].upper(), **settings)


def intent_of(options: argparse.Namespace) -> Intent:
    """Return what the parsed options fix."""
    from launcher.plan_records import Intent

    return Intent(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Intent)})


def _count(text: str) -> int:
    """Return a whole number; `7e9` is one."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        return int(value)


def _weights(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


_count.__name__, _weights.__name__ = "number of parameters", "list of weights"  # as argparse names a wrong value

"""The page of options: of every command, from the parsers that read them."""

from __future__ import annotations

import argparse
import dataclasses
import re
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from slipway.launcher.cli import COMMANDS
from slipway.training.common.conversion import choices_of, field_types
from slipway.training.common.errors import flag_of
from slipway.training.run.training_config import TrainingConfig

_KINDS = {int: "whole number", float: "number", str: "text", bool: "yes or no"}


def page() -> str:
    """Return the page, in Markdown."""
    lines = [
        "# Options",
        "",
        "Every option of every command, made from the code. `slipway train --explain` prints each value and where it comes",
        "from ([settings](settings.md)).",
        "",
        "## Of a training",
        "",
        "They are flags of `slipway train` and of scripts that call `TrainingConfig.from_command_line`, fields of",
        "`TrainingConfig`, keys of the file of `--config` and of `train:` in `slipway.yaml`, and variables `SLIPWAY_<OPTION>`.",
        "",
        *_of_training(),
    ]
    for command in COMMANDS:
        if command.name != "train":
            parser = import_module(command.module).build_parser()
            lines += [f"## slipway {command.name}", "", *_of_command(parser)]
    return "\n".join(lines)


def _of_training() -> Iterator[str]:
    types = field_types(TrainingConfig)
    groups: dict[str, list[tuple[str, ...]]] = {}
    for field in dataclasses.fields(TrainingConfig):
        row = (
            _code(flag_of(field.name)),
            _value_of(types[field.name]),
            _default(field.default),
            field.metadata["help"],
        )
        groups.setdefault(field.metadata["group"].title, []).append(row)
    for title, rows in groups.items():
        yield from [f"### {title[0].upper()}{title[1:]}", "", *_table(rows), ""]


def _value_of(kind: Any) -> str:
    if choices := choices_of(kind):
        return ", ".join(_code(choice) for choice in choices)
    kinds = [one for one in (typing.get_args(kind) or (kind,)) if one is not type(None)]
    origins = [typing.get_origin(one) for one in (*kinds, kind)]
    if dict in origins:
        return "NAME=VALUE ..."
    if tuple in origins:
        return "several"
    return " or ".join(dict.fromkeys(_KINDS.get(one, "text") for one in kinds))


def _default(value: Any) -> str:
    if value is None:
        return ""
    return _code({True: "yes", False: "no"}[value] if isinstance(value, bool) else value)


def _of_command(parser: argparse.ArgumentParser) -> Iterator[str]:
    usage = re.sub(r"^usage: ", "", parser.format_usage().strip())
    yield from [
        _plain(parser.description or ""),
        "",
        "```text",
        *(line.strip() for line in usage.splitlines()),
        "```",
        "",
    ]
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from [f"### {parser.prog} {name}", "", *_of_command(inner)]
        elif action.help != argparse.SUPPRESS and "--help" not in action.option_strings:
            rows.append(_row_of(action))
    if rows:
        yield from [*_table(rows), ""]


def _row_of(action: argparse.Action) -> tuple[str, ...]:
    names = action.option_strings or [str(action.metavar or action.dest)]
    if action.choices:
        value = ", ".join(_code(choice) for choice in action.choices)
    else:
        value = "" if action.nargs == 0 or not action.option_strings else str(action.metavar or action.dest).upper()
    shown = action.default not in (None, False, argparse.SUPPRESS, [], ())
    return (
        ", ".join(map(_code, names)),
        value,
        _default(action.default) if shown else "",
        (action.help or "") % vars(action),
    )


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| option | value | default | what it does |"
    yield "|---|---|---|---|"
    for name, value, default, text in rows:
        yield f"| {name} | {value} | {default} | {_plain(text)} |"


def _code(value: object) -> str:
    return f"`{value}`"


def _plain(text: str) -> str:
    """Return words of a help as they are, where Markdown would see marks."""
    return (
        re.sub(r"([\\|<>*_\[\]])", r"\\\1", text) if "`" not in text else text.replace("|", "\\|").replace("<", "\\<")
    )

"""The options of training that say how data are read and split, as flags of `slipway data`."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from ..common.conversion import choices_of, convert, field_types
from ..common.errors import UserError, flag_of
from ..common.parser import Parser
from ..config.options import GeneralOptions
from ..data.specs import SYNTHETIC, DataSpec
from ..tasks.sign.options import DATA, SignOptions


def add_data_options(parser: Parser, *, split: bool = True) -> None:
    """Add a flag for each option of training that the reading of data depends on, and, with `split`, their split."""
    group = parser.add_argument_group(f"how the data are read{' and split' if split else ''}, as in training")
    for field in _fields():
        if not split and field.name in (*field_types(DataSpec), "seed"):
            continue
        choices = choices_of(field_types(SignOptions).get(field.name))
        shown = "" if field.default is None else f" [{field.default}]"
        group.add_argument(
            flag_of(field.name),
            default=argparse.SUPPRESS,
            metavar="{" + ",".join(choices) + "}" if choices else field.name.rsplit("_", 1)[-1].upper(),
            help=field.metadata["help"] + shown,
        )


def read_data_options(source: str, flags: argparse.Namespace) -> tuple[DataSpec, int, dict[str, str]]:
    """Return the data that a command line means, the seed of their split, and the flags that were given, by flag.

    Raises `UserError` for a value that an option does not take.
    """
    given = {field.name: str(getattr(flags, field.name)) for field in _fields() if hasattr(flags, field.name)}
    types = {**field_types(SignOptions), "seed": int}
    values: dict[str, Any] = {name: convert(text, types[name], flag_of(name)) for name, text in given.items()}
    seed = values.pop("seed", GeneralOptions.seed)
    if source == "":
        raise UserError(f"no data: give a path, a name on the Hub, or {SYNTHETIC}")
    return SignOptions(data=source, **values).data_spec, seed, {flag_of(name): text for name, text in given.items()}


def _fields() -> list[dataclasses.Field[Any]]:
    """Return the fields of the options: those of the data but their source, and the seed."""
    of_data = [field for field in dataclasses.fields(SignOptions) if field.metadata["group"] is DATA]
    seed = [field for field in dataclasses.fields(GeneralOptions) if field.name == "seed"]
    return [*(field for field in of_data if field.name != "data"), *seed]

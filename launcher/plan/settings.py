"""What a person fixed of a plan, on all levels of the settings. See docs/settings.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ...training.common.conversion import choices_of, field_types
from ...training.common.errors import UserError, flag_of
from ...training.common.settings import SECTIONS, Level, SettingsReader, mapping_of, merge_levels, read_yaml
from .records import Intent, MergedIntent

AUTOMATIC = ("device", "mixed_precision", "micro_batch_size")
"""Options that take `auto`, as those of the training do."""

_SET_EACH_OTHER = (("micro_batch_size", "gradient_accumulation"),)


def read_intent(
    flags: Mapping[str, Any], config: str | None, environment: Mapping[str, str], folder: Path | None = None
) -> MergedIntent:
    """Return what all levels fix together, with where each value comes from.

    `flags` holds values by option, as text or typed, `config` is the file of `--config`, `folder` the working folder
    unless given. Raises `UserError` that names the file and key, the variable or the flag.
    """
    reader = SettingsReader(section="launch", types=intent_types())
    of_config, sections, note = _read_config(config, reader, environment)
    levels = [
        *reader.read_files(environment, folder),
        reader.read_environment(environment),
        of_config,
        reader.read_flags(flags),
    ]
    merged = merge_levels(map(_without_auto, levels), _SET_EACH_OTHER, _check_pairs)
    return MergedIntent(
        **{name: setting.value for name, setting in merged.items()}, settings=merged, note=note, accelerate=sections
    )


@cache
def intent_types() -> dict[str, Any]:
    """Return the type of each option of a plan; None, and `auto` where it is one, leave the choice to the plan."""
    return {name: Literal["auto"] | hint if name in AUTOMATIC else hint for name, hint in field_types(Intent).items()}


def words_of(name: str) -> tuple[str, ...]:
    """Return the words that an option takes, or nothing where it takes other values."""
    return tuple(map(str, choices_of(intent_types()[name])))


def _without_auto(level: Level) -> Level:
    return {name: replace(one, value=None) if one.value == "auto" else one for name, one in level.items()}


def _check_pairs(level: Level) -> None:
    for pair in _SET_EACH_OTHER:
        given = [level[name] for name in pair if name in level and level[name].value is not None]
        if len(given) == len(pair):
            place = given[0].place
            flags = " and ".join(map(flag_of, pair))
            raise UserError(f"{place}{': ' if place else ''}{flags} set each other: give one of them", option=pair[0])


def _read_config(
    name: str | None, reader: SettingsReader, environment: Mapping[str, str]
) -> tuple[Level, dict[str, dict[str, Any]], str]:
    """Return what the file of `--config` fixes; of an Accelerate config also its sections and what became of its keys."""
    if name is None:
        return {}, {}, ""
    place = f"--config {name}"
    data = mapping_of(read_yaml(Path(name), place), place)
    from .accelerate.keys import is_accelerate, read_accelerate

    if any(key in data for key in SECTIONS) or not is_accelerate(data, reader.types):
        return reader.read_config(name), {}, ""
    found = read_accelerate(data, place, reader.types, environment)
    return reader.read_mapping(found.values, place, "--config", place), found.sections, found.note

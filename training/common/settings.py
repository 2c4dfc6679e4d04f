"""The levels of the settings, read for either package: files, environment, `--config`, flags. See docs/settings.md."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from .conversion import choices_of, convert
from .errors import UserError, flag_of, nearest
from .small_files import UnreadableError, reason_of
from .small_files import read_yaml as read_yaml_file

ENVIRONMENT_PREFIX = "SLIPWAY_"
SECTIONS = ("launch", "train")
"""Of a settings file: the options of the launcher, and those of the training."""

_NEAR = 0.8
"""How alike two names are of which one is the other, misspelt; by `difflib`."""
_OF_ACCELERATE = ("compute_environment", "distributed_type")

Origin = Literal[
    "default",
    "detected",
    "script",
    "user file",
    "project file",
    "environment",
    "launch plan",
    "run",
    "continued run",
    "--config",
    "flag",
    "user",
]
"""Where a value comes from. `continued run` is what `slipway continue` takes of the run that it goes
on from, with what it was asked for; `environment` is also a variable that is not Slipway's; `script` is what a script says of a
command line that it reads, `user` a value given in Python otherwise."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The value of an option, the level it comes from, and the place there: a file, a variable, or nothing for a flag."""

    value: Any
    origin: Origin
    place: str = ""
    reason: str = ""
    """Why a plan has it."""
    is_fixed: bool = True
    """Whether a person set it."""
    parts: Mapping[str, Setting] = field(default_factory=dict)
    """Of keys and values that several levels set: what set each key."""

    def __str__(self) -> str:
        """Return where the value comes from, for a person: `environment SLIPWAY_SEED`."""
        if self.parts:
            return "; ".join(f"{name}: {part}" for name, part in self.parts.items())
        if self.reason:
            return f"{self.origin}: {self.reason}"
        # Of a file of `--config` the place says so itself.
        return self.place if self.origin == "--config" else f"{self.origin} {self.place}".rstrip()


Level = dict[str, Setting]
"""What one level, or several together, set: by option."""


@dataclass(frozen=True, kw_only=True)
class SettingsReader:
    """Reads the options of one part of the program from each level."""

    section: str
    """Of the settings files."""
    types: Mapping[str, Any]
    """The type of each option by its name."""
    spellings: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """What else an option's value may be called, by option and word."""

    def read_files(self, environment: Mapping[str, str], folder: Path | None) -> list[Level]:
        """Return what the user's file and the project's set; `folder` is the working folder unless given.

        Raises `UserError` that names the file and key, as all methods do for their place.
        """
        files: tuple[tuple[Origin, Path | None], ...] = (
            ("user file", user_file(environment)),
            ("project file", project_file(folder, environment)),
        )
        return [{} if path is None else self._read_file(path, origin) for origin, path in files]

    def read_environment(self, environment: Mapping[str, str]) -> Level:
        """Return what the variables `SLIPWAY_<OPTION>` set; an empty one counts as unset.

        Raises `UserError` for one that is nearly an option: it would change nothing, and nobody would be told.
        """
        found: Level = {}
        for variable in environment:
            if variable.startswith(ENVIRONMENT_PREFIX) and (meant := self._nearly(variable)):
                raise UserError(
                    f"{variable}: no option has this name (did you mean {meant}?); unset it: unset {variable}"
                )
        for name in self.types:
            variable = ENVIRONMENT_PREFIX + name.upper()
            if text := environment.get(variable):
                found[name] = Setting(value=self.convert(name, text, variable), origin="environment", place=variable)
        return found

    def _nearly(self, variable: str) -> str | None:
        """Return the variable that a misspelt one means, None for any other."""
        from difflib import get_close_matches

        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name in self.types:
            return None
        near = get_close_matches(name, self.types, n=1, cutoff=_NEAR)
        return ENVIRONMENT_PREFIX + near[0].upper() if near else None

    def read_config(self, name: str | None) -> Level:
        """Return what the file of `--config` sets: options alone, or this part's section of a settings file."""
        if name is None:
            return {}
        place = f"--config {name}"
        data = mapping_of(read_yaml(Path(name), place), place)
        if any(key in data for key in _OF_ACCELERATE):
            raise UserError(
                f"{place}: is a config of Accelerate's, which the launcher reads: slipway launch --config "
                f"{shlex.quote(name)} bin/train.py ..."
            )
        if any(key in data for key in SECTIONS):
            return self.read_mapping(self._section_of(data, place), place, "--config", place, f"{self.section}.")
        return self.read_mapping(data, place, "--config", place)

    def read_flags(self, flags: Mapping[str, Any]) -> Level:
        """Return what flags set, as text or typed; None is no flag."""
        return {
            name: Setting(value=self.convert(name, value, flag_of(name)), origin="flag")
            for name, value in flags.items()
            if value is not None
        }

    def read_mapping(self, data: Mapping[Any, Any], where: str, origin: Origin, place: str, path: str = "") -> Level:
        """Return what keys and values set; `where` and `path`, before each key, are for errors."""
        for key in data:
            if key not in self.types:
                known = (*self.types, *(() if path else SECTIONS))
                raise UserError(f"{where}: unknown key {f'{path}{key}'!r}{nearest(str(key), known)}")
        return {
            key: Setting(value=self.convert(key, value, where, path + key), origin=origin, place=place)
            for key, value in data.items()
        }

    def convert(self, name: str, value: Any, where: str, path: str = "") -> Any:
        """Return the value of an option as its type."""
        if value is False and "no" in choices_of(self.types[name]):
            value = "no"  # what YAML makes of an unquoted no
        if isinstance(value, str):
            value = self.spellings.get((name, value), value)
        return convert(value, self.types[name], where, path)

    def _read_file(self, path: Path, origin: Origin) -> Level:
        where = format_path(path)
        section = self._section_of(mapping_of(read_yaml(path, where), where), where)
        return self.read_mapping(section, where, origin, where, f"{self.section}.")

    def _section_of(self, data: Mapping[Any, Any], where: str) -> dict[Any, Any]:
        for key in data:
            if key not in SECTIONS:
                raise UserError(
                    f"{where}: unknown section {key!r}{nearest(str(key), SECTIONS)}; there are {' and '.join(SECTIONS)}"
                )
        return mapping_of(data.get(self.section), f"{where}: {self.section}")


def merge_levels(
    levels: Iterable[Level],
    set_each_other: Sequence[tuple[str, str]],
    check: Callable[[Level], object],
    belongs_to: Mapping[str, str] = MappingProxyType({}),
) -> Level:
    """Return what levels, from weak to strong, set together; each must pass the `check` by itself.

    Of options that set each other, the one that a stronger level sets drops what weaker ones say of both. An option that
    belongs to another is dropped where a stronger level sets another value of that one. Of an option of keys and values each
    level sets its keys; that of a run which is resumed is complete.
    """
    merged: Level = {}
    for level in levels:
        check(level)
        for pair in set_each_other:
            if any(name in level and level[name].value not in (None, "auto") for name in pair):
                for name in pair:
                    merged.pop(name, None)
        for name, owner in belongs_to.items():
            if owner in level and owner in merged and level[owner].value != merged[owner].value:
                merged.pop(name, None)
        for name, setting in level.items():
            merged[name] = _joined(merged[name], setting) if name in merged else setting
    return merged


def _joined(weaker: Setting, stronger: Setting) -> Setting:
    """Return what two levels set of an option together: of keys and values both, else the stronger one's."""
    if not isinstance(weaker.value, Mapping) or not isinstance(stronger.value, Mapping) or stronger.origin == "run":
        return stronger
    parts = {
        **(weaker.parts or dict.fromkeys(weaker.value, weaker)),
        **(stronger.parts or dict.fromkeys(stronger.value, stronger)),
    }
    return replace(stronger, value={**weaker.value, **stronger.value}, parts=parts)


def read_yaml(path: Path, where: str) -> Any:
    """Return the content of a YAML file; `where` begins the message of a `UserError`."""
    try:
        return read_yaml_file(path)
    except (OSError, UnreadableError) as error:
        raise UserError(f"{where}: {reason_of(error)}") from None


def mapping_of(data: Any, where: str) -> dict[Any, Any]:
    """Return YAML content that has to be keys and values; an empty file has none. Raises `UserError`."""
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected keys and values, got {str(data)[:40]!r}")
    return data


def user_file(environment: Mapping[str, str]) -> Path | None:
    """Return `$XDG_CONFIG_HOME/slipway/config.yaml` where there is one; the folder is ~/.config unless it is set."""
    folder = environment.get("XDG_CONFIG_HOME", "")
    home = environment.get("HOME", "")
    if not os.path.isabs(folder):  # a relative one is to be ignored, says the XDG specification
        folder = os.path.join(home, ".config") if home else ""
    path = Path(folder, "slipway", "config.yaml")
    return path if folder and os.path.isfile(path) else None


def project_file(folder: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Return the `slipway.yaml` of a folder (the working folder unless given) or of the nearest one above it.

    The search ends with a folder that holds `.git`, and before the home folder, the root, and a folder where anybody may
    write.
    """
    try:
        folder = (folder or Path.cwd()).resolve()
        ends = (Path(environment.get("HOME", "")).resolve(), Path(folder.anchor))
        for place in (folder, *folder.parents):
            if place != folder and (place in ends or place.stat().st_mode & stat.S_IWOTH):
                return None
            if os.path.isfile(place / "slipway.yaml"):
                return place / "slipway.yaml"
            if os.path.lexists(place / ".git"):
                return None
    except OSError:  # the working folder is gone or closed
        pass
    return None


def format_path(path: Path) -> str:
    """Return a path as a person would write it: from the working folder or from the home folder where it is inside."""
    with suppress(OSError, RuntimeError):
        for start, name in ((Path.cwd(), ""), (Path.home(), "~")):
            if path.is_relative_to(start):
                return os.path.join(name, path.relative_to(start))
    return str(path)

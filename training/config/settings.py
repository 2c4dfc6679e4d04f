"""Where options come from: defaults < user file < project file < environment < resumed run < --config < flags.

See docs/settings.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..common.conversion import choices_of, convert, field_types
from ..common.errors import UserError, flag_of, nearest
from ..common.run_names import RECORD, read_record, resolve_name
from ..common.settings_files import format_path, project_file, user_file
from .options import GeneralOptions

ENVIRONMENT_PREFIX = "SLIPWAY_"

Options = TypeVar("Options", bound=GeneralOptions)

_SECTIONS = ("launch", "train")
_SET_EACH_OTHER = (("micro_batch_size", "gradient_accumulation"), ("batch_rule", "auto_adjust_batch_size"))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The value of an option that is no default, its level, and the place: a file, a variable, or nothing for a flag."""

    value: Any
    origin: str
    place: str = ""


Layer = dict[str, Setting]


def read_settings(
    options: type[GeneralOptions],
    flags: Mapping[str, Any],
    config: str | None,
    environment: Mapping[str, str],
    folder: Path | None = None,
) -> Layer:
    """Return what all levels set together, by option of `options`.

    `flags` holds values by option, as text or typed, `config` is the file of `--config`, `folder` the working folder
    unless given. A run that is resumed by name brings what it is to learn, so that nothing has to be said again. Raises
    `UserError` that names the file and key, the variable or the flag. Each level must make sense by itself.
    """
    general = [
        _of_file(options, user_file(environment), "user file"),
        _of_file(options, project_file(folder, environment), "project file"),
        _of_environment(options, environment),
    ]
    own = [
        _of_config(options, config),
        {
            name: Setting(value=_converted(options, name, value, flag_of(name)), origin="flag")
            for name, value in flags.items()
        },
    ]
    merged = _merged(options, [*general, *own])
    resumed = _of_resumed_run(make_config(options, merged))
    return _merged(options, [*general, resumed, *own]) if resumed else merged


def _merged(options: type[GeneralOptions], layers: list[Layer]) -> Layer:
    merged: Layer = {}
    for layer in layers:
        make_config(options, layer)
        for pair in _SET_EACH_OTHER:
            # Who sets one of a pair at a stronger level means that one.
            if any(name in layer and layer[name].value not in (None, "auto") for name in pair):
                for name in pair:
                    merged.pop(name, None)
        merged.update(layer)
    return merged


def make_config(options: type[Options], settings: Layer) -> Options:
    """Return the config of some settings. Raises `UserError` that names the file or variable of a wrong value."""
    try:
        return options(**{name: setting.value for name, setting in settings.items()})
    except UserError as error:
        name = str(error).split(" ", 1)[0].rstrip(":").removeprefix("--").replace("-", "_")
        place = settings[name].place if name in settings else ""
        raise UserError(f"{place}: {error}" if place else str(error)) from None


def explain(config: GeneralOptions, settings: Layer) -> Iterator[str]:
    """Yield a line for each option: its name, its value, and where that comes from."""
    rows = [("option", "value", "from")]
    for field in dataclasses.fields(config):
        value, setting = getattr(config, field.name), settings.get(field.name)
        came_from = f"{setting.origin} {setting.place}".rstrip() if setting else "default"
        rows.append((field.name, _format_value(value), came_from))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, value, came_from in rows:
        yield f"{name:{widths[0]}}  {value:{widths[1]}}  {came_from}"


def _format_value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(f"{one:g}" for one in value) if isinstance(value, tuple) else str(value)


def _of_environment(options: type[GeneralOptions], environment: Mapping[str, str]) -> Layer:
    found: Layer = {}
    for name in field_types(options):
        variable = ENVIRONMENT_PREFIX + name.upper()
        text = environment.get(variable)
        if text:
            # The launcher reads this variable too, and has a name of its own for what torch calls cuda.
            text = "cuda" if name == "device" and text == "rocm" else text
            found[name] = Setting(value=_converted(options, name, text, variable), origin="environment", place=variable)
    return found


def _of_resumed_run(config: GeneralOptions) -> Layer:
    """Return what the run that `resume` names was told to learn, and its place; nothing where it names none."""
    if config.resume is None or config.resume == "auto":
        return {}
    folder = resolve_name(config.resume, Path(config.runs_dir)).run
    saved, where = read_record(folder).get("config"), format_path(folder / RECORD)
    if not isinstance(saved, dict):
        raise UserError(f"{where}: it does not say what the run was told; start another run")
    told = {
        field.name: saved[field.name]
        for field in dataclasses.fields(config)
        # One that it lacks is of another version of the program.
        if (field.metadata["group"].decides_weights or field.name == "experiment_name") and field.name in saved
    }
    told["runs_dir"] = str(folder.parent)
    return _of_mapping(type(config), told, f"{where}: config", "run", where)


def _of_file(options: type[GeneralOptions], path: Path | None, origin: str) -> Layer:
    if path is None:
        return {}
    where = format_path(path)
    return _of_mapping(options, _section(_read_yaml(path, where), where), f"{where}: train", origin, where)


def _of_config(options: type[GeneralOptions], name: str | None) -> Layer:
    """Return what the file of `--config` sets: flat options, or the section `train` of a settings file."""
    if name is None:
        return {}
    data = _read_yaml(Path(name), f"--config {name}")
    sections = isinstance(data, dict) and any(key in data for key in _SECTIONS)
    data = _section(data, name) if sections else data
    return _of_mapping(options, data, f"{name}: train" if sections else name, "--config", name)


def _read_yaml(path: Path, where: str) -> Any:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"--config: no file {str(path)!r}") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{where}: not a readable YAML file: {' '.join(str(error).split())}") from None
    return {} if content is None else content


def _section(data: Any, where: str) -> Any:
    for key in _mapping(data, where):
        if key not in _SECTIONS:
            raise UserError(
                f"{where}: unknown section {key!r}{nearest(str(key), _SECTIONS)}; there are launch and train"
            )
    return data.get("train") or {}


def _of_mapping(options: type[GeneralOptions], data: Any, where: str, origin: str, place: str) -> Layer:
    known = field_types(options)
    for key in _mapping(data, where):
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), (*known, *_SECTIONS))}")
    return {
        key: Setting(value=_converted(options, key, value, f"{where}: {key}"), origin=origin, place=place)
        for key, value in data.items()
    }


def _mapping(data: Any, where: str) -> dict[Any, Any]:
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected keys and values, got {str(data)[:40]!r}")
    return data


def _converted(options: type[GeneralOptions], name: str, value: Any, where: str) -> Any:
    kind = field_types(options)[name]
    if value is False and "no" in choices_of(kind):
        value = "no"  # what YAML makes of an unquoted no
    return convert(value, kind, where)

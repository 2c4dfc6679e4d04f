"""Where options come from: defaults < launch plan < script < user file < project file < environment < what a person fixed in
the launch plan < resumed run < --config < flags. See docs/settings.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..common.conversion import field_types
from ..common.errors import UserError
from ..common.plan_file import LaunchPlan
from ..common.run_names import RECORD, read_record, resolve_name
from ..common.settings import Level, Setting, SettingsReader, format_path, merge_levels
from .continued import ORIGIN, continued_options, is_of_name, options_of_record
from .launched_plan import LaunchedPlan, launched_plan
from .options import GeneralOptions

Options = TypeVar("Options", bound=GeneralOptions)

_BELONGS_TO = {"task_options": "task"}
_SET_EACH_OTHER = (("micro_batch_size", "gradient_accumulation"), ("batch_rule", "auto_adjust_batch_size"))


def read_settings(
    options: type[GeneralOptions],
    flags: Mapping[str, Any],
    config: str | None,
    environment: Mapping[str, str],
    folder: Path | None = None,
    *,
    script: Mapping[str, Any] | None = None,
    script_name: str = "",
) -> Level:
    """Return what all levels set together, by option of `options`.

    `flags` holds values by option, as text or typed, `config` is the file of `--config`, `folder` the working folder
    unless given; `script` holds what the script of this name says where nobody says otherwise. A run that is resumed by
    name brings its own options of the recipe, so they need not be repeated. Raises `UserError` that names the file and key,
    the variable or the flag. Each level must make sense by itself.
    """
    reader = _reader_of(options)
    plan = launched_plan(environment)
    chosen, fixed = ({}, {}) if plan is None else plan.levels()
    said = reader.read_mapping(script or {}, script_name, "script", script_name)
    general = [chosen, said, *reader.read_files(environment, folder), reader.read_environment(environment), fixed]
    own = [reader.read_config(config), reader.read_flags(flags)]
    merged = _as_launched(plan, options, _merge(options, [*general, *own]))
    resumed = _read_resumed_run(make_config(options, merged), reader)
    if not resumed:
        return merged
    continued = {name: setting for name, setting in merged.items() if setting.origin == ORIGIN}
    return _merge(options, [*general, resumed, *own]) | continued | {"resume": merged["resume"]}


def settings_of(config: GeneralOptions, plan: LaunchedPlan | None) -> Level:
    """Return the settings of a config that was made in Python; what it leaves open comes from the launch plan."""
    options = type(config)
    own = {
        field.name: Setting(value=value, origin="user")
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) != field.default
    }
    levels = () if plan is None else plan.levels()
    return _as_launched(plan, options, _merge(options, [*levels, own]))


def make_config(options: type[Options], settings: Level) -> Options:
    """Return the config of some settings. Raises `UserError` that names the file or variable of a wrong value."""
    try:
        return options(**{name: setting.value for name, setting in settings.items()})
    except UserError as error:
        raise with_place(error, settings) from None


def with_place(error: UserError, settings: Level) -> UserError:
    """Return the error of an option with the file or variable that set the option, where one did."""
    option, _, part = (error.option or "").partition(".")
    setting = settings.get(option)
    place = "" if setting is None else setting.parts.get(part, setting).place
    return UserError(f"{place}: {error}", option=error.option) if place else error


def what_was_asked(settings: Level) -> Level:
    """Return the settings without what the launcher chose by itself."""
    return {name: setting for name, setting in settings.items() if setting.is_fixed}


def explain(config: GeneralOptions, settings: Level) -> Iterator[str]:
    """Yield a line for each option: its name, its value, and where that comes from."""
    rows = [("option", "value", "from")]
    for field in dataclasses.fields(config):
        value, setting = getattr(config, field.name), settings.get(field.name)
        rows.append((field.name, _format_value(value), "default" if setting is None else str(setting)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, value, came_from in rows:
        yield f"{name:{widths[0]}}  {value:{widths[1]}}  {came_from}"


def _reader_of(options: type[GeneralOptions]) -> SettingsReader:
    # The launcher reads `device` too, and has another name for what torch calls cuda.
    return SettingsReader(section="train", types=field_types(options), spellings={("device", "rocm"): "cuda"})


def _merge(options: type[GeneralOptions], levels: list[Level]) -> Level:
    return merge_levels(levels, _SET_EACH_OTHER, partial(make_config, options), _BELONGS_TO)


def _as_launched(plan: LaunchedPlan | None, options: type[GeneralOptions], settings: Level) -> Level:
    """Return the settings with the run that the launch goes on with, or goes on from by a new one."""
    if plan is None:
        return settings
    settings = settings | _continued(plan.plan, options, settings)
    return plan.with_resume(make_config(options, settings), settings)


def _continued(plan: LaunchPlan, options: type[GeneralOptions], settings: Level) -> Level:
    """Return what `slipway continue` gives to the run that the plan names, or gave it when it began."""
    reader = _reader_of(options)
    if plan.resume not in (None, "auto"):
        if not Path(plan.resume, RECORD).is_file():
            return {}  # on a machine that does not have it
        record = read_record(Path(plan.resume))
        continues = (record.get("command") or {}).get("continues") or {}
        is_meant = is_of_name(settings, continues.get("experiment_name"))
        return options_of_record(record, reader, str(Path(plan.resume, RECORD))) if is_meant else {}
    if plan.continues is None or not is_of_name(settings, plan.continues.experiment_name):
        return {}
    return _merge(options, [*continued_options(options, plan.continues, reader)])


def _read_resumed_run(config: GeneralOptions, reader: SettingsReader) -> Level:
    """Return the options of the recipe, and the place, of the run that `resume` names; {} if it names none."""
    if config.resume is None or config.resume == "auto":
        return {}
    folder = resolve_name(config.resume, Path(config.runs_dir)).run
    saved, where = read_record(folder).get("config"), format_path(folder / RECORD)
    if not isinstance(saved, dict):
        raise UserError(f"{where}: it does not hold the options of the run; start another run")
    saved_options = {
        field.name: saved[field.name]
        for field in dataclasses.fields(config)
        # An option that the record lacks was added by a later version.
        if (field.metadata["group"].decides_weights or field.name == "experiment_name") and field.name in saved
    }
    saved_options["runs_dir"] = str(folder.parent)
    _find_task_again(saved_options, folder)
    return reader.read_mapping(saved_options, where, "run", where, "config.")


def _find_task_again(options: dict[str, Any], run: Path) -> None:
    """Name the file of a run's task by its full path, if it is found from the folder where the run was started only."""
    name, started = options.get("task"), read_record(run).get("command") or {}
    if isinstance(name, str) and isinstance(started, dict) and isinstance(started.get("folder"), str):
        file, colon, function = name.rpartition(":") if ":" in name else (name, "", "")
        there = Path(started["folder"], file)
        if file.endswith(".py") and not Path(file).is_file() and there.is_file():
            options["task"] = f"{there}{colon}{function}"


def _format_value(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={one}" for name, one in value.items())
    if isinstance(value, tuple):
        return ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return str(value)

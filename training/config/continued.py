"""The options of a run that goes on from another one: the recipe of that one, and what `slipway continue` was asked for."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.plan_file import ContinuedRun
from ..common.run_names import RECORD, read_record
from ..common.settings import Level, Origin, Setting, SettingsReader
from .options import GeneralOptions
from .recipe import Stage
from .stages import says_weight_decay

ORIGIN: Origin = "continued run"
FACTOR = 0.3
"""Of the peak learning rate, where no stages are named: that of the preset fine_tune."""

_OF_STAGES = ("epochs", "patience", "weight_decay", "schedule", "warmup_epochs", "dropout")
"""Options that set every stage alike: those of the earlier run are in its stage, and not meant for stages of another kind."""
_OF_ONE_RUN = ("quick_test", "max_steps", "seeds", "start_from")
"""Options that the earlier run had for itself."""


def continued_options(
    options: type[GeneralOptions], asked: ContinuedRun, reader: SettingsReader
) -> tuple[Level, Level]:
    """Return what a run takes of the one that it goes on from, and what was asked for, which is stronger.

    Without stages of its own it trains the last stage of that run once more, at a fraction of the learning rate. Raises
    `UserError` for a record that does not hold this, and for what was asked and is no option or none of its values.
    """
    run = Path(asked.run)
    record = read_record(run)
    where = str(run / RECORD)
    saved = record.get("config")
    if not isinstance(saved, dict):
        raise UserError(f"{where}: it does not hold the options of the run; start a run with --start-from {run}")
    saved = {**saved, **(record.get("part") or {})}
    if saved.get("task") is None and "task" in asked.options:
        raise UserError(
            f"slipway continue: {run.name} is of the built-in task, and --task {asked.options['task']} is another one: "
            "continue a run of the same task, or begin with `slipway train`"
        )
    taken: dict[str, Any] = {}
    for one in dataclasses.fields(options):
        if one.name in (*_OF_STAGES, *_OF_ONE_RUN):
            taken[one.name] = one.default
        elif one.metadata["group"].decides_weights and one.name in saved:
            taken[one.name] = saved[one.name]
    if "stages_config" not in asked.options:
        taken["stages_config"] = _last_stage(record, saved, where)
    study = run.parent if (run.parent / RECORD).is_file() else None
    name = run.name if study is None else f"{study.name}-{run.name}"
    taken |= {
        "start_from": str(run),
        "experiment_name": f"{re.sub(r'-continued(-[0-9]+)?$', '', name)}-continued",
        "runs_dir": str((study or run).parent),
        "resume": None,
        "overwrite": False,
        "allow_recipe_change": False,
    }
    command = "slipway continue"
    return (
        reader.read_mapping(taken, where, ORIGIN, where, "config."),
        reader.read_mapping(asked.options, command, ORIGIN, command),
    )


def options_of_record(record: Mapping[str, Any], reader: SettingsReader, where: str) -> Level:
    """Return the options that `slipway continue` gave to the run of a record; {} for any other run."""
    continues = (record.get("command") or {}).get("continues")
    if not isinstance(continues, Mapping):
        return {}
    return reader.read_mapping(continues["options"], where, ORIGIN, where, "command.continues.options.")


def facts_of(settings: Level, planned: ContinuedRun | None, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the record of a run says of `slipway continue`, which `slipway resume` needs; None for any other run."""
    options = {name: setting.value for name, setting in settings.items() if setting.origin == ORIGIN}
    if not options:
        return None
    before = (record.get("command") or {}).get("continues") or {}
    run, name = (
        (before.get("run"), before.get("experiment_name"))
        if planned is None
        else (planned.run, planned.experiment_name)
    )
    asked = before.get("asked") if planned is None else planned.options
    return {"run": run, "experiment_name": name, "asked": asked, "options": {**options, "resume": None}}


def is_of_name(settings: Level, experiment_name: str | None) -> bool:
    """Return whether a training of a script is the one that was given this name, if it was."""
    setting: Setting | None = settings.get("experiment_name")
    return setting is None or setting.origin != "user" or setting.value == experiment_name


def _last_stage(record: Mapping[str, Any], saved: Mapping[str, Any], where: str) -> str:
    """Return the last stage of a run as a list of one stage, at a fraction of the learning rate."""
    try:
        stage = dict(record["recipe"]["stages"][-1])
        own_optimizer = record["recipe"].get("own_optimizer")
        stage_decay = own_optimizer is None or own_optimizer["stage_decay"]
    except (KeyError, IndexError, TypeError, ValueError):
        raise UserError(f"{where}: its recipe has no stages; give --type or --stages-config") from None
    options = stage.pop("options", None) or {}
    usual = {one.name: one.default for one in dataclasses.fields(Stage)}
    said = {name: value for name, value in stage.items() if name in usual and value != usual[name]}
    said.pop("improvement_threshold", None)
    is_given = saved.get("weight_decay") is not None or says_weight_decay(str(saved.get("stages_config", "")))
    if not stage_decay and not is_given:
        said.pop("weight_decay", None)
    elif own_optimizer is not None:
        said["weight_decay"] = stage["weight_decay"]
    return json.dumps([{**said, "learning_rate_factor": FACTOR, **options}])

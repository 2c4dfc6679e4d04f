"""Conversion of the records that earlier versions wrote of their runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...common.conversion import field_types
from ...common.errors import UserError
from ...config.recipe import LATER_FIELDS
from ...storage.run_folder import RUN_SCHEMA_VERSION
from ...tasks.task import Task


def recipe_of_record(record: Mapping[str, Any], task: Task | None) -> dict[str, Any]:
    """Return the recipe of a run's record in the present layout, without what an earlier version did not record.

    Raises `UserError` for a record of another version that cannot be read.
    """
    version, name = record.get("schema_version"), record["name"]
    if version == RUN_SCHEMA_VERSION:
        return {**LATER_FIELDS, **record["recipe"]}
    if version != 1 or task is None:
        raise UserError(
            f"{name}: its run.json was written by another version (schema {version}); go on with that version of Slipway, "
            "or start another run"
        )
    try:
        return _from_version_1(record, task)
    except (KeyError, TypeError):
        raise UserError(f"{name}: its recipe was written by another version; start another run") from None


def _from_version_1(record: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Convert a recipe that held the options of sign recognition, whatever the task was."""
    saved, of_data = record["recipe"], record["data"]
    spec: dict[str, Any] = {"name": saved["task"]}
    if saved["task"] == "sign":
        names = ("split", "train_ratio", "duplicates")
        spec["options"] = {"data": {name: saved["data"][name] for name in names}, "model": saved["model"]}
    if "fingerprint" in of_data:
        spec["data_fingerprint"] = of_data["fingerprint"]
    elif of_data.get("samples") != task.describe().get("samples"):
        spec["data_fingerprint"] = str(of_data.get("samples"))
    known = field_types(task.stage_options) if task.stage_options is not None else {}
    stages = [{**stage, "options": {name: stage[name] for name in known if name in stage}} for stage in saved["stages"]]
    resolution = dict(saved["resolution"])
    resolution["batch_size_factor"] = resolution.pop("learning_rate_factor")
    return {**LATER_FIELDS, **saved, "task": spec, "stages": stages, "tf32": False, "resolution": resolution}

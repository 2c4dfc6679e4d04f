"""Send the events of a journal to an observer, as the run did."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...training.common.program.doors import door
from ...training.config.plan import Plan
from ...training.config.recipe import OptimizerSpec, Recipe, Resolution, Stage, TaskSpec
from ...training.observers.events import (
    CheckpointSaved,
    Decision,
    EpochEnd,
    Observer,
    RunEnd,
    RunStart,
    StageEnd,
    StageStart,
    StepEnd,
)

T = TypeVar("T")


class Replay:
    """Sends events to an observer; its clock is that of the run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recipe: Recipe | None = None
        self.seconds = 0.0
        """The time of the last event, since its process started."""
        self.step = 0
        """The last one that was sent."""

    def clock(self) -> float:
        """Return the time of the last event in seconds."""
        return self.seconds

    def send(self, event: Mapping[str, Any], observer: Observer) -> None:
        """Send an event. Raises `UserError` for one that no run writes."""
        with door(self._folder / "events.jsonl", "name a run of this version of Slipway"):
            self.seconds = float(event.get("time_seconds", self.seconds))
            self._send(event, observer)

    def _send(self, event: Mapping[str, Any], observer: Observer) -> None:
        kind = event["event"]
        if kind == "run":
            self._recipe = _recipe(event["recipe"])
            observer.on_run_start(
                RunStart(
                    name=str(event["name"]),
                    folder=self._folder,
                    recipe=self._recipe,
                    plan=_plan(event["plan"]),
                    description=event["description"],
                    num_parameters=int(event["num_parameters"]),
                    num_stages=int(event["num_stages"]),
                )
            )
        elif kind == "stage" and self._recipe is not None:
            number = int(event["stage"])
            observer.on_stage_start(
                StageStart(
                    number=number, stage=self._recipe.stages[number], **_known(event, StageStart, "number", "stage")
                )
            )
        elif kind == "step":
            self.step = int(event["step"])
            numbers = {name: float("nan") if event[name] is None else event[name] for name in _MAY_BE_NO_NUMBER}
            observer.on_step(
                StepEnd(stage_number=event["stage"], **{**_known(event, StepEnd, "stage_number"), **numbers})
            )
        elif kind == "epoch":
            observer.on_epoch_end(EpochEnd(stage_number=event["stage"], **_known(event, EpochEnd, "stage_number")))
        elif kind == "stage_end":
            observer.on_stage_end(StageEnd(number=event["stage"], row=event["row"]))
        elif kind == "run_end":
            observer.on_run_end(RunEnd(result=event["result"], folder=self._folder))
        elif kind == "checkpoint":
            observer.on_checkpoint_saved(
                CheckpointSaved(step=event["step"], name=event["checkpoint"], num_bytes=event["bytes"])
            )
        elif "reason" in event:
            observer.on_decision(
                Decision(kind=kind, reason=str(event["reason"]), warning=bool(event.get("warning")), fields={})
            )


_MAY_BE_NO_NUMBER = ("learning_rate", "loss", "gradient_norm")


def _known(event: Mapping[str, Any], kind: type[Any], *left_out: str) -> dict[str, Any]:
    """Return what an event holds of the fields of a record."""
    return {
        one.name: event[one.name] for one in dataclasses.fields(kind) if one.name in event and one.name not in left_out
    }


def _built(kind: type[T], values: Mapping[str, Any], **others: Any) -> T:
    """Return a record of the values that it knows: a journal may be of an older version."""
    names = {one.name for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{**{name: value for name, value in values.items() if name in names}, **others})


def _recipe(values: Mapping[str, Any]) -> Recipe:
    stages = tuple(_built(Stage, stage) for stage in values["stages"])
    return _built(
        Recipe,
        values,
        task=_built(TaskSpec, values["task"]),
        optimizer=_built(OptimizerSpec, values["optimizer"]),
        stages=stages,
        own_optimizer=None,
        own_schedule=None,
        resolution=_built(Resolution, values["resolution"]),
    )


def _plan(values: Mapping[str, Any]) -> Plan:
    reasons = tuple((str(name), str(reason)) for name, reason in dict(values.get("reasons", {})).items())
    return _built(Plan, values, reasons=reasons, share_weights=tuple(values["share_weights"]))

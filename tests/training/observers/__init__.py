"""The events of a small run, as the trainer sends them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Recipe, Stage, TaskSpec
from slipway.training.observers.events import (
    Decision,
    EpochEnd,
    Observer,
    ProfileEnd,
    RunEnd,
    RunStart,
    SectionTime,
    StageEnd,
    StageStart,
    StepEnd,
)

STAGES = (Stage(name="first [stage]", epochs=2), Stage(name="second", epochs=1))
STEPS_PER_EPOCH = 3


def make_plan(**changes: Any) -> Plan:
    values = {
        "world_size": 2,
        "device": "cpu",
        "device_name": "Some CPU",
        "micro_batch_size": 8,
        "gradient_accumulation": 4,
        "share_weights": (1.0, 1.0),
        "reduction": "flat",
        "num_workers": 0,
        "threads_per_process": 1,
        "reasons": (("reduction", "it is cheaper for a small model"),),
    }
    return Plan(**{**values, **changes})


def make_run_start(recipe: Recipe | None = None, **changes: Any) -> RunStart:
    recipe = recipe or Recipe(task=TaskSpec(name="trial"), stages=STAGES).resolve(2, "no")
    values = {
        "name": "trial",
        "folder": Path("runs/trial"),
        "recipe": recipe,
        "plan": make_plan(),
        "description": {"data": "hands", "synthetic": True, "classes": 26, "samples": {"train": 150, "test": 40}},
        "num_parameters": 12345,
        "num_stages": len(recipe.stages),
    }
    return RunStart(**{**values, **changes})


def make_step(step: int, loss: float = 0.5, *, stage: int = 0, epoch: int = 0, step_in_epoch: int = 0) -> StepEnd:
    return StepEnd(
        step=step,
        stage_number=stage,
        epoch=epoch,
        step_in_epoch=step_in_epoch,
        learning_rate=0.004 / step,
        loss=loss,
        gradient_norm=1.5,
        samples_per_rank=[25, 25],
        micro_batches=1,
    )


def make_stage_start(number: int = 0) -> StageStart:
    stage = STAGES[number]
    return StageStart(
        number=number,
        stage=stage,
        peak_learning_rate=0.004,
        num_epochs=stage.epochs,
        steps_per_epoch=STEPS_PER_EPOCH,
    )


def make_profile(**changes: Any) -> ProfileEnd:
    sections = (
        SectionTime(name="data_wait", times=4, seconds=0.01, device_seconds=None),
        SectionTime(name="forward", times=2, seconds=0.03, device_seconds=None),
        SectionTime(name="save", times=0, seconds=0.0, device_seconds=None),
        SectionTime(name="evaluate", times=0, seconds=0.0, device_seconds=None),
        SectionTime(name="other", times=None, seconds=0.01, device_seconds=None),
    )
    values = {
        "trace": Path("runs/trial/profile/rank_0.trace.json.gz"),
        "first_step": 2,
        "steps": 2,
        "seconds": 0.05,
        "seconds_per_step_before": 0.02,
        "sections": sections,
    }
    return ProfileEnd(**{**values, **changes})


def make_result() -> dict[str, Any]:
    rows = [
        {
            "stage": stage.name,
            "epochs": stage.epochs,
            "best_epoch": stage.epochs,
            "validation_accuracy": 0.8125,
            "validation_loss": 0.75,
            "stopped": "at its end",
            "seconds": 61.4,
        }
        for stage in STAGES
    ]
    test = {"test_accuracy": 0.9234, "test_macro_f1": 0.9111, "test_top5_accuracy": 0.9876, "test_loss": 0.3333}
    return {**test, "stages": rows, "steps": 9, "seconds": 123.4}


def events_of_a_run() -> Iterator[Any]:
    """Yield the events of two stages, three epochs and nine steps, with two decisions and a profile."""
    result = make_result()
    yield make_run_start()
    yield Decision(kind="batch_rule", reason="the batch follows", fields={"global_batch_size": 64})
    step = 0
    for number, stage in enumerate(STAGES):
        yield make_stage_start(number)
        for epoch_in_stage in range(stage.epochs):
            epoch = epoch_in_stage + 2 * number
            for step_in_epoch in range(STEPS_PER_EPOCH):
                step += 1
                yield make_step(step, 3.0 / step, stage=number, epoch=epoch, step_in_epoch=step_in_epoch)
                if step == 3:
                    yield make_profile()
            yield EpochEnd(
                stage_number=number,
                epoch=epoch,
                epoch_in_stage=epoch_in_stage,
                samples_seen=150,
                train_loss=1.25,
                validation={"loss": 0.75, "accuracy": 0.8125, "confusion_matrix": [[1, 0], [0, 1]]},
                improved=epoch_in_stage == 0,
                best=0.8125,
                seconds=2.5,
            )
        yield StageEnd(number=number, row=result["stages"][number])
    yield Decision(kind="small_data", reason="few samples", warning=True, fields={"samples": 150})
    yield RunEnd(result=result, folder=Path("runs/trial"))


def send(observer: Observer, event: Any) -> None:
    """Call the observer's method for an event."""
    methods = {
        RunStart: observer.on_run_start,
        StageStart: observer.on_stage_start,
        StepEnd: observer.on_step,
        EpochEnd: observer.on_epoch_end,
        StageEnd: observer.on_stage_end,
        Decision: observer.on_decision,
        ProfileEnd: observer.on_profile,
        RunEnd: observer.on_run_end,
    }
    methods[type(event)](event)

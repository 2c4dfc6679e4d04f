"""The points of TensorBoard's event files and of a journal, to compare them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from slipway.training.observers.journal import lineage, read_journal


def points_of_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the step and value of each point of a run, by name, in the order in which they were written."""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def tags_of_tensorboard(folder: Path) -> set[str]:
    """Return the names of what a run's event files hold, the settings too."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return set(events.summary_metadata)


def points_of_journal(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard must have of a run, in its single precision."""
    points: dict[str, list[tuple[int, float]]] = {}

    def add(step: int, **values: float) -> None:
        for name, value in values.items():
            points.setdefault(name.replace("__", "/"), []).append((step, float(np.float32(value))))

    events, step = read_journal(folder / "events.jsonl"), 0
    for one in lineage(events):
        add(
            one["step"],
            train__loss=one["loss"],
            train__learning_rate=one["learning_rate"],
            train__gradient_norm=one["gradient_norm"],
        )
    for event in events:
        step = event["step"] if event["event"] == "step" else step
        if event["event"] == "epoch":
            add(step, epoch__number=event["epoch"], epoch__train_loss=event["train_loss"])
            add(step, epoch__seconds=event["seconds"])
            add(step, **{f"validation__{name}": value for name, value in event["validation"].items()})
        elif event["event"] == "run_end":
            numbers = {name: one for name, one in event["result"].items() if isinstance(one, int | float)}
            add(step, **{f"test__{name[5:]}": one for name, one in numbers.items() if name.startswith("test_")})
    return points

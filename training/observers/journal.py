"""The journal: every step and every decision of a run as one JSON object a line, in a documented schema."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.errors import UserError
from training.observers.events import Decision, EpochEnd, Observer, RunEnd, RunStart, StageEnd, StageStart, StepEnd
from training.typed import plain_values

logger = logging.getLogger("slipway")

SCHEMA_VERSION = 1
FLUSH_STEPS = 200
FLUSH_SECONDS = 10.0

COMMON_FIELDS: dict[str, str] = {
    "event": "name of the event",
    "time_seconds": "seconds since the start of the run, never going back; of a step: when it was queued",
    "non_finite": "only where needed: the fields that were NaN or infinite and are written as null",
}
"""The fields of every line."""

EVENT_FIELDS: dict[str, dict[str, str]] = {
    "run": {
        "wall_time": "date and time in UTC, ISO 8601",
        "schema_version": f"version of this schema: {SCHEMA_VERSION}",
        "name": "name of the experiment",
        "recipe": "what is learned, as in `run.json`",
        "recipe_hash": "hash of the recipe",
        "plan": "how it is computed, as in `run.json`",
        "description": "what the task says of its data and model",
        "num_parameters": "parameters of the model",
        "num_stages": "stages of the recipe",
    },
    "stage": {
        "stage": "number of the stage, from 0",
        "name": "its name",
        "peak_learning_rate": "highest learning rate of the stage",
        "num_epochs": "most epochs it trains",
        "steps_per_epoch": "optimizer steps in an epoch",
    },
    "step": {
        "step": "optimizer steps done in the run, this one included",
        "stage": "number of the stage, from 0",
        "epoch": "epoch of the run, from 0",
        "step_in_epoch": "step of the epoch, from 0",
        "learning_rate": "learning rate of this step",
        "loss": "mean over the global batch",
        "gradient_norm": "norm of the global gradient, before clipping",
        "samples_per_rank": "samples each rank trained on, by rank",
        "micro_batches": "forward passes of rank 0",
    },
    "epoch": {
        "stage": "number of the stage, from 0",
        "epoch": "epoch of the run, from 0",
        "epoch_in_stage": "epoch of the stage, from 0",
        "samples_seen": "samples trained on in this epoch, over all ranks",
        "train_loss": "mean training loss of the epoch",
        "validation": "validation metrics by name, those that are one number; empty without a validation split",
        "improved": "whether the monitored metric is the best of the stage so far",
        "best": "best value of the monitored metric in the stage so far",
        "seconds": "duration of the epoch with its validation",
    },
    "stage_end": {
        "stage": "number of the stage, from 0",
        "row": "the stage's row of results, as in `run.json`",
    },
    "run_end": {"result": "the result, as in `run.json`"},
    "decision": {
        "reason": "one sentence for a person",
        "warning": "whether it was shown as a warning",
    },
}
"""The fields of each event beside the common ones. A decision's event is its kind, and it adds fields of its own."""

EXAMPLE_LINE = (
    '{"event": "step", "time_seconds": 1.204, "step": 12, "stage": 0, "epoch": 0, "step_in_epoch": 11, '
    '"learning_rate": 0.002, "loss": 2.25, "gradient_norm": 1.5, "samples_per_rank": [25, 25], "micro_batches": 1}'
)


class Journal(Observer):
    """Appends the events of a run to a file of JSON lines, in order.

    Steps are held back until `FLUSH_STEPS` of them or `FLUSH_SECONDS` have come together, another event is written, or the
    run is saved.
    A torn last line, left by a process that was killed, is cut off first.
    """

    def __init__(self, path: Path) -> None:
        _mend_tail(path)
        self._file = path.open("a", encoding="utf-8", newline="\n")
        self._start = time.perf_counter()
        self._flush_at = self._start + FLUSH_SECONDS
        self._steps: list[tuple[float, StepEnd]] = []

    def on_run_start(self, event: RunStart) -> None:
        """Write what is trained and how."""
        self._write(
            "run",
            {
                "wall_time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "schema_version": SCHEMA_VERSION,
                "name": event.name,
                "recipe": event.recipe.as_dict(),
                "recipe_hash": event.recipe.hash,
                "plan": event.plan.as_dict(),
                "description": event.description,
                "num_parameters": event.num_parameters,
                "num_stages": event.num_stages,
            },
        )

    def on_stage_start(self, event: StageStart) -> None:
        """Write the size of a stage; its settings stand in the recipe."""
        self._write(
            "stage",
            {
                "stage": event.number,
                "name": event.stage.name,
                "peak_learning_rate": event.peak_learning_rate,
                "num_epochs": event.num_epochs,
                "steps_per_epoch": event.steps_per_epoch,
            },
        )

    def on_step(self, event: StepEnd) -> None:
        """Hold a step back until the next flush."""
        now = time.perf_counter()
        self._steps.append((now, event))
        if now >= self._flush_at or len(self._steps) >= FLUSH_STEPS:
            self.flush()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Write an epoch; of its validation the plain numbers, not such things as a confusion matrix."""
        validation = {name: value for name, value in event.validation.items() if _is_scalar(value)}
        self._write(
            "epoch",
            {
                "stage": event.stage_number,
                "epoch": event.epoch,
                "epoch_in_stage": event.epoch_in_stage,
                "samples_seen": event.samples_seen,
                "train_loss": event.train_loss,
                "validation": validation,
                "improved": event.improved,
                "best": event.best,
                "seconds": event.seconds,
            },
        )

    def on_stage_end(self, event: StageEnd) -> None:
        """Write a stage's row of results."""
        self._write("stage_end", {"stage": event.number, "row": event.row})

    def on_decision(self, event: Decision) -> None:
        """Write a decision as an event named by its kind; a name that is taken gets the prefix `decision_`."""
        common = {"reason": event.reason, "warning": event.warning}
        taken = {*COMMON_FIELDS, *common}
        own = {(f"decision_{name}" if name in taken else name): value for name, value in event.fields.items()}
        self._write(f"decision_{event.kind}" if event.kind in EVENT_FIELDS else event.kind, {**common, **own})

    def on_run_end(self, event: RunEnd) -> None:
        """Write the result."""
        self._write("run_end", {"result": event.result})

    def on_save(self) -> None:
        """Write the steps that the checkpoint will count as done."""
        self.flush()

    def flush(self) -> None:
        """Write the steps held back."""
        self._flush_at = time.perf_counter() + FLUSH_SECONDS
        if self._steps:
            steps, self._steps = self._steps, []
            self._file.writelines(_step_line(issued - self._start, event) for issued, event in steps)
        self._file.flush()

    def close(self) -> None:
        """Write what is held back and close the file. Never raises, so as not to hide the failure that led here."""
        if self._file.closed:
            return
        num_held_back = len(self._steps)
        try:
            self.flush()
        except OSError as error:  # the disk is full
            logger.warning("journal: the last %d steps are missing: %s", num_held_back, str(error).split("\n")[0])
        try:
            self._file.close()
        except OSError as error:
            logger.warning("journal: %s", error)

    def _write(self, name: str, fields: Mapping[str, Any]) -> None:
        seconds = round(time.perf_counter() - self._start, 3)
        self.flush()
        non_finite: list[str] = []
        line = {"event": name, "time_seconds": seconds, **plain_values(fields, "", non_finite)}
        if non_finite:
            line["non_finite"] = non_finite
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal. A torn last line, of a run that is going on or was killed, is left out.

    Raises `UserError` for a missing file and, with its number, for any other line that is not a JSON object.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: no readable journal here ({error.strerror}); give a run's events.jsonl") from error
    *lines, tail = content.split(b"\n")
    events = []
    for number, line in enumerate(lines, 1):
        event = _parsed(line)
        if event is None:
            raise UserError(f"{path}: line {number} is not a JSON object; mend or delete that line")
        events.append(event)
    last = _parsed(tail)
    return events if last is None else [*events, last]


def describe_schema() -> str:
    """Return the schema as Markdown: the text of docs/journal.md."""
    parts = [
        "# The journal",
        "A run writes `events.jsonl` in its folder: one JSON object a line, in the order of what happened. "
        "The first line is the `run` event. A stage is a `stage`, its `step` and `epoch` events, then a `stage_end`; "
        "`run_end` comes last, and only in a run that was not broken off. "
        "Every line is valid JSON: what is NaN or infinite is `null`, and `non_finite` names it.",
        f"```json\n{EXAMPLE_LINE}\n```",
        "`training.observers.journal.read_journal(path)` returns the lines as dictionaries. "
        "This page is `describe_schema()` of the same module; a test compares them.",
        "## Every line\n\n" + _field_table(COMMON_FIELDS),
    ]
    for name, fields in EVENT_FIELDS.items():
        if name == "decision":
            parts.append(
                "## Decisions\n\nA choice made for the user, or a warning, at any time. The event is named by its "
                "kind, such as `batch_rule`, `fallback`, `early_stop` or `small_data`, and has the numbers behind it "
                "as further fields.\n\n" + _field_table(fields)
            )
        else:
            parts.append(f"## `{name}`\n\n{_field_table(fields)}")
    return "\n\n".join(parts) + "\n"


def _field_table(fields: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in fields.items()]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])


def _step_line(seconds: float, event: StepEnd) -> str:
    """Return the line of a step. Formatted by hand, as it is written for every step: half the time of `json.dumps`."""
    rate, loss, gradient_norm = event.learning_rate, event.loss, event.gradient_norm
    note = "" if math.isfinite(loss + gradient_norm + rate) else _non_finite_note(rate, loss, gradient_norm)
    return (
        f'{{"event": "step", "time_seconds": {seconds:.3f}, "step": {event.step}, '
        f'"stage": {event.stage_number}, "epoch": {event.epoch}, "step_in_epoch": {event.step_in_epoch}, '
        f'"learning_rate": {_number(rate)}, "loss": {_number(loss)}, "gradient_norm": {_number(gradient_norm)}, '
        f'"samples_per_rank": [{", ".join(map(str, event.samples_per_rank))}], '
        f'"micro_batches": {event.micro_batches}{note}}}\n'
    )


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else "null"


def _non_finite_note(rate: float, loss: float, gradient_norm: float) -> str:
    values = {"learning_rate": rate, "loss": loss, "gradient_norm": gradient_norm}
    names = [name for name, value in values.items() if not math.isfinite(value)]
    return f', "non_finite": {json.dumps(names)}' if names else ""


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str)) or getattr(value, "shape", None) == ()


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _mend_tail(path: Path) -> None:
    """End an existing journal with a whole line, so that what is appended starts a new one."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        tail = file.read().rsplit(b"\n", 1)[-1]
        if _parsed(tail) is not None:
            file.write(b"\n")
        elif tail:
            file.truncate(file.tell() - len(tail))

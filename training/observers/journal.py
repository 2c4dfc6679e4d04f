"""The journal: every step and every decision of a run, one JSON object per line, in the schema of `journal_schema`."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from ..common.conversion import plain_values
from ..common.errors import UserError
from ..common.program.doors import door
from ..common.program.private import open_file
from ..common.program.redaction import without_secrets
from ..common.small_files import UnreadableError, open_regular, parse_json
from .events import Decision, EpochEnd, Observer, ProfileEnd, RunEnd, RunStart, StageEnd, StageStart, StepEnd
from .journal_schema import COMMON_FIELDS, EVENT_FIELDS, SCHEMA_VERSION

logger = logging.getLogger("slipway")

FLUSH_STEPS = 200
FLUSH_SECONDS = 1.0

_MOST_HELD_BYTES = 16 << 20
"""Of lines that wait until a full disk has room again."""

_TAIL_BYTES = 1 << 16


class Journal(Observer):
    """Appends the events of a run to a file of JSON lines, in order.

    Steps are buffered until there are `FLUSH_STEPS` of them, `FLUSH_SECONDS` are over, another event is written, or the run
    is saved. An incomplete last line, left by a process that was killed, is removed first. What a full disk has no room for
    is kept and written later. Raises `UserError` if the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._unwritten = bytearray(_fix_tail(path))
            # Unbuffered: after a failed write it must be known what was written and what not.
            self._file = _open(path)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; choose a folder that can be written") from None
        self._lost_lines = 0
        self._is_stuck = False
        self._start = time.perf_counter()
        self._flush_at = self._start + FLUSH_SECONDS
        self._steps: list[tuple[float, StepEnd]] = []
        self._data_wait_seconds = 0.0

    def on_run_start(self, event: RunStart) -> None:
        """Write recipe, plan and task."""
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
        """Buffer a step until the next flush."""
        now = time.perf_counter()
        self._steps.append((now, event))
        self._data_wait_seconds += event.data_wait_seconds
        if now >= self._flush_at or len(self._steps) >= FLUSH_STEPS:
            self.flush()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Write an epoch; of its validation only single numbers, not such things as a confusion matrix."""
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
                "data_wait_seconds": round(self._data_wait_seconds, 6),
            },
        )
        self._data_wait_seconds = 0.0

    def on_stage_end(self, event: StageEnd) -> None:
        """Write a stage's row of results."""
        self._write("stage_end", {"stage": event.number, "row": event.row})

    def on_decision(self, event: Decision) -> None:
        """Write a decision as an event named by its kind; a name that is taken gets the prefix `decision_`."""
        common = {"reason": event.reason, "warning": event.warning}
        taken = {*COMMON_FIELDS, *common}
        own = {(f"decision_{name}" if name in taken else name): value for name, value in event.fields.items()}
        self._write(f"decision_{event.kind}" if event.kind in EVENT_FIELDS else event.kind, {**common, **own})

    def on_profile(self, event: ProfileEnd) -> None:
        """Write where the time went."""
        self._write("profile", asdict(event))

    def on_run_end(self, event: RunEnd) -> None:
        """Write the result."""
        self._write("run_end", {"result": event.result})

    def on_save(self) -> None:
        """Write the steps that the checkpoint will count as done."""
        self.flush()

    def flush(self) -> None:
        """Write the buffered steps."""
        self._flush_at = time.perf_counter() + FLUSH_SECONDS
        steps, self._steps = self._steps, []
        self._append(_step_line(issued - self._start, event) for issued, event in steps)

    def close(self) -> None:
        """Write what is buffered and close the file. Never raises, so as not to hide the failure that led here."""
        if self._file.closed:
            return
        self.flush()
        num_missing = self._unwritten.count(b"\n") + self._lost_lines
        if num_missing:
            logger.warning("%s: the last %d lines are missing", self._path, num_missing)
        try:
            self._file.close()
        except OSError as error:
            logger.warning("%s: %s", self._path, error.strerror)

    def _write(self, name: str, fields: Mapping[str, Any]) -> None:
        seconds = round(time.perf_counter() - self._start, 3)
        self.flush()
        self._append([without_secrets(_line(name, seconds, fields))])

    def _append(self, lines: Iterable[str]) -> None:
        for line in lines:
            if len(self._unwritten) > _MOST_HELD_BYTES:
                self._lost_lines += 1
            else:
                self._unwritten += line.encode()
        self._write_out()
        if self._lost_lines and not self._unwritten:
            reason = f"{self._lost_lines} lines are missing: the disk was full"
            fields = {"reason": reason, "warning": True, "lines": self._lost_lines}
            self._unwritten += _line("journal_gap", round(time.perf_counter() - self._start, 3), fields).encode()
            self._lost_lines = 0
            self._write_out()

    def _write_out(self) -> None:
        """Write what waits. If a write stops half-way, the rest is kept and completes the line later."""
        try:
            if self._unwritten and not self._path.exists():
                # It was removed, with its folder perhaps: what follows is kept.
                removed, self._file = self._file, _open(self._path)
                removed.close()
            while self._unwritten:
                written = self._file.write(self._unwritten)
                del self._unwritten[:written]
            self._is_stuck = False
        except OSError as error:
            if not self._is_stuck:
                problem = f"{self._path} cannot be written ({error.strerror})"
                logger.warning("%s: training goes on, and its events are kept for later", problem)
            self._is_stuck = True


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal. An incomplete last line, of a run that goes on or was killed, is left out.

    Raises `UserError` for a missing file and, with its number, for any other line that is not an event.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except (OSError, UnreadableError) as error:
        problem = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: no readable journal here ({problem}); give a run's events.jsonl") from error
    *lines, tail = content.split(b"\n")
    events = []
    for number, line in enumerate(lines, 1):
        event = parse_event(line)
        if event is None:
            raise UserError(f"{path}: line {number} is no event (a JSON object with `event`); fix or delete that line")
        events.append(event)
    last = parse_event(tail)
    return events if last is None else [*events, last]


def lineage(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the `step` events that led to the final weights, each step once, in order.

    A `resume` or `rewind` event supersedes the steps before it whose number is above its `step`, and the batches that a
    `rewind` skips do not count. Raises `UserError` for events that no run writes.
    """
    with door("the journal", "remove its damaged lines"):
        return _lineage(events)


def _lineage(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    steps: list[Mapping[str, Any]] = []
    for event in events:
        if event["event"] == "step":
            steps.append(event)
        elif event["event"] in ("resume", "rewind"):
            while steps and steps[-1]["step"] > event["step"]:
                steps.pop()
            skipped = {(one["epoch"], one["step_in_epoch"]) for one in event.get("passed_over", ())}
            if skipped:
                # A bad batch that the checkpoint counts as done changed no weight.
                steps = [step for step in steps if (step["epoch"], step["step_in_epoch"]) not in skipped]
    return steps


def _step_line(seconds: float, event: StepEnd) -> str:
    """Return the line of a step. Formatted by hand, since there is one for every step: half the time of `json.dumps`."""
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


def parse_event(line: bytes) -> dict[str, Any] | None:
    """Return the event of a journal's line; `None` if it is none, such as half of one."""
    try:
        event = parse_json(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _line(name: str, seconds: float, fields: Mapping[str, Any]) -> str:
    non_finite: list[str] = []
    line = {"event": name, "time_seconds": seconds, **plain_values(fields, "", non_finite)}
    if non_finite:
        line["non_finite"] = non_finite
    return json.dumps(line, allow_nan=False) + "\n"


def _open(path: Path) -> FileIO:
    return open(open_file(path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0)


def _fix_tail(path: Path) -> bytes:
    """Remove an incomplete last line of an existing journal; return the line end that a complete one lacks."""
    if not path.exists():
        return b""
    with path.open("r+b") as file:
        tail = _last_line(file)
        if parse_event(tail) is not None:
            return b"\n"
        if tail:
            file.truncate(file.seek(0, os.SEEK_END) - len(tail))
    return b""


def _last_line(file: BinaryIO) -> bytes:
    """Return what follows the last line end, read from the end of the file."""
    size = file.seek(0, os.SEEK_END)
    tail = b""
    while len(tail) < size and b"\n" not in tail:
        start = max(0, size - len(tail) - _TAIL_BYTES)
        file.seek(start)
        tail = file.read(size - len(tail) - start) + tail
    return tail.rsplit(b"\n", 1)[-1]

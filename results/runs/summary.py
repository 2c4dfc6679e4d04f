"""What is told of a run in a list of runs, read from the start of its record and the end of its journal."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...training.common.conversion import from_mapping
from ...training.common.errors import UserError
from ...training.common.run_names import RECORD, is_held
from ...training.common.small_files import UnreadableError, open_regular, parse_json, read_json
from ..common.values import at, counts, mapping, number, rows, text

_TAIL_BYTES = 1 << 16
_SPLITS = ("test", "validation")
_OF_A_STUDY = "mean_"


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The state of a run, read from its folder."""

    name: str
    folder: str
    state: str
    """`running`, `finished`, `interrupted`, `failed`, or `dead`: marked as running, but no process has its lock."""
    stage: str | None
    step: int | None
    best: float | None
    """The best value of the monitored metric; of a finished run that was tested, its test accuracy, or the monitored metric of
    the test; of a finished study the mean of its runs'."""
    metric: str | None
    """What `best` is: `validation_r2`, `test_accuracy`, `mean_test_accuracy`."""
    checkpoint: str | None
    """The name of the newest checkpoint."""
    age_seconds: float
    """Time since something was written to the folder."""
    metrics: dict[str, float]
    """Of the best weights, that of `best` first: `test_accuracy`, `validation_loss`; of a study `mean_test_accuracy`."""
    samples_per_second: float | None
    """Over the newest steps of its journal, validations left out."""
    batch_size: int | None
    """Samples in a step."""
    num_processes: int | None
    device: str | None
    duration_seconds: float | None
    """Of the training; of a run that is not finished, of its newest start."""
    started: str | None
    """When, in UTC, by ISO 8601."""
    parent: str | None
    """The run that it was continued from."""
    options: dict[str, Any]
    """What it was asked for, by the names of the options with underscores."""


def read_summaries(folder: Path, now: float | None = None) -> tuple[list[RunSummary], list[Path]]:
    """Return the runs of a folder, the newest first, and the records that cannot be read.

    Ages are up to `now`, in seconds of the epoch: one time for all, so that runs of nearly the same time stay in order.
    """
    now = time.time() if now is None else now
    found, unreadable = [], []
    for path in sorted(folder.glob(f"*/{RECORD}")):
        try:
            summary = _summary(path.parent, read_json(path), now)
            found.append(from_mapping(RunSummary, vars(summary), str(path)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
            unreadable.append(path)
    return sorted(found, key=lambda one: one.age_seconds), sorted(unreadable)


def _summary(folder: Path, record: dict[str, Any], now: float) -> RunSummary:
    if record.get("study"):
        return _study_summary(folder, record, now)
    progress, result = record.get("progress") or {}, record.get("result") or {}
    metrics = _metrics(record, {f"validation_{_monitor(record)}": progress.get("best")} | result, _SPLITS)
    checkpoints = [path for path in (folder / "checkpoints").glob("[!.]*") if path.is_dir()]
    written = [folder / RECORD, folder / "events.jsonl", *checkpoints]
    newest = max(path.stat().st_mtime for path in written if path.exists())
    events = _newest_events(folder)
    last: Mapping[str, Any] = next(
        (event for event in reversed(events) if event["event"] in ("step", "resume", "rewind")), {}
    )
    stages = {number: stage["name"] for number, stage in enumerate((record.get("recipe") or {}).get("stages", ()))}
    duration = number(result, "seconds")
    if duration is None:
        duration = next((seconds for event in reversed(events) if (seconds := number(event, "time_seconds"))), None)
    return RunSummary(
        name=folder.name,
        folder=str(folder),
        state=_state(folder, record),
        stage=stages.get(last.get("stage", -1), progress.get("stage_name")),
        step=result.get("steps", last.get("step", progress.get("step"))),
        best=next(iter(metrics.values()), None),
        metric=next(iter(metrics), None),
        checkpoint=max(checkpoints).name if checkpoints else None,
        age_seconds=max(0.0, now - newest),
        metrics=metrics,
        samples_per_second=_rate(events),
        duration_seconds=duration,
        **_facts(record),
    )


def _study_summary(folder: Path, record: dict[str, Any], now: float) -> RunSummary:
    """Return the state of a study: of its runs that one which is trained, or was the last time."""
    result = record.get("result") or {}
    parts = (record.get("progress") or {}).get("runs", [])
    present = next((str(row["name"]) for row in parts if row["state"] == "running"), None)
    done = f"{sum(row['state'] == 'finished' for row in parts)} of {len(parts)} done"
    runs, _ = read_summaries(folder, now)
    metrics = _metrics(record, result, [f"{_OF_A_STUDY}test"])
    newest = {run.name: run for run in runs}.get(present or "")
    last = newest or (runs[0] if runs else None)
    written = now - (folder / RECORD).stat().st_mtime
    duration = number(result, "seconds")
    return RunSummary(
        name=folder.name,
        folder=str(folder),
        state=_state(folder, record),
        stage=", ".join([*([present] if present else []), done]) if parts else None,
        step=result.get("steps", sum(run.step or 0 for run in runs)),
        best=next(iter(metrics.values()), None),
        metric=next(iter(metrics), None),
        checkpoint=newest.checkpoint if newest else None,
        age_seconds=max(0.0, min([written, *(run.age_seconds for run in runs)])),
        metrics=metrics,
        samples_per_second=last.samples_per_second if last else None,
        duration_seconds=sum(run.duration_seconds or 0.0 for run in runs) if duration is None else duration,
        **_facts(record),
    )


def _state(folder: Path, record: Mapping[str, Any]) -> str:
    state = str(record["state"])
    return "dead" if state == "running" and not is_held(folder) else state


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of a run of either kind."""
    batch, processes = number(record, "recipe", "resolution", "global_batch_size"), number(record, "plan", "world_size")
    parent = at(record, "parent")
    return {
        "batch_size": None if batch is None else int(batch),
        "num_processes": None if processes is None else int(processes),
        "device": text(record, "plan", "device") or None,
        "started": text(record, "started") or None,
        "parent": (text(parent, "name") or Path(text(parent, "run")).name or None)
        if isinstance(parent, Mapping)
        else (text(record, "parent") or None),
        "options": {
            str(name): value
            for name, value in mapping(record, "config").items()
            if value is None or isinstance(value, (str, float, int))
        },
    }


def _monitor(record: Mapping[str, Any]) -> str:
    return text(record, "recipe", "monitor") or "accuracy"


def _metrics(record: Mapping[str, Any], found: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, float]:
    """Return the metrics of the best weights: first what stands for the run, which is the accuracy of its test or what is
    monitored, then those of the first kind that were measured, then the others; a loss is the last of its kind."""
    monitor = _monitor(record)
    names = [f"{kinds[0]}_accuracy", *(f"{kind}_{monitor}" for kind in kinds)]
    for kind in kinds:
        own = [str(name) for name in found if str(name).startswith(f"{kind}_") and number(found, str(name)) is not None]
        names += sorted(own, key=lambda name: (name.endswith("_loss"), name.endswith("_top5_accuracy")))
    return {name: value for name in dict.fromkeys(names) if (value := number(found, name)) is not None}


def _rate(events: Sequence[Mapping[str, Any]]) -> float | None:
    """Return samples per second over steps that follow one another, or None."""
    samples = seconds = 0.0
    before: float | None = None
    for event in events:
        time = number(event, "time_seconds")
        if event["event"] == "step" and time is not None:
            if before is not None and time >= before:
                samples, seconds = samples + sum(counts(event, "samples_per_rank")), seconds + time - before
            before = time
        elif event["event"] in ("epoch", "stage", "resume", "rewind") and time is not None:
            before = time
        elif event["event"] == "run":
            before = None
    return samples / seconds if samples and seconds > 0 else None


def _newest_events(folder: Path) -> list[Mapping[str, Any]]:
    """Return the events at the end of a run's journal, which is written more often than the record; of none, nothing."""
    with suppress(OSError, UnreadableError), open_regular(folder / "events.jsonl") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
        file.seek(start)
        found = []
        for line in file.read().splitlines():
            with suppress(ValueError):  # the first or the last line, which may be incomplete
                found.append(parse_json(line))
        return [event for event in rows({"events": found}, "events") if isinstance(event.get("event"), str)]
    return []

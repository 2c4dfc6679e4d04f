"""`slipway runs`: show the runs of a folder with their state and newest checkpoint."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...training.common.conversion import from_mapping
from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.streams import print_to_stderr
from ...training.common.run_names import is_held
from ...training.common.small_files import UnreadableError, open_regular, parse_json, read_json

SCHEMA_VERSION = 1
_TAIL_BYTES = 1 << 16


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


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser("runs", "Show the runs: state, stage, step, best value, newest checkpoint, age.")
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")
    parser.add_argument("--json", action="store_true", help="print the runs as JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Show the runs of a folder, the newest first; return 0."""
    options = parse(build_parser(), arguments)
    folder = Path(options.runs_dir)
    if not folder.is_dir():
        raise UserError(f"--runs-dir {folder}: no such folder")
    found, unreadable = _summaries(folder)
    for path in unreadable:
        print_to_stderr(f"{path}: not the record of a run")
    if options.json:
        print(json.dumps({"schema_version": SCHEMA_VERSION, "runs": [vars(one) for one in found]}, indent=2))
    elif found:
        _print_table(found)
    else:
        print_to_stderr(f"no runs in {folder}")
    return 0


def _summaries(folder: Path) -> tuple[list[RunSummary], list[Path]]:
    """Return the runs of a folder, the newest first, and the records that cannot be read."""
    found, unreadable = [], []
    for path in folder.glob("*/run.json"):
        try:
            summary = _summary(path.parent, read_json(path))
            found.append(from_mapping(RunSummary, vars(summary), str(path)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
            unreadable.append(path)
    return sorted(found, key=lambda one: one.age_seconds), unreadable


def _summary(folder: Path, record: dict[str, Any]) -> RunSummary:
    if record.get("study"):
        return _study_summary(folder, record)
    progress = record.get("progress") or {}
    result = record.get("result") or {}
    state = str(record["state"])
    if state == "running" and not is_held(folder):
        state = "dead"
    best, metric = _best(
        record, {_monitored("validation", record): progress.get("best")} | result, "test", "validation"
    )
    checkpoints = [path for path in (folder / "checkpoints").glob("[!.]*") if path.is_dir()]
    written = [folder / "run.json", folder / "events.jsonl", *checkpoints]
    newest = max(path.stat().st_mtime for path in written if path.exists())
    last = _last_event(folder)
    stages = {number: stage["name"] for number, stage in enumerate((record.get("recipe") or {}).get("stages", ()))}
    return RunSummary(
        name=folder.name,
        folder=str(folder),
        state=state,
        stage=stages.get(last.get("stage", -1), progress.get("stage_name")),
        step=result.get("steps", last.get("step", progress.get("step"))),
        best=best,
        metric=metric,
        checkpoint=max(checkpoints).name if checkpoints else None,
        age_seconds=max(0.0, datetime.now(UTC).timestamp() - newest),
    )


def _monitored(kind: str, record: Mapping[str, Any]) -> str:
    return f"{kind}_{(record.get('recipe') or {}).get('monitor', 'accuracy')}"


def _best(record: Mapping[str, Any], found: Mapping[str, Any], *kinds: str) -> tuple[float | None, str | None]:
    """Return the value that stands for a run, and its name: the accuracy of the first kind, or the monitored metric."""
    names = (f"{kinds[0]}_accuracy", *(_monitored(kind, record) for kind in kinds))
    return next(((found[name], name) for name in names if found.get(name) is not None), (None, None))


def _study_summary(folder: Path, record: dict[str, Any]) -> RunSummary:
    """Return the state of a study: of its runs that one which is trained, or was the last time."""
    result = record.get("result") or {}
    state = str(record["state"])
    if state == "running" and not is_held(folder):
        state = "dead"
    rows = (record.get("progress") or {}).get("runs", [])
    present = next((str(row["name"]) for row in rows if row["state"] == "running"), None)
    done = f"{sum(row['state'] == 'finished' for row in rows)} of {len(rows)} done"
    runs, _ = _summaries(folder)
    best, metric = _best(record, result, "mean_test")
    newest = {run.name: run for run in runs}.get(present or "")
    written = datetime.now(UTC).timestamp() - (folder / "run.json").stat().st_mtime
    return RunSummary(
        name=folder.name,
        folder=str(folder),
        state=state,
        stage=", ".join([*([present] if present else []), done]) if rows else None,
        step=result.get("steps", sum(run.step or 0 for run in runs)),
        best=best,
        metric=metric,
        checkpoint=newest.checkpoint if newest else None,
        age_seconds=max(0.0, min([written, *(run.age_seconds for run in runs)])),
    )


def _last_event(folder: Path) -> dict[str, Any]:
    """Return step and stage of the newest step, resume or rewind in a run's journal; nothing where there is none.

    The journal is written more often than the record.
    """
    with suppress(OSError, UnreadableError), open_regular(folder / "events.jsonl") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError, KeyError, TypeError):  # a line that is incomplete
                event = parse_json(line)
                if event["event"] in ("step", "resume", "rewind"):
                    return {name: event[name] for name in ("step", "stage") if name in event}
    return {}


def _print_table(found: list[RunSummary]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading, right in (
        ("run", 0),
        ("state", 0),
        ("stage", 0),
        ("step", 1),
        ("best", 1),
        ("metric", 0),
        ("checkpoint", 0),
        ("age", 1),
    ):
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for run in found:
        cells = (
            run.name,
            run.state,
            run.stage or "",
            "" if run.step is None else f"{run.step:,}",
            "" if run.best is None else f"{run.best:.4g}",
            run.metric or "",
            run.checkpoint or "none",
            _format_age(run.age_seconds),
        )
        table.add_row(*map(Text, cells))
    from ...training.common.program.console import AnswerConsole

    AnswerConsole(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def _format_age(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

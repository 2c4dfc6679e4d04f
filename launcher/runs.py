"""`slipway runs` and `slipway resume`: what stands in the folder of runs, and how one goes on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher.errors import UserError, nearest
from launcher.options import make_parser, parse

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run as its folder tells it."""

    name: str
    folder: str
    state: str
    """`running`, `finished`, `interrupted`, `failed`, or `dead`: it says running, but no process holds it."""
    stage: str | None
    step: int | None
    best: float | None
    """Of the monitored metric; of a finished run in its test where there is one."""
    checkpoint: str | None
    """The newest."""
    age_seconds: float
    """Since something was written."""


def runs(arguments: list[str]) -> int:
    """Show the runs of a folder, the newest first."""
    parser = make_parser("runs", "Show the runs: state, stage, step, best, newest checkpoint, age.")
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="where runs are kept")
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    options = parse(parser, arguments)

    folder = Path(options.runs_dir)
    if not folder.is_dir():
        raise UserError(f"--runs-dir {folder}: no such folder")
    found = sorted(_summaries(folder), key=lambda one: one.age_seconds)
    if options.json:
        print(json.dumps({"schema_version": SCHEMA_VERSION, "runs": [vars(one) for one in found]}, indent=2))
    elif found:
        _show(found)
    else:
        print(f"no runs in {folder}", file=sys.stderr)
    return 0


def _summaries(folder: Path) -> Iterator[RunSummary]:
    for path in folder.iterdir():
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            record = json.loads((path / "run.json").read_text(encoding="utf-8"))
            yield _summary(path, record)


def _summary(folder: Path, record: dict[str, Any]) -> RunSummary:
    progress = record.get("progress") or {}
    result = record.get("result") or {}
    state = str(record["state"])
    if state == "running" and not _is_held(folder):
        state = "dead"
    checkpoints = [path for path in (folder / "checkpoints").glob("[!.]*") if path.is_dir()]
    written = [folder / "run.json", folder / "events.jsonl", *checkpoints]
    newest = max(path.stat().st_mtime for path in written if path.exists())
    return RunSummary(
        name=folder.name,
        folder=str(folder),
        state=state,
        stage=progress.get("stage_name"),
        step=result.get("steps", progress.get("step")),
        best=result.get("test_accuracy", progress.get("best")),
        checkpoint=max(checkpoints).name if checkpoints else None,
        age_seconds=max(0.0, datetime.now(UTC).timestamp() - newest),
    )


def _is_held(folder: Path) -> bool:
    """Return whether a process trains a run: it holds the lock, which the kernel takes from one that ended."""
    import fcntl

    try:
        with (folder / "lock").open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _show(found: list[RunSummary]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading, right in (
        ("run", 0),
        ("state", 0),
        ("stage", 0),
        ("step", 1),
        ("best", 1),
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
            run.checkpoint or "none",
            _age(run.age_seconds),
        )
        table.add_row(*map(Text, cells))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def _age(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def resume(arguments: list[str]) -> int:
    """Start a run again as it was started, from its newest good checkpoint."""
    parser = make_parser(
        "resume", "Go on with a run from its newest checkpoint, started as it was. A finished one stays."
    )
    parser.usage = "slipway resume [launch options] RUN"
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="where runs are kept")
    parser.add_argument("run", metavar="RUN", help="the run's folder, or its name in the folder of runs")
    options, launch_options = parser.parse_known_args(arguments)

    folder = _folder_of(options.run, Path(options.runs_dir))
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        command, plan = record["command"], record["plan"]
        target = ["-m", command["module"]] if command["module"] else [command["script"]]
        script = [*map(str, target), *map(str, command["arguments"])]
        where = Path(command["folder"])
        if not command["module"] and not command["script"]:
            raise UserError(
                f"{folder}: it was started from an interactive session; start it again with resume={folder.name!r}"
            )
        if plan["device"] == "cpu" and not any(option.startswith("--num-processes") for option in launch_options):
            launch_options = ["--device", "cpu", "--num-processes", str(int(plan["world_size"])), *launch_options]
    except OSError as error:
        raise UserError(f"{folder}: no run there (run.json: {error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder}: its run.json does not say how it was started; use its own command with --resume"
        ) from None

    from launcher.launch import launch

    os.environ["SLIPWAY_RESUME"] = str(folder)
    try:
        os.chdir(where)
    except OSError as error:
        raise UserError(f"{where}: the run was started there, but {error.strerror}") from None
    return launch([*launch_options, *script])


def _folder_of(run: str, runs_dir: Path) -> Path:
    for path in (Path(run), runs_dir / run):
        if (path / "run.json").is_file():
            return path.resolve()
    known = [path.parent.name for path in runs_dir.glob("*/run.json")]
    raise UserError(f"slipway resume {run}: no such run, here or in {runs_dir}{nearest(run, known)}")

"""The programs against loops by hand: `python -m tests.own_models [--short] [CASE ...]`. Exit code 1 where one differs."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from slipway.training.observers.journal import read_journal
from tests.limits import HANG_SECONDS
from tests.own_models.cases import BOUND, CASES, METRIC_BOUNDS, Case
from tests.own_models.page import save
from tests.own_models.ranks import KILLED, UNTOUCHED, be_killed, run_all, train_by_hand
from tests.training.processes import set_preload, started


def measure(names: Sequence[str], num_ranks: int, folder: Path, *, short: bool) -> list[dict[str, Any]]:
    """Return for each program how far it ends from the loop by hand, untouched, and killed and resumed.

    In the short form half of the programs are killed, the others on the other number of processes.
    """
    killed = [name for number, name in enumerate(names) if not short or number % 2 == num_ranks % 2]
    untouched = [name for name in names if not short or name not in killed]
    for name in killed:
        with started(num_ranks, folder / f"killing {name}", be_killed, name, folder) as group:
            group.processes[0].join(HANG_SECONDS)
            if group.processes[0].exitcode != -signal.SIGKILL:
                (folder / name).mkdir(parents=True, exist_ok=True)
                (folder / name / f"{KILLED}.error").write_text(f"it was not killed:\n{group.output()[-4000:]}")
    for task, arguments, size in (
        ("programs", (run_all, killed, untouched, folder), num_ranks),
        ("plain", (train_by_hand, names, num_ranks, folder), 1),
    ):
        with started(size, folder / task, *arguments) as group:
            if any(group.exit_codes()):
                sys.exit(f"{task} on {num_ranks}:\n{group.output()[-6000:]}")
    return [
        compare(CASES[name], run, num_ranks, folder / name)
        for run, chosen in ((UNTOUCHED, untouched), (KILLED, killed))
        for name in chosen
    ]


def compare(case: Case, run: str, num_ranks: int, folder: Path) -> dict[str, Any]:
    """Return how far a run's weights and metrics are from those of the loop by hand."""
    row = {"case": case.name, "processes": num_ranks, "run": run}
    if (error := folder / f"{run}.error").exists():
        return {**row, "error": error.read_text(encoding="utf-8")}
    try:
        return {**row, **differences(case, run, folder)}
    except (AssertionError, OSError) as error:
        return {**row, "error": str(error)}


def differences(case: Case, run: str, folder: Path) -> dict[str, Any]:
    """Return how far weights and metrics are apart. Raises `AssertionError` where they cannot be compared."""
    plain = json.loads((folder / "plain.json").read_text())
    metrics = json.loads((folder / f"{run}.json").read_text())
    kept = folder / run / "runs" / run
    weights = max(
        distance(load_file(kept / kind / "model.safetensors"), load_file(folder / f"plain_{kind}.safetensors"))
        for kind in ("last", "best")
    )
    resumed = [event["event"] for event in read_journal(kept / "events.jsonl")].count("resume")
    assert resumed == (run == KILLED), (case.name, run, "resumed", resumed)
    assert plain["moved"] > 1e-2, (case.name, "learned", plain["moved"])
    named = {f"validation_{name}": value for name, value in plain["metrics"].items()}
    assert set(named) <= set(metrics), (case.name, named, metrics)
    assert_same_table(plain["table"], folder / run / "losses.csv")
    off = max(abs(metrics[name] - value) / max(1.0, abs(value)) for name, value in named.items())
    return {
        "weights": weights,
        "metrics": off,
        "measured": sorted(plain["metrics"]),
        "agrees": weights <= BOUND and off <= METRIC_BOUNDS.get(case.name, BOUND),
    }


def assert_same_table(expected: list[list[float]], path: Path) -> None:
    """Raise `AssertionError` unless the table that a program keeps ends with the losses of the loop, by epoch.

    What came after the checkpoint from which a run is resumed is reported again.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [[float(word) for word in line.split(",")] for line in lines]
    found = list({row[0]: row for row in rows}.values())
    assert len(found) == len(expected), (found, expected)
    for row, wanted in zip(found, expected, strict=True):
        assert all(math.isclose(one, other, rel_tol=1e-10) for one, other in zip(row, wanted, strict=True)), (
            row,
            wanted,
        )


def distance(ours: dict[str, torch.Tensor], plain: dict[str, torch.Tensor]) -> float:
    """Return max|a - b| / max|b| over all tensors of two states, which must have the same names and shapes."""
    assert ours.keys() == plain.keys(), ours.keys() ^ plain.keys()
    largest = max(float(tensor.abs().max()) for name, tensor in plain.items() if tensor.is_floating_point())
    return max(float((ours[name] - plain[name]).abs().max()) for name in ours if ours[name].numel()) / largest


def main() -> int:
    """Run what was asked for and print a line for each comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all unless given")
    parser.add_argument("--short", action="store_true", help="kill each program on one number of processes only")
    parser.add_argument("--save", action="store_true", help="keep what was found, and write it into docs/own-models.md")
    options = parser.parse_args()
    names = options.cases or list(CASES)
    if unknown := set(names) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    set_preload("tests.own_models.ranks", "tests.own_models.preload")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        for num_ranks in (1, 2):
            for row in measure(names, num_ranks, Path(folder) / str(num_ranks), short=options.short):
                rows.append(row)
                print(line_of(row), flush=True)
    if options.save:
        save(rows)
    return 0 if all(row.get("agrees") for row in rows) else 1


def line_of(row: Mapping[str, Any]) -> str:
    """Return what is printed of a comparison."""
    head = f"{row['case']:14} {row['processes']} process{'es' if row['processes'] > 1 else '  '} {row['run']:9}"
    if "error" in row:
        return f"{head} FAILED: {row['error']}"
    numbers = f"weights {row['weights']:.1e}  metrics {row['metrics']:.1e}"
    return f"{head} {numbers}  {'agrees' if row['agrees'] else 'DIFFERS'}"


if __name__ == "__main__":
    sys.exit(main())

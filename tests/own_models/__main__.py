"""The programs against loops by hand: `python -m tests.own_models [--short] [CASE ...]`. Exit code 1 where one differs."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from slipway.training.observers.journal import read_journal
from tests.conftest import ROOT
from tests.own_models.cases import CASES, Case
from tests.own_models.ranks import KILLED, UNTOUCHED, be_killed, run_all, train_by_hand
from tests.training.processes import run_group, set_preload, started

RESULTS = ROOT / "benchmarks" / "results" / "own_models.json"
LIMIT_SECONDS = 600.0


def measure(names: Sequence[str], num_ranks: int, folder: Path, *, short: bool) -> list[dict[str, Any]]:
    """Return for each program how far it ends from the loop by hand, untouched, and killed and resumed.

    In the short form half of the programs are killed, the others on the other number of processes.
    """
    killed = [name for number, name in enumerate(names) if not short or number % 2 == num_ranks % 2]
    untouched = [name for name in names if not short or name not in killed]
    for name in killed:
        with started(num_ranks, folder / f"killing {name}", be_killed, name, folder) as group:
            group.processes[0].join(LIMIT_SECONDS)
            if group.processes[0].exitcode != -signal.SIGKILL:
                sys.exit(f"{name} was not killed:\n{group.output()[-4000:]}")
    for task, arguments, size in (
        ("programs", (run_all, killed, untouched, folder), num_ranks),
        ("plain", (train_by_hand, names, num_ranks, folder), 1),
    ):
        if any(run_group(size, folder / task, *arguments)):
            sys.exit(f"{task} on {num_ranks}:\n" + (folder / task / "rank_0.txt").read_text()[-6000:])
    return [
        compare(CASES[name], run, num_ranks, folder / name)
        for run, chosen in ((UNTOUCHED, untouched), (KILLED, killed))
        for name in chosen
    ]


def compare(case: Case, run: str, num_ranks: int, folder: Path) -> dict[str, Any]:
    """Return how far a run's weights and metrics are from those of the loop by hand."""
    plain = json.loads((folder / "plain.json").read_text())
    metrics = json.loads((folder / f"{run}.json").read_text())
    kept = folder / "runs" / run
    weights = max(
        distance(load_file(kept / kind / "model.safetensors"), load_file(folder / f"plain_{kind}.safetensors"))
        for kind in ("last", "best")
    )
    resumed = [event["event"] for event in read_journal(kept / "events.jsonl")].count("resume")
    assert resumed == (run == KILLED), (case.name, run, "resumed", resumed)
    assert plain["moved"] > 1e-2, (case.name, "learned", plain["moved"])
    named = {f"validation_{name}": value for name, value in plain["metrics"].items()}
    assert set(named) <= set(metrics), (case.name, named, metrics)
    off = max(abs(metrics[name] - value) / max(1.0, abs(value)) for name, value in named.items())
    return {
        "case": case.name,
        "processes": num_ranks,
        "run": run,
        "weights": weights,
        "metrics": off,
        "measured": sorted(plain["metrics"]),
        "agrees": weights <= case.bound and off <= case.bound,
    }


def distance(ours: dict[str, torch.Tensor], plain: dict[str, torch.Tensor]) -> float:
    """Return max|a - b| / max|b| over all tensors of two states, which must have the same names and shapes."""
    assert set(ours) <= set(plain), set(ours) - set(plain)
    largest = max(float(tensor.abs().max()) for name, tensor in plain.items() if tensor.is_floating_point())
    return max(float((ours[name] - plain[name]).abs().max()) for name in ours if ours[name].numel()) / largest


def main() -> int:
    """Run what was asked for and print a line for each comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all unless given")
    parser.add_argument("--short", action="store_true", help="kill each program on one number of processes only")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
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
                verdict = "agrees" if row["agrees"] else "DIFFERS"
                print(
                    f"{row['case']:14} {row['processes']} process(es), {row['run']:9}  weights {row['weights']:.1e}  "
                    f"metrics {row['metrics']:.1e}  {verdict}",
                    flush=True,
                )
    if options.save:
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""What the ranks do: run programs as they are, end one by force after a checkpoint stands, train by hand."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

import slipway
from slipway import CheckpointSaved, EpochEnd, Observer
from slipway.training.run.train import train
from tests.own_models.cases import CASES, Case

KILLED, UNTOUCHED = "killed", "untouched"
OPTIONS = ("--precision", "float64", "--batch-rule", "fixed", "--device", "cpu", "--log-level", "warning")


class KillAfterCheckpoint(Observer):
    """Ends this process, as nothing can prevent, once an epoch has ended and then a checkpoint is complete on the disk."""

    def __init__(self) -> None:
        self._has_epoch = False

    def on_epoch_end(self, event: EpochEnd) -> None:
        self._has_epoch = True

    def on_checkpoint_saved(self, event: CheckpointSaved) -> None:
        if self._has_epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def run_program(case: Case, folder: Path, run: str, *options: str) -> Any:
    """Run the program as `python PROGRAM --options` does in a folder; return its `result`."""
    place = folder / case.name / run
    place.mkdir(parents=True, exist_ok=True)
    before, arguments = os.getcwd(), sys.argv
    multiprocessing.set_start_method(None, force=True)  # as in a process that no server of processes forked
    os.chdir(place)
    sys.argv = [str(case.program), *OPTIONS, "--experiment-name", run, *case.options, *options]
    try:
        return runpy.run_path(str(case.program), run_name="__main__")["result"]
    finally:
        sys.argv = arguments
        os.chdir(before)


def be_killed(name: str, folder: Path) -> int:
    """Run a program until rank 0 is killed after a checkpoint in the middle of its second epoch."""
    slipway.train = partial(_train_watched, KillAfterCheckpoint())  # type: ignore[attr-defined]
    run_program(CASES[name], folder, KILLED, "--save-every", "2step")
    return 1  # it was not killed


def _train_watched(
    observer: Observer, config: Any, task: Any, observers: Sequence[Observer] = (), **options: Any
) -> Any:
    return train(config, task, [*observers, observer], **options)


def run_all(killed: Sequence[str], untouched: Sequence[str], folder: Path) -> int:
    """Resume what was killed and run other programs from start to end, all as one world; rank 0 writes their metrics."""
    for run, names in ((KILLED, killed), (UNTOUCHED, untouched)):
        for name in names:
            more = ("--resume", "auto") if run == KILLED else ()
            try:
                result = run_program(CASES[name], folder, run, *more)
            except Exception:
                (folder / name / f"{run}.error").write_text(traceback.format_exc(), encoding="utf-8")
                continue
            if os.environ.get("RANK", "0") == "0":
                (folder / name / f"{run}.json").write_text(json.dumps(result.metrics), encoding="utf-8")
    return 0


def train_by_hand(names: Sequence[str], num_ranks: int, folder: Path) -> int:
    """Train cases by hand; write the weights and metrics."""
    for name in names:
        ended = CASES[name].plain(num_ranks)
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for kind in ("last", "best"):
            state = {key: tensor.contiguous().clone() for key, tensor in getattr(ended, kind).items()}
            save_file(state, place / f"plain_{kind}.safetensors")
        found = {"metrics": ended.metrics, "moved": ended.moved, "table": ended.table}
        (place / "plain.json").write_text(json.dumps(found), encoding="utf-8")
    return 0

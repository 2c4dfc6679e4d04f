"""One program, run as `python PROGRAM` does, in a process of `python -m benchmarks.user_code`."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.user_code.programs import program

_OPTIONS = (
    *("--resume", "auto"),  # in the other programs it stands that they go on from what is there
    *("--batch-rule", "fixed"),  # as they divide one batch among the processes
    *("--save-every", "2step"),  # these trainings are shorter than the usual ten minutes
    *("--micro-batch-size", "32"),  # it is not searched for, which would count as backward passes
    *("--device", "cpu", "--log-level", "warning"),
)
"""What Slipway's programs get on the command line."""
_CONSTANT = ("--schedule", "constant", "--warmup-epochs", "0")
"""The rate of the other programs, unless a rate is what a case shows."""
_STEP_SECONDS = 0.05
"""At least, where a program is killed: a step of these tiny models would be shorter than any save."""

_backwards = 0


def run_program(library: str, case: str, metric: str, folder: Path, kill_after: int) -> int:
    """Run a program in `folder` and write its best metric and number of backward passes to `result.json` there.

    Unless `kill_after` is 0, it is ended by force in a backward pass, that one or the first after something was saved.
    """
    os.chdir(folder)
    multiprocessing.set_start_method("fork", force=True)  # as it is where a program is started by hand
    _count_backwards(kill_after)
    if library == "lightning":
        _take_a_process_for_a_device()
    path = str(program(library, case))
    options = _OPTIONS if case == "one_cycle" else (*_OPTIONS, *_CONSTANT)
    sys.argv = [path, *(options if library == "slipway" else ())]
    values = runpy.run_path(path, run_name="__main__")
    if os.environ.get("RANK", "0") == "0":
        found = {"score": _score(library, values, metric), "backwards": _backwards}
        Path("result.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


def _score(library: str, values: dict[str, Any], metric: str) -> float:
    """Return the monitored metric at its best epoch, as the library keeps it."""
    match library:
        case "slipway":
            return float(values["result"].metrics[f"validation_{metric}"])
        case "accelerate":
            return float(values["progress"].best)
        case "lightning":
            return float(values["checkpoint"].best_model_score)
        case _:
            return float(values["trainer"].state.best_metric)


def _count_backwards(kill_after: int) -> None:
    """Count the backward passes, whichever library asks for them."""
    plain = torch.Tensor.backward

    def backward(*arguments: Any, **options: Any) -> None:
        global _backwards
        _backwards += 1
        if kill_after:
            time.sleep(_STEP_SECONDS)
        if kill_after and _backwards >= kill_after and _has_saved():
            os.kill(os.getpid(), signal.SIGKILL)
        plain(*arguments, **options)

    torch.Tensor.backward = backward  # type: ignore[method-assign]


def _has_saved() -> bool:
    """Return whether there is something to go on from: Slipway saves in a thread beside the training, the others in it."""
    runs = Path("runs")
    saved = (one for one in runs.glob("*/checkpoints/*-step-*") if not one.name.endswith("-step-0"))
    return not any(runs.glob("*/events.jsonl")) or any(saved)


def _take_a_process_for_a_device() -> None:
    """Let Lightning's `devices="auto"`, all GPUs of a machine, be all processes of a launch by torchrun, on a CPU."""
    from lightning.pytorch.accelerators import CPUAccelerator

    if "RANK" in os.environ:
        os.environ["TORCHELASTIC_RUN_ID"] = "none"
    CPUAccelerator.auto_device_count = staticmethod(lambda: int(os.environ.get("WORLD_SIZE", "1")))

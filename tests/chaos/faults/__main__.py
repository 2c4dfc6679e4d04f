"""Faults of places, tried for real: `python -m tests.chaos.faults [--short]`. Exit code 1 where a run lost what it need not."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import load

from tests.chaos.attempt import Failed
from tests.chaos.faults.fault import Fault, Found
from tests.chaos.faults.rows import FAULTS
from tests.chaos.faults.trial import Start, Trial
from tests.chaos.run import BOUND

_MOUNTS = "FAULTS_MOUNTS"
"""Set where this process has mounts of its own, which end with it."""

Weights = Mapping[str, bytes]


def untouched(world_size: int, folder: Path) -> Weights:
    """Return the final weights of the training without a fault. Raises `Failed`."""
    trial = Trial(folder, world_size)
    try:
        trial.start(Start())
        if trial.finish() or trial.told():
            raise Failed(f"the untouched run: {trial.said()[-1500:]}")
        return trial.weights()
    finally:
        trial.close()


def try_fault(fault: Fault, world_size: int, folder: Path, due: Weights) -> Found:
    """Train in a place with a fault, resume what did not come to its end, and compare the weights with those due."""
    found = Found(fault=fault, world_size=world_size, missing=_missing(fault))
    if found.missing:
        return found
    began = time.monotonic()
    trial = Trial(folder, world_size)
    try:
        with fault.place(trial) as start:
            trial.start(start, is_gated=fault.strike is not None)
            if fault.strike is not None:
                trial.until_at_gate()
                fault.strike(trial)
                if not fault.opens_gate:
                    trial.open_gate()
            found.code = trial.finish()
            found.told, found.saved_step = trial.told(), trial.saved_step()
            found.is_finished = trial.state() == "finished"
            found.problems += _wrong(found, " ".join(trial.said().split()))
            if not found.is_finished:
                if fault.mend is not None:
                    fault.mend(trial)
                trial.start(Start())
                if code := trial.finish():
                    raise Failed(f"resumed, it ended with {code}: {trial.said()[-800:]}")
            found.problems += _differences(trial.weights(), due, is_exact=fault.is_exact)
    except (Failed, RuntimeError, OSError) as failure:
        found.problems.append(f"{type(failure).__name__}: {failure}")
    finally:
        trial.close()
    found.seconds = time.monotonic() - began
    return found


def _missing(fault: Fault) -> str:
    lacking = [one for one in fault.needs if not (os.path.exists(one) if one.startswith("/") else shutil.which(one))]
    if fault.has_mounts and _MOUNTS not in os.environ:
        lacking.append("the right to mount")
    return ", ".join(lacking)


def _wrong(found: Found, said: str) -> list[str]:
    fault, told = found.fault, "\n".join(found.told)
    problems = [f"did not tell {one!r}" for one in fault.tells if not re.search(one, said)]
    if found.code not in fault.codes:
        problems.append(f"exit code {found.code}, due is one of {fault.codes}")
    if "Traceback" in told or (told and not fault.tells):
        problems.append("told what it need not")
    return problems


def _differences(weights: Weights, due: Weights, *, is_exact: bool) -> list[str]:
    if is_exact:
        return [f"{kind}: other bytes than without the fault" for kind in due if weights[kind] != due[kind]]
    return [
        f"{kind}: {name} differs by more than rounding"
        for kind in due
        for name, tensor in load(due[kind]).items()
        if not torch.allclose(load(weights[kind])[name], tensor, rtol=0, atol=BOUND * float(tensor.abs().max()))
    ]


def _show(found: Found) -> None:
    name = f"{found.fault.name} on {found.world_size}"
    if found.missing:
        print(f"{name}: not tried, needs {found.missing}", flush=True)
        return
    end = "finished" if found.is_finished else f"saved step {found.saved_step}, resumed"
    verdict = "FAILED" if found.problems else "same weights" if found.fault.is_exact else "same but for rounding"
    print(f"{name}: exit code {found.code}, {end}, {verdict}, {found.seconds:.0f} s", flush=True)
    for line in dict.fromkeys(found.told):
        print(f"    {line[:300]}", flush=True)
    for problem in found.problems:
        print(f"    problem: {problem}", flush=True)


def main() -> int:
    """Try the faults; return 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--short", action="store_true", help="a few of them, on one or two processes")
    parser.add_argument("--only", metavar="TEXT", default="", help="those with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time [2]")
    options = parser.parse_args()
    work = [
        (fault, world_size)
        for fault in FAULTS
        if options.only in fault.name and (fault.is_short or not options.short)
        for world_size in fault.world_sizes[: 1 if options.short else None]
    ]
    _enter_mounts()
    folder = Path(tempfile.mkdtemp(prefix="slipway-faults-"))
    lock = threading.Lock()

    def one(number: int, fault: Fault, world_size: int) -> Found:
        found = try_fault(fault, world_size, folder / f"{number:02d}", due[world_size])
        with lock:
            _show(found)
        return found

    with ThreadPoolExecutor(options.jobs) as pool:
        sizes = sorted({size for _, size in work})
        due = dict(zip(sizes, pool.map(lambda size: untouched(size, folder / f"untouched-{size}"), sizes), strict=True))
        found = list(pool.map(one, range(len(work)), *zip(*work, strict=True))) if work else []
    if any(one.problems for one in found):
        print(f"the runs are kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


def _enter_mounts() -> None:
    """Start again with mounts of this process's own, where it may have them."""
    namespace = ["unshare", "--mount", "--propagation", "private", *(["--map-root-user"] if os.geteuid() else [])]
    if _MOUNTS in os.environ or not shutil.which(namespace[0]):
        return
    if subprocess.run([*namespace, "true"], capture_output=True).returncode == 0:
        os.environ[_MOUNTS] = "own"
        os.execvp(namespace[0], [*namespace, sys.executable, "-m", "tests.chaos.faults", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())

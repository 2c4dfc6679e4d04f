"""A real SLURM of two nodes on this machine: `python -m tests.slurm [--short]`. Exit code 1 where a check failed."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.slurm import stand
from tests.slurm.stand import Stand

_SECONDS = 300.0
_SLIPWAY = [sys.executable, "-P", "-m", "slipway"]
_TRAIN = ROOT / "bin" / "train.py"
_RECIPE = ["--quick-test", "--stages-config", "minimal", "--epochs", "3", "--device", "cpu"]
_RECIPE += ["--batch-rule", "fixed", "--batch-size", "256"]
_TOLERANCE = 1e-5
_VARIANTS: tuple[tuple[str, ...], ...] = (
    (),
    ("--nodes", "2", "--time", "4:00:00"),
    ("--nodes", "2", "--gpus-per-node", "2", "--cpus-per-task", "4"),
    ("--gpus-per-node", "fake:1", "--memory", "2G", "--partition", "short", "--time", "5"),
    ("--nodes", "2", "--gpus-per-node", "2,1", "--cpus-per-task", "2"),
    ("--array", "0-3%2", "--time", "0-1"),
    ("--sbatch=--exclusive", "--sbatch=--nodelist=n[1-2]", "--nodes", "2"),
    ("--name", "a $(touch x) `touch y` 'q' \"d\" # ; & \\ hetjob", "--max-requeues", "0", "--save-seconds", "30"),
)


class Failed(Exception):  # noqa: N818 - a check has failed, not the program
    """What was seen instead."""


class Trial:
    """A folder on the stand, in which commands are run as on a node that people log in to."""

    def __init__(self, one: Stand, folder: Path) -> None:
        self.stand, self.folder = one, folder
        folder.mkdir()
        cache = {"XDG_CACHE_HOME": str(folder.parent / "cache"), "XDG_STATE_HOME": str(folder.parent / "state")}
        self.environment = one.environment | cache | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(self, *command: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises `Failed` where it ends with another exit code."""
        words = list(map(str, command))
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=_SECONDS
        )
        if done.returncode != code:
            raise Failed(
                f"{' '.join(words)[:300]}: exit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
            )
        return done

    def submit(self, *options: object) -> str:
        """Return the number of a job that trains in two processes on each of two nodes."""
        command = [*_SLIPWAY, "submit", "slurm", "--nodes", 2, "--processes-per-node", 2, "--cpus-per-task", 2]
        return self.run(*command, *options, _TRAIN, *_RECIPE).stdout.strip()

    def state(self, job: str) -> str:
        """Return the state of a job, such as RUNNING."""
        return self.stand.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()

    def wait(self, what: str, ready: Callable[[], bool], job: str) -> None:
        """Wait until something is so. Raises `Failed` with the log of the job where it does not come."""
        limit = time.monotonic() + _SECONDS
        while not ready():
            if time.monotonic() > limit or self.state(job) in ("FAILED", "CANCELLED", "TIMEOUT"):
                logs = "\n".join(path.read_text(errors="replace")[-3000:] for path in self.folder.rglob("*.log"))
                raise Failed(f"waited for {what}; job {job} is {self.state(job)}\n{logs}")
            time.sleep(0.2)

    def steps(self) -> int:
        """Return how many steps the journals of all runs have."""
        journals = [path.read_text(errors="replace") for path in self.folder.glob("runs/*/events.jsonl")]
        return sum(text.count('"event": "step"') for text in journals)

    def ranks(self) -> list[str]:
        """Return what the ranks of the launches in `logs` have written."""
        return sorted(path.read_text().strip() for path in self.folder.glob("logs/*/rank_*.log"))


def difference(one: Path, other: Path) -> float:
    """Return max|a - b| / max|b| of the weights of two runs."""
    a, b = (load_file(run / "last" / "model.safetensors") for run in (one, other))
    largest = max(tensor.abs().max().item() for tensor in b.values())
    return max((a[name].double() - b[name].double()).abs().max().item() for name in b) / largest


def the_run(trial: Trial) -> tuple[Path, dict[str, object]]:
    """Return the only run of a trial, with its record."""
    runs = list(trial.folder.glob("runs/*/run.json"))
    if len(runs) != 1:
        raise Failed(f"{len(runs)} runs instead of one: {runs}")
    return runs[0].parent, json.loads(runs[0].read_text())


def saved_requeued_and_resumed(trial: Trial) -> str:
    """A job of four ranks is one world; told to save it returns to the queue, goes on, and ends with the same weights."""
    trial.run(*_SLIPWAY, "launch", "--device", "cpu", "--log-dir", "logs", _TRAIN, *_RECIPE, "--runs-dir", "alone")
    job = trial.submit("--time", "30")
    trial.wait("steps", lambda: trial.steps() > 3, job)
    trial.stand.run("scancel", "--batch", "--signal=USR1", job)
    trial.wait("the queue", lambda: trial.state(job) == "PENDING", job)
    _, record = the_run(trial)
    if record["state"] == "finished":
        raise Failed("the run was over before it was told to save")
    trial.stand.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # SLURM waits two minutes
    trial.wait("the end", lambda: trial.state(job) == "COMPLETED", job)
    folder, record = the_run(trial)
    (alone,) = trial.folder.glob("alone/*/")
    found = difference(folder, alone)
    if record["state"] != "finished" or found > _TOLERANCE:
        raise Failed(f"{record['state']}, weights differ by {found:.1e}")
    said = trial.run(*_SLIPWAY, "submit", "logs", job).stdout
    for words in (
        "4 processes, machine 0 of 2",
        "machine 1 of 2",
        "started again (1)",
        "goes on with",
        "was stopped, and goes back",
    ):
        if words not in said:
            raise Failed(f"the log does not say {words!r}:\n{said[-3000:]}")
    if "COMPLETED" not in trial.run(*_SLIPWAY, "submit", "status", job).stdout:
        raise Failed("the status does not say COMPLETED")
    return f"4 ranks on 2 nodes, saved and requeued once, weights within {found:.0e} of one process"


def preempted_and_resumed(trial: Trial) -> str:
    """A job whose nodes go to a more urgent one saves itself within the time it is given, and goes on after it."""
    job = trial.submit("--partition", "main")
    trial.wait("steps", lambda: trial.steps() > 3, job)
    trial.run("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    trial.wait("the queue", lambda: trial.state(job) == "PENDING", job)
    trial.stand.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    trial.wait("the end", lambda: trial.state(job) == "COMPLETED", job)
    _, record = the_run(trial)
    said = trial.run(*_SLIPWAY, "submit", "logs", job).stdout
    if record["state"] != "finished" or "stopped after step" not in said or "goes on with" not in said:
        raise Failed(f"{record['state']}\n{said[-3000:]}")
    return "saved by SIGTERM, requeued, finished"


def accepted(trial: Trial) -> str:
    """sbatch and bash accept every file that is written."""
    (trial.folder / "s.py").write_text("print(1)\n")
    for variant in _VARIANTS:
        text = trial.run(*_SLIPWAY, "submit", "slurm", *variant, "--dry-run", "s.py", "a b", "x\ny").stdout
        (trial.folder / "file").write_text(text)
        trial.run("bash", "-n", "file")
        trial.run("sbatch", "--test-only", "file")
    return f"{len(_VARIANTS)} variants"


def cancelled(trial: Trial) -> str:
    """A job that is cancelled ends, and stays out of the queue; nothing of it runs on."""
    job = trial.submit()
    trial.wait("steps", lambda: trial.steps() > 2, job)
    trial.run(*_SLIPWAY, "submit", "cancel", job)
    trial.stand.wait_for(lambda: trial.state(job) == "CANCELLED", "the job to end")
    trial.stand.wait_for(lambda: not trial.stand.of_jobs(), "its processes to end")
    trial.run(*_SLIPWAY, "resume", next(trial.folder.glob("runs/*/run.json")).parent, "--dry-run")
    return "no process left, its run can be resumed"


_SCRIPT = (
    "import json, os; p = json.load(open(os.environ['SLIPWAY_PLAN'])); print('rank', os.environ.get('RANK'), 'of', \
p['num_processes'], 'machine', p['machine_rank'], 'of', p['num_machines'], flush=True)\n"
)


def by_hand(trial: Trial) -> str:
    """`slipway launch` makes one world in a shell of salloc, a batch script, a step, an array and a heterogeneous job."""
    (trial.folder / "s.py").write_text(_SCRIPT)
    launch = [*_SLIPWAY, "launch", "--device", "cpu", "--num-processes", "2", "--log-dir", "logs", "s.py"]
    script = f"#!/bin/bash\n{subprocess.list2cmdline(launch)}\n"
    parts = "#!/bin/bash\n#SBATCH -N1 -n1 -w n2\n#SBATCH hetjob\n#SBATCH -N1 -n1 -w n1\n"
    heterogeneous = f"{parts}srun --het-group=0,1 {subprocess.list2cmdline(launch)}\n"
    (trial.folder / "batch").write_text(script)
    (trial.folder / "het").write_text(heterogeneous)
    both = ["rank 0 of 2 machine 0 of 2", "rank 1 of 2 machine 1 of 2"]
    ways: dict[str, Sequence[object]] = {
        "a shell": ["salloc", "--nodes=2", "--ntasks=4", *launch],
        "a step": ["srun", "--nodes=2", "--ntasks=2", *launch],
        "a batch script": ["sbatch", "--wait", "--nodes=2", "--output=out", "batch"],
        "a heterogeneous job": ["sbatch", "--wait", "--output=out", "het"],
    }
    for way, command in ways.items():
        shutil.rmtree(trial.folder / "logs", ignore_errors=True)
        trial.run(*command)
        if (seen := trial.ranks()) != both:
            raise Failed(f"{way}: {seen}")
    shutil.rmtree(trial.folder / "logs")
    trial.run("sbatch", "--wait", "--nodes=2", "--array=0-1", "--output=array-%a", "batch")
    if (seen := trial.ranks()) != sorted(2 * both):
        raise Failed(f"an array: {seen}")
    refused = trial.run("srun", "--nodes=2", "--ntasks=4", *launch, code=2)
    if refused.stderr.count("the step has 4 tasks on 2 nodes, and each would start a launcher") != 4:
        raise Failed(f"four tasks: {refused.stderr}")
    return f"{', '.join(ways)}, an array; a task for each rank is refused"


def tasks_are_one_world(trial: Trial) -> str:
    """Tasks that srun starts as plain `python bin/train.py` are the ranks of one run."""
    said = trial.run("srun", "--nodes=2", "--ntasks=4", sys.executable, _TRAIN, *_RECIPE, "--epochs", "1").stderr
    _, record = the_run(trial)
    plan = record["plan"]
    if not isinstance(plan, dict) or plan["world_size"] != 4 or "its 4 tasks are one world" not in said:
        raise Failed(f"{plan}\n{said[-2000:]}")
    return "4 tasks, one run"


CHECKS = (accepted, saved_requeued_and_resumed, preempted_and_resumed, by_hand, tasks_are_one_world, cancelled)
SHORT = (accepted, saved_requeued_and_resumed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks and print a line for each; return 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm", description=__doc__)
    parser.add_argument("--short", action="store_true", help="what a change must pass")
    parser.add_argument("--only", metavar="TEXT", default="", help="the checks with this in their name")
    options = parser.parse_args(arguments)
    if (why := stand.missing()) is not None:
        print(f"slurm: left out, {why}")
        return 0
    torch.set_num_threads(1)
    failed = 0
    with stand.running() as one, tempfile.TemporaryDirectory(prefix="slipway-slurm-jobs-") as folder:
        for check in SHORT if options.short else CHECKS:
            if options.only not in check.__name__:
                continue
            began = time.monotonic()
            try:
                result = check(Trial(one, Path(folder) / check.__name__))
            except (Failed, subprocess.TimeoutExpired, RuntimeError) as error:
                failed, result = failed + 1, f"FAILED: {error}"
            print(f"slurm: {check.__name__.replace('_', ' ')}, {time.monotonic() - began:.0f} s: {result}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

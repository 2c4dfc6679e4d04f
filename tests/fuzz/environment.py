"""What launches and images leave in the environment, tried with every way to start: `python -m tests.fuzz.environment`.

Right is a training that is told of what it ignores, or an end within seconds with exit code 2 and the variable's name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import ROOT

LEFT: tuple[dict[str, str], ...] = (
    {"LOCAL_RANK": "0"},
    {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "10.0.0.9", "MASTER_PORT": "29500"},
    {"RANK": "1"},
    {"RANK": "x", "WORLD_SIZE": "many"},
    {"WORLD_SIZE": "8", "NODE_RANK": "0"},
    {"RANK": "0", "WORLD_SIZE": "2"},
    {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "no host", "MASTER_PORT": "1"},
    {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "99999"},
    {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "x", "TORCHELASTIC_USE_AGENT_STORE": "True"},
    {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
    {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0"},
    {"PMI_RANK": "-1", "PMI_SIZE": "4"},
    {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    {"SLURM_JOB_ID": "7", "SLURM_NODELIST": "gpu[01-04]", "SLURM_JOB_NODELIST": "gpu[01-04]", "SLURM_NNODES": "4"},
    {"KUBERNETES_SERVICE_HOST": "10.1.1.1", "KUBERNETES_SERVICE_PORT": "nonsense"},
    {"CUDA_VISIBLE_DEVICES": ""},
    {"CUDA_VISIBLE_DEVICES": "nonsense,-3"},
    {"OMP_NUM_THREADS": "lots"},
    {"OMP_NUM_THREADS": "0"},
    {"OMP_NUM_THREADS": "9" * 30},
    {"ACCELERATE_MIXED_PRECISION": "fp4"},
    {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "x", "FSDP_SHARDING_STRATEGY": "nonsense"},
    {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
    {"ACCELERATE_USE_MEGATRON_LM": "true"},
    {"ACCELERATE_USE_CPU": "maybe"},
    {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "many"},
    {"ACCELERATE_LOG_LEVEL": "shouting"},
    {"ACCELERATE_DYNAMO_BACKEND": "nonsense"},
    {"ACCELERATE_TORCH_DEVICE": "nonsense"},
    {"FORK_LAUNCHED": "x"},
    {"SLIPWAY_PLAN": "/nowhere/plan.json"},
    {"PYTORCH_CUDA_ALLOC_CONF": "nonsense:x", "NCCL_DEBUG": "x", "GLOO_SOCKET_IFNAME": "nowhere0"},
)
_OWN = """
import sys, torch
from torch import nn
from slipway import TensorTask, TrainingConfig, train
x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()
config = TrainingConfig(epochs=1, max_steps=2, device="cpu", compile=False, runs_dir=sys.argv[1], log_level="warning")
train(config, TensorTask(lambda: nn.Linear(8, 2), {"train": (x, y), "validation": (x[:16], y[:16])}))
"""
_MOST_SECONDS = 300.0
"""A training of two steps takes a minute beside ten busy programs; one that waits for ranks waits for ten."""


WAYS = ("plain", "--multi-gpu", "train()", "slipway launch")


def starts(folder: Path) -> dict[str, list[str]]:
    """Return the ways to start a training of two steps, by name, with what they write in a folder."""
    (folder / "own.py").write_text(_OWN, encoding="utf-8")
    options = ["--stages-config", "minimal", "--epochs", "1", "--max-steps", "2", "--model-width", "8"]
    options += ["--model-blocks", "1", "--device", "cpu", "--no-compile", "--runs-dir", str(folder / "runs")]
    python, script = sys.executable, str(ROOT / "bin" / "train.py")
    own = [str(folder / "own.py"), str(folder / "runs")]
    commands = (
        [python, script, *options],
        [python, script, "--multi-gpu", *options],
        [python, *own],
        [python, "-m", "slipway", "launch", "--log-dir", str(folder / "log"), *own],
    )
    return dict(zip(WAYS, commands, strict=True))


def problem_of(command: list[str], left: dict[str, str], folder: Path) -> str | None:
    """Start a command with what is left in the environment; return what is wrong with its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "SLURM_"))}
    clean |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "SLIPWAY_REPORT": "false"}
    clean |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=clean | left, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"waits for more than {_MOST_SECONDS:.0f} s"
    if done.returncode == 0:
        return None
    if done.returncode not in (2, 3) or "Traceback" in done.stderr:
        return f"exit code {done.returncode}: {done.stderr[-600:]}"
    if not re.search("|".join(left), done.stderr):
        return f"refused, and no variable is named: {done.stderr[-300:]}"
    return None


def search(ways: Sequence[str] = (), *, short: bool = False, processes: int = 2) -> tuple[int, int]:
    """Try every way to start, or some, with everything left; in the short form each with one. Return starts and findings."""

    def attempt(way: str, left: dict[str, str]) -> bool:
        with tempfile.TemporaryDirectory(prefix="slipway-fuzz-") as place:
            problem = problem_of(starts(Path(place))[way], left, Path(place))
        if problem is not None:
            print(f"{way}, {' '.join(f'{key}={value[:40]}' for key, value in left.items())}: {problem}", flush=True)
        return problem is not None

    chosen = [way for way in WAYS if not ways or way in ways]
    tried = [(way, left) for left in LEFT for way in chosen]
    if short:
        tried = [(way, LEFT[(7 * number + 5) % len(LEFT)]) for number, way in enumerate(chosen)]
    with ThreadPoolExecutor(processes) as threads:
        found = sum(threads.map(lambda one: attempt(*one), tried))
    return len(tried), found


def main(ways: Sequence[str]) -> int:
    """Try everything, or the ways to start that are named; return the exit code."""
    began = time.monotonic()
    tried, found = search(ways)
    print(f"{tried} starts, {found} findings, {time.monotonic() - began:.0f} s")
    return 1 if found or not tried else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

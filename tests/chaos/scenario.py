"""What is trained, killed and compared, and what that comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tests.conftest import ROOT

SCRIPT = ROOT / "tests" / "chaos" / "train_small.py"
NUM_TRAINING_SAMPLES, GLOBAL_BATCH_SIZE, STEPS_PER_EPOCH, NUM_STAGES, MICRO_BATCH_SIZE = 300, 24, 13, 2, 7
"""As in `train_small.py`, which is not imported: a process that only watches does not need its data."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is trained, on how many processes one after the other, and how often it is killed on each."""

    task: str
    segments: tuple[tuple[int, int], ...]
    """(processes, kills); the last ones finish the run."""
    reduction: str = "auto"
    epochs: int = 7
    """Of each stage."""

    @property
    def name(self) -> str:
        """What is printed."""
        worlds = " -> ".join(str(world) for world, _ in self.segments)
        return f"{self.task} on {worlds}" + ("" if self.reduction == "auto" else f", {self.reduction}")

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return NUM_STAGES * self.epochs * STEPS_PER_EPOCH

    @property
    def is_changed(self) -> bool:
        """Whether the number of processes changes."""
        return len(self.segments) > 1

    def launch_options(self, world_size: int) -> list[str]:
        """Return what `slipway launch` and `slipway resume` are given."""
        return [f"--num-processes={world_size}", "--device=cpu", "--main-process-port=0", "--grace-seconds=3"]

    def arguments(self) -> list[str]:
        """Return what the script is given, in every attempt alike."""
        batch_size = GLOBAL_BATCH_SIZE // self.segments[0][0]
        options = {
            "task": self.task,
            "batch-size": batch_size,
            "epochs": self.epochs,
            "reduction": self.reduction,
            "runs-dir": "runs",
            "resume": "auto",
        }
        return [str(SCRIPT), *(f"--{name}={value}" for name, value in options.items())]


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A kill that counts: it fell between the first and the last step of the run."""

    world_size: int
    target: str
    moment: str
    """`inside a save`, `as a save ends`, `while resuming`, or `between`."""
    step: int
    """Steps begun in the run by then."""
    seconds_until_gone: float


@dataclass(kw_only=True)
class Found:
    """What a scenario came to."""

    scenario: Scenario
    signal: str = "SIGKILL"
    kills: list[Kill] = field(default_factory=list)
    num_misses: int = 0
    """Kills that fell before the first step or after the last one."""
    is_identical: bool = False
    difference: float = float("nan")
    """max|a - b| / max|w| of the final weights, the worse of `best` and `last`."""
    num_lost: int = 0
    num_duplicated: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def passes_of_step(num_samples: int, world_size: int) -> int:
    """Return the forward passes of rank 0 in a step: it never has fewer than the others."""
    return math.ceil(math.ceil(num_samples / world_size) / MICRO_BATCH_SIZE)


def steps_of(num_passes: int, world_size: int, first_step: int) -> int:
    """Return the steps that were begun in so many passes of rank 0, from the step after `first_step` on."""
    steps = 0
    while num_passes > 0:
        is_last = (first_step + steps) % STEPS_PER_EPOCH == STEPS_PER_EPOCH - 1
        short = NUM_TRAINING_SAMPLES - (STEPS_PER_EPOCH - 1) * GLOBAL_BATCH_SIZE
        num_passes -= passes_of_step(short if is_last else GLOBAL_BATCH_SIZE, world_size)
        steps += 1
    return steps

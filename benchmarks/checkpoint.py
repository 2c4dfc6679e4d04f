"""What a save costs: how long the step loop stands still, against a blocking `torch.save` and fsync of the same state.

A model with AdamW is trained for real, and saved every few steps. Each time the blocking save is done first, then Slipway's
own, with nothing being written when either begins. While Slipway's thread writes, the steps go on: how much slower they are
stands beside the stall. The first save, which takes the host memory that later ones use again (as much as the state), is
told apart.

    python -m benchmarks.checkpoint [--rounds 9] [--device cpu] [--folder DIR] [--quick]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import torch
from rich.table import Table
from torch import nn

from benchmarks.measure import Ratio, console, finish, option_parser
from slipway.training.config.intervals import Interval
from slipway.training.config.plan import Plan
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.saver import CheckpointSaver, Saving
from slipway.training.loop.trainer import Trainer
from slipway.training.observers.events import CheckpointSaved, Decision, Observer, StepEnd
from slipway.training.observers.runtime import Runtime
from slipway.training.run.training_config import TrainingConfig
from slipway.training.storage.checkpoint import Content
from slipway.training.tasks.tensors import TensorTask

TARGET = 0.15
"""Of the blocking save."""

STEPS_PER_SAVE = 24
BATCH_SIZE, NUM_FEATURES, WIDTH, NUM_LAYERS, NUM_CLASSES = 8, 512, 2048, 7, 10


def make_model() -> nn.Module:
    """Return a model of 26 million parameters."""
    layers: list[nn.Module] = [nn.Linear(NUM_FEATURES, WIDTH)]
    for _ in range(NUM_LAYERS - 1):
        layers += [nn.ReLU(), nn.Linear(WIDTH, WIDTH)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(WIDTH, NUM_CLASSES))


class Watch(Observer):
    """Times the steps, and looks at the process's memory, while a checkpoint is written and while none is."""

    def __init__(self) -> None:
        self.is_writing: Callable[[], bool] = lambda: False
        self.step_seconds: dict[bool, list[float]] = {False: [], True: []}
        self.memory_bytes: dict[bool, list[int]] = {False: [], True: []}
        self.num_written = 0
        self._process = psutil.Process()
        self._last: float | None = None
        self._was_writing = False

    def on_step(self, event: StepEnd) -> None:
        """Note how long the step took, unless a write began or ended in it."""
        now, writing = time.perf_counter(), self.is_writing()
        if self._last is not None and writing == self._was_writing:
            self.step_seconds[writing].append(now - self._last)
            self.memory_bytes[writing].append(self._process.memory_info().rss)
        self._was_writing = writing
        self._last = time.perf_counter()

    def on_save(self) -> None:
        """Leave out the step that a save falls into."""
        self._last = None

    def on_decision(self, event: Decision) -> None:
        """Stop where a checkpoint could not be written."""
        assert event.kind != "checkpoint_failed", event.reason

    def on_checkpoint_saved(self, event: CheckpointSaved) -> None:
        """Count what was written."""
        self.num_written += 1


class TimedSaver(CheckpointSaver):
    """Slipway's saver with a clock, and the blocking save that it is compared with just before each."""

    def __init__(self, folder: Path, *, observer: Observer, capture: Callable[[], Content], **options: Any) -> None:
        super().__init__(folder, observer=observer, capture=capture, **options)
        self._capture_content = capture
        self._reference = folder / "blocking.pt"
        self.stall_seconds: list[float] = []
        self.blocking_seconds: list[float] = []
        self.state_bytes = 0

    @property
    def is_writing(self) -> bool:
        """Whether the thread is at work."""
        return self._writer.is_busy

    def save(self, *, wait: bool = False) -> None:
        """Save both ways."""
        self.settle()
        content = self._capture_content()
        self.state_bytes = sum(tensor.nbytes for group in content.tensors.values() for tensor in group.values())
        started = time.perf_counter()
        with self._reference.open("wb") as file:
            torch.save({"tensors": content.tensors, "state": content.state}, file)
            file.flush()
            os.fsync(file.fileno())
        self.blocking_seconds.append(time.perf_counter() - started)
        self._reference.unlink()
        os.sync()
        started = time.perf_counter()
        super().save(wait=wait)
        self.stall_seconds.append(time.perf_counter() - started)


def measure(folder: Path, rounds: int, device: str) -> tuple[TimedSaver, Watch]:
    """Train for `rounds` saves after the first; return what was timed."""
    steps = rounds * STEPS_PER_SAVE + STEPS_PER_SAVE // 2
    config = TrainingConfig(stages_config="minimal", epochs=1, batch_size=BATCH_SIZE, max_steps=steps)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(steps * BATCH_SIZE, NUM_FEATURES, generator=generator)
    labels = torch.randint(NUM_CLASSES, (len(inputs),), generator=generator)
    watch = Watch()
    with patch("slipway.training.loop.trainer.CheckpointSaver", TimedSaver):
        trainer = Trainer(
            task=TensorTask(make_model, {"train": (inputs, labels)}, keyed_randomness=True),
            recipe=config.make_recipe().resolve(1, "no"),
            plan=Plan.alone(device),
            runtime=Runtime(ranks=Ranks.alone(device), observer=watch),
            saving=Saving(folder=folder, every=Interval(count=STEPS_PER_SAVE, unit="step")),
        )
    saver = trainer.saver
    assert isinstance(saver, TimedSaver)
    watch.is_writing = lambda: saver.is_writing
    trainer.run()
    assert watch.num_written == len(saver.stall_seconds) == rounds + 1
    return saver, watch


def summarise(saver: TimedSaver, watch: Watch) -> dict[str, Any]:
    """Return the medians in seconds, and what the steps and the memory show."""
    quiet, writing = (statistics.median(watch.step_seconds[busy] or [0.0]) for busy in (False, True))
    memory = max(watch.memory_bytes[True], default=0) - statistics.median(watch.memory_bytes[False])
    return {
        "state_bytes": saver.state_bytes,
        "blocking_seconds": statistics.median(saver.blocking_seconds[1:]),
        "stall_seconds": statistics.median(saver.stall_seconds[1:]),
        "first_stall_seconds": saver.stall_seconds[0],
        "quiet_step_seconds": quiet,
        "step_while_writing_seconds": writing,
        "steps_while_writing": len(watch.step_seconds[True]),
        "more_while_writing_bytes": max(0, int(memory)),
    }


def draw(found: dict[str, Any], rounds: int) -> Table:
    """Return what the step loop waits for, in seconds."""
    table = Table(title=f"A save of {found['state_bytes'] / 1e6:.0f} MB: medians of {rounds}", title_justify="left")
    table.add_column("what the step loop waits for")
    table.add_column("seconds", justify="right")
    table.add_row("torch.save and fsync", f"{found['blocking_seconds']:.3f}")
    table.add_row("Slipway", f"{found['stall_seconds']:.3f}")
    table.add_row("Slipway, the first save", f"{found['first_stall_seconds']:.3f}")
    table.add_section()
    table.add_row("a step, nothing being written", f"{found['quiet_step_seconds']:.3f}")
    table.add_row("a step while a checkpoint is written", f"{found['step_while_writing_seconds']:.3f}")
    return table


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where the target is missed."""
    parser = option_parser(__doc__, rounds=9)
    parser.add_argument("--device", default="cpu", help="where the model is trained [cpu]")
    parser.add_argument("--folder", type=Path, help="an existing folder to write in; a temporary one otherwise")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        saver, watch = measure(Path(folder), rounds, options.device)
    found = summarise(saver, watch)
    console().print(draw(found, rounds))
    # The first save takes memory that the later ones use again.
    stall, blocking = saver.stall_seconds[1:], saver.blocking_seconds[1:]
    ratios = [
        Ratio.of("what a save stalls, over a blocking one", stall, blocking, at_most=TARGET),
        Ratio.single("the first save, likewise", saver.stall_seconds[0] / saver.blocking_seconds[0]),
        Ratio.single(
            "a step while a checkpoint is written, over a quiet one",
            found["step_while_writing_seconds"] / found["quiet_step_seconds"],
        ),
    ]
    figures = {
        "device": options.device,
        **found,
        "seconds": {"stall": saver.stall_seconds, "blocking": saver.blocking_seconds},
    }
    return finish("checkpoint", ratios, quick=options.quick, figures=figures)


if __name__ == "__main__":
    sys.exit(main())

"""The loop's own cost: CPU time per optimizer step on a tiny model, against loops that people write by hand.

Slipway runs as it does in use, with its journal and its progress lines on; plain PyTorch and Accelerate with their default
DataLoader, the same model, batch size and AdamW. Every round runs all of them, in turn; medians are printed as ratios.

    python benchmarks/overhead.py [--rounds 5] [--steps 2000]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from training.collectives import Ranks
from training.config import AdvancedTrainingConfig
from training.observers.console import make_console_observer
from training.observers.events import Observers
from training.observers.journal import Journal
from training.plan import Plan
from training.tasks.tensors import TensorTask
from training.trainer import Trainer

BATCH_SIZE, NUM_FEATURES, NUM_CLASSES = 32, 64, 10


def make_model() -> nn.Module:
    """Return the tiny model: 9,098 parameters."""
    return nn.Sequential(nn.Linear(NUM_FEATURES, 128), nn.ReLU(), nn.Linear(128, NUM_CLASSES))


def make_data(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and labels for an epoch of that many steps."""
    generator = torch.Generator().manual_seed(0)
    count = steps * BATCH_SIZE
    inputs = torch.randn(count, NUM_FEATURES, generator=generator)
    return inputs, torch.randint(NUM_CLASSES, (count,), generator=generator)


def run_plain(inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Train an epoch with a plain PyTorch loop."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for batch, target in DataLoader(TensorDataset(inputs, labels), batch_size=BATCH_SIZE, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), target).backward()
        optimizer.step()


def run_accelerate(inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Train an epoch with the loop of Accelerate's documentation."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=BATCH_SIZE, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for batch, target in loader:
        optimizer.zero_grad()
        accelerator.backward(nn.functional.cross_entropy(model(batch), target))
        optimizer.step()


def run_slipway(inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Train an epoch with Slipway, journal and progress lines on."""
    recipe = AdvancedTrainingConfig(stages_config="minimal", epochs=1, clip_norm=0.0).make_recipe().resolve(1, "no")
    recipe = replace(recipe, stages=(replace(recipe.stages[0], label_smoothing=0.0, weight_decay=0.01),))
    plan = Plan.alone()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        observer = Observers(
            [make_console_observer(log_level="info", stream_is_terminal=False), Journal(Path(folder) / "events.jsonl")]
        )
        trainer = Trainer(
            task=TensorTask(make_model, {"train": (inputs, labels)}, keyed_randomness=True),
            recipe=recipe,
            plan=plan,
            ranks=Ranks.alone(),
            observer=observer,
        )
        trainer.announce("overhead")
        result = trainer.run()
        observer.close()
        assert result["steps"] == len(labels) // BATCH_SIZE


LOOPS: dict[str, Callable[[torch.Tensor, torch.Tensor], None]] = {
    "plain PyTorch": run_plain,
    "Accelerate": run_accelerate,
    "Slipway": run_slipway,
}


def main() -> int:
    """Measure, print the table, and return 1 where Slipway costs more than it promises."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    inputs, labels = make_data(options.steps)
    warm_up = make_data(50)
    micros: dict[str, list[float]] = {name: [] for name in LOOPS}
    for run in LOOPS.values():
        run(*warm_up)
    for _ in range(options.rounds):
        for name, run in LOOPS.items():
            started = time.process_time()
            run(inputs, labels)
            micros[name].append((time.process_time() - started) / options.steps * 1e6)
    median = {name: statistics.median(values) for name, values in micros.items()}
    ratios = {
        "of_plain_pytorch": median["Slipway"] / median["plain PyTorch"],
        "of_accelerate": median["Slipway"] / median["Accelerate"],
    }
    table = Table(title=f"CPU time per step, tiny MLP, batch {BATCH_SIZE}, medians of {options.rounds}")
    for column in ("loop", "microseconds", "of plain PyTorch", "of Accelerate"):
        table.add_column(column, justify="right")
    for name, value in median.items():
        table.add_row(
            name, f"{value:.0f}", f"{value / median['plain PyTorch']:.2f}", f"{value / median['Accelerate']:.2f}"
        )
    Console().print(table)
    if options.json:
        machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
        content = {"microseconds_per_step": micros, "ratios": ratios, "machine": machine, "steps": options.steps}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return int(ratios["of_plain_pytorch"] > 1.0 or ratios["of_accelerate"] > 0.8)


if __name__ == "__main__":
    sys.exit(main())

"""What the hosts train: a small network, exact for any number of processes; the weights are left in the run's folder.

slipway launch --hosts alpha,beta train_small.py float64
"""

from __future__ import annotations

import os
import sys
import time

import torch
from torch import nn

from slipway import TrainingConfig, train
from slipway.training.common.errors import EXIT_RESUMABLE, TrainingFailed, UserError
from slipway.training.devices.interruption import Interrupted
from slipway.training.tasks.tensors import TensorTask

GLOBAL_BATCH_SIZE = 24
_SAMPLES = {"train": 100, "validation": 40}


class _Slow(TensorTask):
    """Takes its time for each pass, so that there is time to disturb it."""

    def losses(self, *arguments: object, **named: object) -> torch.Tensor:  # type: ignore[override]
        time.sleep(float(os.environ.get("SLIPWAY_TEST_PASS_SECONDS", "0")))
        return super().losses(*arguments, **named)  # type: ignore[arg-type]


def main(dtype: torch.dtype, epochs: int) -> int:
    """Train; return the exit code that `slipway train` would."""
    torch.manual_seed(7)
    centres = torch.randn(5, 16, dtype=dtype)
    splits = {}
    for split, count in _SAMPLES.items():
        labels = torch.randint(0, 5, (count,))
        splits[split] = (centres[labels] + torch.randn(count, 16, dtype=dtype), labels)

    def make_model() -> nn.Module:
        return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 5)).to(dtype)

    config = TrainingConfig(
        epochs=epochs,
        batch_size=GLOBAL_BATCH_SIZE,
        batch_rule="fixed",
        learning_rate=0.05,
        precision=str(dtype).removeprefix("torch."),
        optimizer="sgd",
        monitor="loss",
        device="cpu",
        mixed_precision="no",
        experiment_name="cluster",
        save_every="2step",
        resume=os.environ.get("SLIPWAY_TEST_RESUME"),
    )
    try:
        result = train(config, _Slow(make_model, splits, name="small"))
    except Interrupted:
        return EXIT_RESUMABLE
    except (UserError, TrainingFailed) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    if os.environ.get("RANK", "0") == "0":
        print(f"weights {result.folder / 'best' / 'model.safetensors'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(getattr(torch, sys.argv[1]), int(sys.argv[2])))

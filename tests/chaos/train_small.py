"""What the chaos suite kills: a small training that keeps a book of every sample it computes, beside the journal.

    slipway launch --num-processes 2 tests/chaos/train_small.py --task sign --resume auto

`CHAOS_COMPUTED` names the book: `<name>.<rank>` gets a line of sample indices for each forward pass of training, written
before the pass counts. `CHAOS_PASS_SECONDS` slows a pass down; it changes no number.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from slipway import Batch, TrainingConfig, train
from slipway.training.common.errors import EXIT_RESUMABLE, TrainingFailed, UserError
from slipway.training.config.recipe import Stage
from slipway.training.data.landmarks import SPLITS, LandmarkLayout
from slipway.training.data.prepared.prepared import DataFacts, PreparedData
from slipway.training.data.prepared.store import RaggedStore
from slipway.training.devices.interruption import Interrupted
from slipway.training.tasks.classification import ClassificationTask
from slipway.training.tasks.sign.options import ModelSpec
from slipway.training.tasks.sign.task import SignTask
from slipway.training.tasks.tensors import TensorTask
from tests.training.rehearsal import rehearsed_with

NUM_SAMPLES = {"train": 300, "validation": 60, "test": 60}
GLOBAL_BATCH_SIZE = 24
"""At the number of processes a run starts with, whichever that is; the last batch of an epoch is half of it."""
STEPS_PER_EPOCH = -(-NUM_SAMPLES["train"] // GLOBAL_BATCH_SIZE)
NUM_STAGES = 2
MICRO_BATCH_SIZE = 7
_NUM_CLASSES = 5
_STAGES = Path(__file__).with_name("stages.yaml")


class _Booked(ClassificationTask):
    """Appends the samples of each forward pass of a step to a file of this rank, in one write."""

    is_rehearsed = False

    def build_model(self) -> nn.Module:
        # As many as in the run that is compared with; and two trainings at once must not wait for each other's threads.
        torch.set_num_threads(1)
        rank = os.environ.get("RANK", "0")
        self._book = os.open(f"{os.environ['CHAOS_COMPUTED']}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._pass_seconds = float(os.environ.get("CHAOS_PASS_SECONDS", "0"))
        return super().build_model()

    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Stage | None) -> torch.Tensor:
        if self.is_rehearsed:
            return super().losses(outputs, batch, stage)
        os.write(self._book, (" ".join(map(str, batch.indices.tolist())) + "\n").encode())
        time.sleep(self._pass_seconds)
        return super().losses(outputs, batch, stage)


class _BookedSign(_Booked, SignTask):
    """The bundled encoder, its dropout and augmentation keyed by sample: exact for any number of processes."""


class _BookedForeign(_Booked, TensorTask):
    """A model with randomness and batch statistics of its own: repeatable for one number of processes."""


def _perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 384), nn.BatchNorm1d(384), nn.GELU(), nn.Dropout(0.2), nn.Linear(384, 384), nn.GELU(),
        nn.Dropout(0.2), nn.Linear(384, _NUM_CLASSES),
    )  # fmt: skip


def _make_sign() -> ClassificationTask:
    random = np.random.default_rng(7)
    count = sum(NUM_SAMPLES.values())
    labels = random.integers(0, _NUM_CLASSES, count)
    offsets = np.concatenate([[0], np.cumsum(random.integers(4, 15, count))])
    shapes = random.normal(size=(_NUM_CLASSES, 21, 3))
    values = np.repeat(shapes[labels], np.diff(offsets), axis=0) + 3.0 * random.normal(size=(offsets[-1], 21, 3))
    values[random.random(values.shape[:2]) < 0.05] = np.nan
    # Some labels are wrong, so that the best epoch is neither the first nor the last.
    wrong = random.random(count) < 0.2
    labels[wrong] = random.integers(0, _NUM_CLASSES, int(wrong.sum()))
    starts = np.cumsum([0, *NUM_SAMPLES.values()])
    data = PreparedData(
        store=RaggedStore(
            values=torch.from_numpy(values.astype(np.float32)),
            offsets=torch.from_numpy(offsets),
            labels=torch.from_numpy(labels),
        ),
        indices={split: torch.arange(starts[n], starts[n + 1]) for n, split in enumerate(SPLITS)},
        facts=DataFacts(
            name="random clips",
            source_format="none",
            synthetic=True,
            class_names=tuple("abcde"),
            layout=LandmarkLayout(num_landmarks=21, num_coords=3, parts=((0, 21, 0),)),
            split_mode="own",
            notes=(),
            fingerprint="chaos",
        ),
    )
    return _BookedSign(data, ModelSpec(width=32, kernel_size=5))


def _make_foreign() -> ClassificationTask:
    torch.manual_seed(7)
    centres = torch.randn(_NUM_CLASSES, 64)
    splits = {}
    for split, count in NUM_SAMPLES.items():
        labels = torch.randint(0, _NUM_CLASSES, (count,))
        splits[split] = (centres[labels] + 2.0 * torch.randn(count, 64), labels)
    return _BookedForeign(_perceptron, splits, name="foreign", keyed_randomness=False)


TASKS: dict[str, Callable[[], ClassificationTask]] = {"sign": _make_sign, "foreign": _make_foreign}


def main() -> int:
    """Train; return the exit code that `bin/train.py` would."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--reduction", default="auto")
    parser.add_argument("--runs-dir", required=True)
    parser.add_argument("--resume")
    options = parser.parse_args()
    config = TrainingConfig(
        stages_config=str(_STAGES),
        epochs=options.epochs,
        batch_size=options.batch_size,
        micro_batch_size=MICRO_BATCH_SIZE,
        reduction=options.reduction,
        ema_decay=0.98 if options.task == "sign" else None,
        optimizer="adamw" if options.task == "sign" else "sgd",
        # `scale` multiplies it by the number of processes that the run starts with.
        learning_rate=(1e-3 if options.task == "sign" else 1e-2) * options.batch_size / GLOBAL_BATCH_SIZE,
        # A metric that is one number of many digits: rounding between two plans does not make it a tie.
        monitor="loss",
        device="cpu",
        mixed_precision="no",
        experiment_name="chaos",
        runs_dir=options.runs_dir,
        save_every="4step",
        resume=options.resume,
    )
    try:
        task = TASKS[options.task]()
        with rehearsed_with(task, is_rehearsed=True):
            train(config, task)
        return 0
    except Interrupted:
        return EXIT_RESUMABLE
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except TrainingFailed as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""The bundled sign model trained by a loop written by hand and by Slipway: the same batches, dropout and weights.

The loop by hand is the one that tutorials show: a `Dataset` of clips, a `DataLoader` that pads each batch to its longest
clip, the model written for padded clips, AdamW, gradient clipping, and `DistributedDataParallel` on several ranks. That it
trains on Slipway's batches, in Slipway's order and with Slipway's keys, costs it nothing and makes the weights comparable.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import Clock
from benchmarks.padded_encoder import PaddedEncoder
from benchmarks.slipway_side import Trained, flatten, train_with_slipway
from slipway.training.batches.order import Order
from slipway.training.common.keyed_random import fold, sample_keys
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Recipe, Stage
from slipway.training.config.schedule import learning_rate
from slipway.training.data.augment import augment_clips
from slipway.training.data.landmarks import SPLITS
from slipway.training.data.layouts.mediapipe import one_hand
from slipway.training.data.prepared.prepare import prepare_data
from slipway.training.data.prepared.prepared import DataFacts, PreparedData
from slipway.training.data.prepared.store import RaggedStore
from slipway.training.data.specs import DataSpec
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.trainer import MODEL_STREAM
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.sign.encoder import SignEncoder
from slipway.training.tasks.sign.options import AUGMENTATION, ModelSpec
from slipway.training.tasks.sign.task import SignTask

_REAL_DATA = "asl_boston104_hands"
_SHORTEST, _MEDIAN, _LONGEST, _SPREAD = 3, 10.0, 30, 0.5
"""Frames of the real clips: near log-normal, with the spread of the logarithm."""


_CLASSES = tuple("abcdefghij")
"""Of random clips."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Clips to train on and where they are from."""

    name: str
    data: PreparedData
    """With a split to train on and no other."""


def real_clips() -> Clips:
    """Return word clips of real signing where they are on this machine, else generated ones of like lengths."""
    shared = Path(os.environ.get("SLIPWAY_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    folder = shared / _REAL_DATA
    if folder.is_dir():
        return Clips(name="Boston-104 words", data=_only_train(prepare_data(DataSpec(source=str(folder)), seed=0)))
    data = _only_train(prepare_data(DataSpec(), seed=0))
    drawn = np.random.default_rng(0).lognormal(np.log(_MEDIAN), _SPREAD, len(data.store))
    lengths = np.minimum(np.clip(drawn.round(), _SHORTEST, _LONGEST).astype(np.int64), data.store.lengths.numpy())
    return Clips(name="generated clips of real lengths", data=replace(data, store=_cut(data.store, lengths)))


def default_clips() -> Clips:
    """Return the clips of the default recipe: generated fingerspelling of 16 to 48 frames."""
    return Clips(name="synthetic fingerspelling", data=_only_train(prepare_data(DataSpec(), seed=0)))


def equal_clips(num_clips: int, frames: int) -> Clips:
    """Return random clips of one hand and one length, which no order of samples can pad less."""
    layout = one_hand(num_coords=3)
    shape = (num_clips * frames, layout.num_landmarks, layout.num_coords)
    nothing = torch.empty(0, dtype=torch.int64)
    data = PreparedData(
        store=RaggedStore(
            values=torch.randn(shape, generator=torch.Generator().manual_seed(0)),
            offsets=torch.arange(num_clips + 1) * frames,
            labels=torch.arange(num_clips) % len(_CLASSES),
        ),
        indices={"train": torch.arange(num_clips), "validation": nothing, "test": nothing},
        facts=DataFacts(
            name="random clips",
            source_format="none",
            synthetic=True,
            class_names=_CLASSES,
            layout=layout,
            split_mode="none",
            notes=(),
            fingerprint="",
        ),
    )
    return Clips(name=f"random clips of {frames} frames", data=data)


def whole_batches(clips: Clips, global_batch_size: int, *, at_most: int | None = None) -> Clips:
    """Return the clips without those of a short last batch, so that ranks have equal shares, or of so many batches."""
    train = clips.data.indices["train"]
    batches = len(train) // global_batch_size
    kept = train[: min(batches, at_most or batches) * global_batch_size]
    return replace(clips, data=replace(clips.data, indices={**clips.data.indices, "train": kept}))


def _only_train(data: PreparedData) -> PreparedData:
    nothing = torch.empty(0, dtype=torch.int64)
    return replace(data, indices={split: data.indices[split] if split == "train" else nothing for split in SPLITS})


def _cut(store: RaggedStore, lengths: np.ndarray) -> RaggedStore:
    """Return the clips cut to `lengths`, each at most its own."""
    starts = store.offsets[:-1].numpy()
    rows = np.concatenate([np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)])
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
    return RaggedStore(values=store.values[torch.from_numpy(rows)], offsets=offsets, labels=store.labels)


def make_recipe(
    num_ranks: int, *, epochs: int, augments: bool = False, batch_size: int = 32, width: int = ModelSpec.width
) -> Recipe:
    """Return the default recipe's first stage, or its second, which augments."""
    recipe = TrainingConfig(epochs=epochs, batch_size=batch_size, model_width=width).make_recipe()
    stage = replace(recipe.stages[1 if augments else 0], patience=None)
    assert (stage.options.augmentation == AUGMENTATION) == augments
    return replace(recipe, stages=(stage,)).resolve(num_ranks, "no")


def model_of(recipe: Recipe) -> ModelSpec:
    """Return the size of a recipe's encoder."""
    return ModelSpec(**recipe.task.options["model"])


class ClipDataset(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Clips as someone would write them: a list of tensors, augmented one at a time."""

    def __init__(self, data: PreparedData, stage: Stage, seed: int) -> None:
        store = data.store
        places = zip(store.offsets[:-1].tolist(), store.offsets[1:].tolist(), strict=True)
        clips = [store.values[start:stop] for start, stop in places]
        train = data.indices["train"].tolist()
        self._clips, self._labels = [clips[index] for index in train], store.labels[data.indices["train"]]
        self._stage, self._layout, self._seed = stage, data.facts.layout, seed
        self._keys = torch.empty(0, dtype=torch.int64)

    def set_epoch(self, epoch: int) -> None:
        """Draw the keys of an epoch's randomness, one for each clip."""
        self._keys = sample_keys(self._seed, epoch, np.arange(len(self._clips)))

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        clip, key = self._clips[index], self._keys[index]
        if self._stage.options.augmentation == AUGMENTATION:
            lengths = torch.tensor([len(clip)])
            clip, _ = augment_clips(clip, lengths, key[None], AUGMENTATION, self._layout)
        return clip, self._labels[index], key


def collate(samples: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, ...]:
    """Return clips padded to the longest, their lengths, labels and keys."""
    clips, labels, keys = zip(*samples, strict=True)
    lengths = torch.tensor([len(clip) for clip in clips])
    padded = nn.utils.rnn.pad_sequence(list(clips), batch_first=True)
    return padded, lengths, torch.stack(labels), torch.stack(keys)


def _batches_of_rank(order: Order, epoch: int, batch: int, ranks: Ranks, accumulation: int) -> list[list[int]]:
    """Return what a batch sampler yields on this rank: its part of each global batch, in micro-batches of equal size."""
    found = []
    for step in range(order.num_steps(batch)):
        mine = order.batch(epoch, step, batch)[ranks.rank :: ranks.size]
        found += [part.tolist() for part in np.array_split(mine, accumulation)]
    return found


def train_by_hand(clips: Clips, recipe: Recipe, ranks: Ranks, *, accumulation: int = 1) -> Trained:
    """Train with the hand-written loop; on several ranks in the process group that is there, with equal shares."""
    stage, spec, batch = recipe.stages[0], recipe.optimizer, recipe.resolved.global_batch_size
    dataset = ClipDataset(clips.data, stage, recipe.seed)
    order = Order(seed=recipe.seed, num_samples=len(dataset))
    steps = order.num_steps(batch)
    torch.manual_seed(fold(recipe.seed, MODEL_STREAM) % 2**63)
    task = SignTask(clips.data, model_of(recipe))
    encoder = task.build_model()
    assert isinstance(encoder, SignEncoder)
    task.begin_stage(encoder, stage)
    model = PaddedEncoder(encoder)
    replica: Any = DistributedDataParallel(model) if ranks.size > 1 else model
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": stage.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(spec.beta1, spec.beta2), eps=spec.eps)
    criterion = nn.CrossEntropyLoss(label_smoothing=stage.options.label_smoothing)
    replica.train()
    step = 0
    ranks.barrier()
    clock = Clock()
    for epoch in range(stage.epochs):
        dataset.set_epoch(epoch)
        sampler = _batches_of_rank(order, epoch, batch, ranks, accumulation)
        loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate)
        for number, (landmarks, lengths, labels, keys) in enumerate(loader, 1):
            is_last = number % accumulation == 0
            waits = not is_last and ranks.size > 1
            with replica.no_sync() if waits else contextlib.nullcontext():
                (criterion(replica(landmarks, lengths, keys), labels) / accumulation).backward()
            if is_last:
                nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm or torch.inf)
                for group in optimizer.param_groups:
                    group["lr"] = _learning_rate(recipe, stage, step, steps)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
    ranks.barrier()
    micro_batch_size = batch // ranks.size // accumulation
    return Trained(weights=flatten(model), cost=clock.read(), steps=step, micro_batch_size=micro_batch_size)


def _learning_rate(recipe: Recipe, stage: Stage, step: int, steps_per_epoch: int) -> float:
    num_steps = stage.epochs * steps_per_epoch
    return learning_rate(
        step,
        peak=recipe.peak_learning_rate * stage.learning_rate_factor,
        num_steps=num_steps,
        warmup_steps=min(round(stage.warmup_epochs * steps_per_epoch), num_steps // 2),
        schedule=stage.schedule,
        final_fraction=stage.final_fraction,
    )


def train_by_slipway(
    clips: Clips, recipe: Recipe, ranks: Ranks, *, micro_batch_size: int | None = None, accumulation: int = 1
) -> Trained:
    """Train with Slipway; without a micro-batch size it chooses one, as it does in use."""
    plan = replace(
        Plan.alone(),
        world_size=ranks.size,
        share_weights=(1.0,) * ranks.size,
        micro_batch_size=micro_batch_size,
        gradient_accumulation=accumulation,
        threads_per_process=torch.get_num_threads(),
    )
    return train_with_slipway(SignTask(clips.data, model_of(recipe)), recipe, plan, ranks)


def difference(first: Trained, second: Trained) -> float:
    """Return max|a - b| / max|w| of two runs' weights."""
    return float((first.weights - second.weights).abs().max() / second.weights.abs().max())

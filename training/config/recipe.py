"""What is learned: data, model, optimizer, batch, stages and seed. It alone decides the weights, and it has a hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from ..common.errors import UserError
from .schedule import batch_size_factor

BatchRule = Literal["scale", "fixed"]
LearningRateRule = Literal["linear", "sqrt", "none"]
Schedule = Literal["constant", "cosine", "linear", "step"]
MixedPrecision = Literal["no", "fp16", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The strengths of the augmentations; zero switches one off. Lengths are in units of the hand or body size."""

    rotation_degrees: float = 0.0
    """Largest rotation in the image plane, either way; half as much out of it where there is depth."""
    scale: float = 0.0
    """The clip is enlarged or shrunk by a factor in [1 / (1 + scale), 1 + scale]."""
    shear: float = 0.0
    shift: float = 0.0
    flip_probability: float = 0.0
    """Left-right flip; landmarks of the left and the right side change places."""
    noise: float = 0.0
    """Standard deviation of the noise on every coordinate."""
    resample: float = 0.0
    """The clip is played at a speed in [1 / (1 + resample), 1 + resample], by linear interpolation."""
    crop: float = 0.0
    """Largest share of the frames cut off at each end."""
    frame_dropout: float = 0.0
    """Probability that a frame loses all its landmarks."""
    landmark_dropout: float = 0.0
    """Probability that a landmark is missing throughout a clip."""

    def strengthened(self, factor: float) -> Augmentation:
        """Return the same augmentations, each `factor` times as strong; the flip stays as likely."""
        values = {name: value * factor for name, value in dataclasses.asdict(self).items()}
        return Augmentation(**{**values, "flip_probability": self.flip_probability})


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of a recipe. It takes over the best weights of the stage before and starts a fresh optimizer."""

    name: str
    epochs: int
    learning_rate_factor: float = 1.0
    """Times the recipe's learning rate."""
    schedule: Schedule = "cosine"
    warmup_epochs: float = 1.0
    final_fraction: float = 0.01
    """The share of the peak learning rate that is left at the last step."""
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    dropout: float = 0.1
    augmentation: Augmentation = field(default_factory=Augmentation)
    patience: int | None = None
    """Epochs without improvement after which the stage stops; none: it runs to its end."""
    min_delta: float = 0.0
    """The least gain in the monitored metric that counts as an improvement."""
    improvement_threshold: float = -1.0
    """The next stage starts only if this one improved on the best so far by at least this; negative: always."""

    def __post_init__(self) -> None:
        where = f"stage {self.name!r}"
        _check(self.epochs >= 1, where, "epochs", self.epochs, "at least 1")
        _check(0 <= self.dropout < 1, where, "dropout", self.dropout, "in [0, 1)")
        _check(0 <= self.label_smoothing < 1, where, "label_smoothing", self.label_smoothing, "in [0, 1)")
        _check(self.learning_rate_factor > 0, where, "learning_rate_factor", self.learning_rate_factor, "above 0")
        _check(self.warmup_epochs >= 0, where, "warmup_epochs", self.warmup_epochs, "at least 0")
        _check(self.weight_decay >= 0, where, "weight_decay", self.weight_decay, "at least 0")
        _check(self.patience is None or self.patience >= 1, where, "patience", self.patience, "at least 1")


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which samples there are and how they are split."""

    source: str = "synthetic"
    format: str | None = None
    split: Literal["auto", "stratified", "signer", "own"] = "auto"
    train_ratio: float = 0.7
    duplicates: Literal["drop", "keep"] = "drop"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The size of the bundled encoder."""

    width: int = 96
    blocks: int = 2
    """Groups of convolutions followed by one transformer block."""
    convolutions: int = 2
    """Convolution blocks in each group."""
    kernel_size: int = 9
    heads: int = 4

    def __post_init__(self) -> None:
        divisible = self.width >= self.heads >= 1 and self.width % self.heads == 0
        _check(divisible, "model", "width", self.width, f"a multiple of its {self.heads} heads")
        _check(self.blocks >= 1, "model", "blocks", self.blocks, "at least 1")


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """The optimizer and its constants. AdamW's eps is 1e-6: at 1e-8 it turns rounding into steps (docs/exactness.md)."""

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 2e-3
    """At the base batch size."""
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-6
    momentum: float = 0.9
    clip_norm: float | None = 1.0
    ema_decay: float | None = None


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """Where hardware reaches the recipe: resolved once at the start of a run, then frozen."""

    num_processes: int
    global_batch_size: int
    learning_rate_factor: float
    mixed_precision: MixedPrecision


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the learned weights. Equal recipes have equal hashes."""

    task: str = "sign"
    data: DataSpec = field(default_factory=DataSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    stages: tuple[Stage, ...] = ()
    batch_size: int = 32
    """The base: the global batch of one process."""
    batch_rule: BatchRule = "scale"
    learning_rate_rule: LearningRateRule = "linear"
    monitor: str = "accuracy"
    """The validation metric that early stopping and `best` follow; ties go to the lower loss."""
    precision: Literal["float32", "float64"] = "float32"
    max_steps: int | None = None
    """Optimizer steps of the whole run."""
    bad_steps: int = 5
    """Steps in a row with a loss or gradient that is not finite, after which training goes back and passes over them."""
    loss_spike_score: float | None = None
    """Robust standard deviations above the recent losses at which one is a spike, gone back from alike; none: never."""
    seed: int = 0
    resolution: Resolution | None = None

    def __post_init__(self) -> None:
        _check(self.batch_size >= 1, "recipe", "batch_size", self.batch_size, "at least 1")
        _check(self.max_steps is None or self.max_steps >= 1, "recipe", "max_steps", self.max_steps, "at least 1")
        _check(self.bad_steps >= 1, "recipe", "bad_steps", self.bad_steps, "at least 1")
        spike = self.loss_spike_score
        _check(spike is None or spike > 0, "recipe", "loss_spike_score", spike, "above 0")
        rate = self.optimizer.learning_rate
        _check(rate > 0, "recipe", "learning_rate", rate, "above 0")
        _check(0 < self.data.train_ratio < 1, "recipe", "train_ratio", self.data.train_ratio, "between 0 and 1")

    def resolve(self, num_processes: int, mixed_precision: MixedPrecision) -> Recipe:
        """Return the recipe with its global batch, learning rate factor and mixed precision fixed for a run."""
        global_batch_size = self.batch_size * (num_processes if self.batch_rule == "scale" else 1)
        factor = batch_size_factor(global_batch_size, self.batch_size, self.learning_rate_rule)
        resolution = Resolution(
            num_processes=num_processes,
            global_batch_size=global_batch_size,
            learning_rate_factor=factor,
            mixed_precision=mixed_precision,
        )
        return dataclasses.replace(self, resolution=resolution)

    @property
    def resolved(self) -> Resolution:
        """What was resolved at the start of the run."""
        if self.resolution is None:
            raise ValueError("the recipe is not resolved yet: call `resolve` first")
        return self.resolution

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate at the global batch, before a stage's own factor."""
        return self.optimizer.learning_rate * self.resolved.learning_rate_factor

    def first_epoch(self, stage_number: int) -> int:
        """Return the epoch of the run at which a stage starts: a function of the recipe, not of what stopped early."""
        return sum(stage.epochs for stage in self.stages[:stage_number])

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values, as they stand in `run.json`."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def base_hash(self) -> str:
        """The hash of what the user asked for, without what the hardware resolved."""
        return _hash({name: value for name, value in self.as_dict().items() if name != "resolution"})

    @property
    def hash(self) -> str:
        """The hash of the whole recipe, of which the learned weights are a function."""
        return _hash(self.as_dict())


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _check(holds: bool, where: str, key: str, value: Any, expected: str) -> None:
    if not holds:
        raise UserError(f"{where}: {key} must be {expected}, got {value}")

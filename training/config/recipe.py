"""What is learned: task, optimizer, batch, stages and seed. It alone decides the weights, and it has a hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..common.errors import UserError
from .schedule import batch_size_factor

BatchRule = Literal["scale", "fixed"]
OptimizerName = Literal[
    "adamw",
    "sgd",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "asgd",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
]
"""The first two are Slipway's own over flat parameters, the others the classes of `torch.optim` that are called so."""
LearningRateRule = Literal["linear", "sqrt", "none"]
Schedule = Literal["constant", "cosine", "linear", "step", "one_cycle", "warmup_stable_decay"]
Precision = Literal["float32", "float64"]
MixedPrecision = Literal["no", "fp16", "bf16"]
Sampling = Literal["natural", "balanced", "sqrt"]
ClassWeights = Literal["none", "balanced", "sqrt"]
MonitorDirection = Literal["auto", "max", "min"]
Ending = Literal["best", "last"]

LATER_FIELDS = {
    "sampling": "natural",
    "class_weights": "none",
    "monitor_direction": "auto",
    "own_optimizer": None,
    "own_schedule": None,
    "start": None,
}
"""Fields that recipes did not always have, as the ones without them mean it. At these values they are not hashed."""
LATER_TASK_FIELDS = {"weights_fingerprint": None}
"""The same of a recipe's task."""
LATER_STAGE_FIELDS = {"end_with": "best", "min_steps": None}
"""The same of a stage."""


def split_monitor(text: str) -> tuple[str, MonitorDirection]:
    """Return the metric and the direction of `r2`, `r2:max` or `mae:min`. Raises `UserError` for anything else."""
    name, _, direction = text.partition(":")
    if not name.isidentifier() or (direction not in ("max", "min") and ":" in text):
        raise UserError(
            f"--monitor: {text!r} is no metric; give its name, and max or min where its name does not say which is better, "
            "such as r2:max",
            option="monitor",
        )
    return name, "max" if direction == "max" else "min" if direction == "min" else "auto"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a recipe: it continues from the weights with which the stage before ended, with a new optimizer."""

    name: str
    epochs: int
    learning_rate_factor: float = 1.0
    """The recipe's learning rate is multiplied by it."""
    schedule: Schedule = "cosine"
    warmup_epochs: float = 1.0
    final_fraction: float = 0.01
    """The learning rate of the last step, relative to the peak."""
    weight_decay: float = 0.05
    end_with: Ending = "best"
    """The weights with which it ends: of its best epoch by the validation, or of its last one."""
    min_steps: int | None = None
    """The least number of steps at the base batch: where the samples are few, it has more epochs; settled as a run starts."""
    patience: int | None = None
    """Epochs without improvement after which the stage ends; None: it has all its epochs."""
    min_delta: float = 0.0
    """The smallest gain in the monitored metric that counts as an improvement."""
    improvement_threshold: float = -1.0
    """The next stage starts only if this one improved on the best before it by at least this; negative: always."""
    options: Any = None
    """The settings of the task in this stage, an instance of its `stage_options`; None: it has none."""

    def __post_init__(self) -> None:
        where = f"stage {self.name!r}"
        check(self.epochs >= 1, where, "epochs", self.epochs, "at least 1")
        check(self.learning_rate_factor > 0, where, "learning_rate_factor", self.learning_rate_factor, "above 0")
        check(self.warmup_epochs >= 0, where, "warmup_epochs", self.warmup_epochs, "at least 0")
        check(self.weight_decay >= 0, where, "weight_decay", self.weight_decay, "at least 0")
        check(self.end_with in ("best", "last"), where, "end_with", self.end_with, "best or last")
        check(self.min_steps is None or self.min_steps >= 1, where, "min_steps", self.min_steps, "at least 1")
        check(self.patience is None or self.patience >= 1, where, "patience", self.patience, "at least 1")


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What is trained, as far as the recipe knows the task."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """The task's options that decide what is learned, as plain values."""
    model_fingerprint: str | None = None
    """Hash of the model's structure; None until the model is made."""
    weights_fingerprint: str | None = None
    """Hash of the model's first weights, to a few digits; a run that is resumed keeps its own, with a warning."""
    data_fingerprint: str | None = None
    """Hash of the samples, wherever they are stored; None until they are read."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """The optimizer and its constants. AdamW's eps is 1e-6: at 1e-8 it turns rounding into steps (docs/exactness.md)."""

    name: str = "adamw"
    """An `OptimizerName`, or what makes an optimizer of the user's: a class or function by its module and name."""
    learning_rate: float = 2e-3
    """At the base batch size."""
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-6
    momentum: float = 0.9
    clip_norm: float | None = 1.0
    ema_decay: float | None = None


@dataclass(frozen=True, kw_only=True)
class OwnOptimizer:
    """What a recipe says of an optimizer that updates each parameter, not the flat ones."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the options give the optimizer's class."""
    stage_decay: bool = True
    """Whether its weight decay is that of the stages; False: it has its own."""
    class_name: str | None = None
    """Its class, by module and name; None until it is made."""
    groups: tuple[Mapping[str, Any], ...] = ()
    """Settings of its groups of parameters, at the base learning rate in the first stage; none until it is made."""


@dataclass(frozen=True, kw_only=True)
class OwnSchedule:
    """What a recipe says of a learning rate that follows a function of the user's."""

    function: str
    """Its module and name."""
    factors: str
    """Hash of its values over a stage of 1000 steps."""


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What the hardware decides in a recipe: resolved once at the start of a run, then frozen."""

    num_processes: int
    global_batch_size: int
    batch_size_factor: float
    """The learning rate is multiplied by it because of the global batch."""
    mixed_precision: MixedPrecision


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the learned weights. Equal recipes have equal hashes."""

    task: TaskSpec
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    stages: tuple[Stage, ...] = ()
    batch_size: int = 32
    """The base batch: the global batch with one process."""
    batch_rule: BatchRule = "scale"
    learning_rate_rule: LearningRateRule = "linear"
    sampling: Sampling = "natural"
    """How often each class is drawn in an epoch: as in the data, all equally often, or by the square root of its samples."""
    class_weights: ClassWeights = "none"
    """The weight of each class in the training loss: balanced is samples / (classes x samples of the class)."""
    monitor: str = "accuracy"
    """The validation metric that early stopping and `best` follow; ties go to the lower loss."""
    monitor_direction: MonitorDirection = "auto"
    """Whether the highest or the lowest value of the monitor is best; auto: the lowest loss, the highest of any other."""
    precision: Precision = "float32"
    tf32: bool = False
    """Whether NVIDIA GPUs may round the factors of float32 products to TF32: 10 bits of 23. It changes what is computed and
    not only the order of sums, so it is no matter of the plan; it is never chosen for the user, so nothing is resolved."""
    max_steps: int | None = None
    """Optimizer steps of the complete run."""
    bad_steps: int = 5
    """Steps in a row with a loss or gradient that is not finite, after which training goes back and skips their batches."""
    loss_spike_score: float | None = None
    """Robust standard deviations above the recent losses that make a loss a spike, from which training goes back too;
    None: no loss does."""
    seed: int = 0
    own_optimizer: OwnOptimizer | None = None
    """None: AdamW or SGD over flat parameters."""
    own_schedule: OwnSchedule | None = None
    """None: the named schedule of each stage."""
    start: str | None = None
    """Hash of the weights of another run that it starts from; None: the model's own."""
    resolution: Resolution | None = None

    def __post_init__(self) -> None:
        check(self.batch_size >= 1, "recipe", "batch_size", self.batch_size, "at least 1")
        check(self.max_steps is None or self.max_steps >= 1, "recipe", "max_steps", self.max_steps, "at least 1")
        check(self.bad_steps >= 1, "recipe", "bad_steps", self.bad_steps, "at least 1")
        spike = self.loss_spike_score
        check(spike is None or spike > 0, "recipe", "loss_spike_score", spike, "above 0")
        rate = self.optimizer.learning_rate
        check(rate > 0, "recipe", "learning_rate", rate, "above 0")

    def resolve(self, num_processes: int, mixed_precision: MixedPrecision) -> Recipe:
        """Return the recipe with its global batch, its learning rate and its mixed precision fixed for a run."""
        global_batch_size = self.batch_size * (num_processes if self.batch_rule == "scale" else 1)
        factor = batch_size_factor(global_batch_size, self.batch_size, self.learning_rate_rule)
        resolution = Resolution(
            num_processes=num_processes,
            global_batch_size=global_batch_size,
            batch_size_factor=factor,
            mixed_precision=mixed_precision,
        )
        return dataclasses.replace(self, resolution=resolution)

    def with_enough_epochs(self, num_samples: int) -> Recipe:
        """Return the recipe whose stages have the epochs that their least number of steps takes with so many samples.

        Steps of the base batch are meant: how many processes train does not change what is learned from.
        """
        steps = max(1, -(-num_samples // self.batch_size))
        stages = [
            dataclasses.replace(stage, epochs=max(stage.epochs, -(-(stage.min_steps or 0) // steps)))
            for stage in self.stages
        ]
        return dataclasses.replace(self, stages=tuple(stages))

    @property
    def resolved(self) -> Resolution:
        """The resolution. Raises `ValueError` before `resolve`."""
        if self.resolution is None:
            raise ValueError("the recipe is not resolved yet: call `resolve` first")
        return self.resolution

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate at the global batch, before a stage's own factor."""
        return self.optimizer.learning_rate * self.resolved.batch_size_factor

    def first_epoch(self, stage_number: int) -> int:
        """Return the epoch of the run at which a stage starts, counted as if no stage ended early."""
        return sum(stage.epochs for stage in self.stages[:stage_number])

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values, as they stand in `run.json`."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def base_hash(self) -> str:
        """The hash of what the user asked for, without the resolution."""
        return _hash({name: value for name, value in self.as_dict().items() if name != "resolution"})

    @property
    def hash(self) -> str:
        """The hash of the complete recipe, which alone decides the learned weights."""
        return _hash(self.as_dict())


def _hash(values: dict[str, Any]) -> str:
    stages = [_without(LATER_STAGE_FIELDS, stage) for stage in values["stages"]]
    task = _without(LATER_TASK_FIELDS, values["task"])
    values = _without(LATER_FIELDS, {**values, "task": task, "stages": stages})
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _without(fields: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if (name, value) not in fields.items()}


def check(holds: bool, where: str, key: str, value: Any, expected: str) -> None:
    """Raise `UserError` unless a value is as expected; `where` begins the message."""
    if not holds:
        raise UserError(f"{where}{': ' if where else ''}{key} must be {expected}, got {value}")

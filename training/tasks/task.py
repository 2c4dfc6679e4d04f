"""The `Task` interface: everything the loop needs to know about what it trains."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..common.errors import UserError
from ..config.methods import Groups, ParameterGroup
from ..config.recipe import MonitorDirection, Stage
from ..devices.interruption import StopRequest
from ..devices.ranks import Ranks
from .answers import Answers
from .fingerprint import samples_fingerprint

if TYPE_CHECKING:
    from .origin.factory import TaskOrigin


@dataclass(slots=True)
class Batch:
    """The samples of one forward pass."""

    indices: torch.Tensor
    """int64 [samples], on the host: the positions of the samples in their split."""
    keys: torch.Tensor | None
    """int64 [samples]: the key of each sample's randomness in this epoch; None in evaluation."""
    tensors: dict[str, torch.Tensor]
    """What the task fetched, [samples, ...] or, where the task lays samples end to end, their rows."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; from pinned memory the copy does not block."""
        tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()}
        keys = None if self.keys is None else self.keys.to(device, non_blocking=True)
        return Batch(self.indices, keys, tensors)

    def pin(self) -> Batch:
        """Return the batch in page-locked memory, from which a device copies while the host goes on."""
        tensors = {name: tensor.pin_memory() for name, tensor in self.tensors.items()}
        return Batch(self.indices, None if self.keys is None else self.keys.pin_memory(), tensors)

    def channels_last(self) -> Batch:
        """Return the batch with images, floating-point [samples, channels, height, width], channels last, where they are."""
        for name, tensor in self.tensors.items():
            if tensor.ndim == 4 and tensor.is_floating_point():
                self.tensors[name] = tensor.contiguous(memory_format=torch.channels_last)
        return self


class Task(abc.ABC):
    """A model, data sets, a loss for each sample and metrics.

    Everything random in training is drawn from `batch.keys`; then every plan reaches the same weights. A model with
    randomness of its own (`nn.Dropout`) is found by its modules and reseeded for each (seed, step, rank), repeatable for one
    plan; `slipway.nn.Dropout` draws the same under any plan. A model with batch statistics (`nn.BatchNorm1d`) is outside the
    exactness contract.
    """

    name: str = "task"
    keyed_randomness: bool | None = None
    """Whether the model draws by keys only, so that it need not be reseeded; None: as its modules say."""
    options: Mapping[str, Any] = MappingProxyType({})
    """What decides what is learned beside model and samples, as plain values: part of the recipe and its hash."""
    schedule: Callable[..., float] | None = None
    """A function of the step, from 0 in each stage, or of the step and the number of steps, whose value times the peak is the
    learning rate; a method too. None: the schedule that the stage names."""
    stage_options: type | None = None
    """A dataclass of the settings that a stage has for this task, such as a dropout; `Stage.options` is one of them."""
    origin: TaskOrigin | None = None
    """What made the task, where `--task` names it."""

    @property
    def can_split_batches(self) -> bool:
        """Whether several micro-batches may be fetched and augmented in one call, and split by `split_batch`.

        It costs less with small samples. It must be False if a call pads its samples to the longest of them, or draws from
        a generator: what it draws would depend on which steps are prepared together.
        """
        return False

    def make_ready(self, ranks: Ranks, stop: StopRequest | None = None) -> None:  # noqa: B027 - most data are there
        """Get what the ranks share, such as data that one process of a host writes. Called first, by all ranks together.

        It lasts as long as it must, so it ends by `Interrupted` once `stop` has a name.
        """

    @abc.abstractmethod
    def build_model(self) -> nn.Module:
        """Return a new model. Called once, after torch's generator was seeded with the recipe's seed."""

    @abc.abstractmethod
    def num_samples(self, split: str) -> int:
        """Return the samples of `train`, `validation` or `test`; 0 where there is no such split."""

    @abc.abstractmethod
    def fetch(self, split: str, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the samples at `indices`, int64 [samples], collated on the host in one vectorised call."""

    def fetch_training(self, indices: torch.Tensor, keys: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return training samples, which may draw by their keys, int64 [samples]; here what `fetch` returns."""
        return self.fetch("train", indices)

    def start_workers(self, count: int, most: int) -> int:
        """Prepare for `count` threads that fetch samples at once, later up to `most`; return how many there may be."""
        return count

    def stop_workers(self) -> None:  # noqa: B027 - most tasks have started nothing
        """End what `start_workers` started."""

    @abc.abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the model's outputs for a batch, [samples, ...]."""

    @abc.abstractmethod
    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Stage | None) -> torch.Tensor:
        """Return the loss of each sample, [samples]: a sum over what `weights` counts. No stage: in evaluation."""

    def weights(self, batch: Batch) -> torch.Tensor | None:
        """Return how much each sample counts in the mean, such as its tokens, [samples]; None: 1 each."""
        return None

    def weighted_losses(
        self, outputs: Any, batch: Batch, stage: Stage | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return `losses` and `weights`; a task that counts while it computes its loss overrides this."""
        return self.losses(outputs, batch, stage), self.weights(batch)

    def labels(self, split: str) -> np.ndarray | None:
        """Return the class of each sample of a split, int64 [samples]; None for a task without classes."""
        return None

    def labels_at_hand(self, split: str) -> np.ndarray | None:
        """Return the same where no sample has to be read for it, else None."""
        return self.labels(split)

    def batch_labels(self, batch: Batch) -> torch.Tensor:
        """Return the classes of a batch, int64 [samples], by which `--class-weights` weighs its losses."""
        return batch.tensors["labels"]

    def costs(self, split: str) -> np.ndarray | None:
        """Return the length of each sample, by which a global batch is sorted; None: all have the same."""
        return None

    def augment(self, tensors: dict[str, torch.Tensor], keys: torch.Tensor, stage: Stage) -> dict[str, torch.Tensor]:
        """Return training samples changed at random, keyed by `keys`, int64 [samples]. On the host."""
        return tensors

    def split_batch(self, tensors: dict[str, torch.Tensor], sizes: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Return what `augment` returned as micro-batches of `sizes` samples, in their order.

        Here along the first dimension of each tensor; a task whose first dimension is not the samples overrides this.
        """
        parts = {name: tensor.split(list(sizes)) for name, tensor in tensors.items()}
        return [{name: parts[name][number] for name in parts} for number in range(len(sizes))]

    def begin_stage(self, model: nn.Module, stage: Stage) -> None:  # noqa: B027 - most tasks have nothing to change
        """Set what a stage changes in the model, such as its dropout, or which parameters are frozen (`requires_grad_`).

        It may be called several times for a stage, and is called for the stages before it when a run is resumed.
        """

    def parameter_groups(self, model: nn.Module) -> Sequence[ParameterGroup] | None:
        """Return groups of parameters with a rate and a weight decay of their own; what they leave out is one more group.

        Called at the start and for each stage. None: all parameters alike.
        """
        return None

    def make_optimizer(self, groups: Groups) -> torch.optim.Optimizer | None:
        """Return the optimizer of groups of parameters, if that is not the one of `--optimizer`.

        Each group has its `lr`, at the base batch, which the schedule and the batch multiply. Called at the start and for each
        stage.
        """
        return None

    def checkpoint_gradients(self, model: nn.Module) -> None:
        """Have a model compute activations again in its backward pass. Raises `UserError` where it cannot.

        Models of `transformers`, and any with a method `gradient_checkpointing_enable`, can.
        """
        enable = getattr(model, "gradient_checkpointing_enable", None)
        if enable is None:
            raise UserError(
                f"--gradient-checkpointing: {type(model).__name__} has no gradient_checkpointing_enable(); add it to the "
                "model, or override Task.checkpoint_gradients"
            )
        enable()

    @abc.abstractmethod
    def measure(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return what the metrics need of each sample, float [samples, columns]; column 0 is its loss."""

    @property
    def metric_names(self) -> Sequence[str] | None:
        """The metrics that `metrics` returns, where they are known before: a `--monitor` of another name is refused."""
        return None

    @property
    def default_monitor(self) -> str:
        """The metric that is followed unless another one is named."""
        return "accuracy"

    def direction_of(self, metric: str) -> MonitorDirection | None:
        """Return whether the highest value of a metric is best, "max", or the lowest, "min"; None: `--monitor` has to say."""
        return "min" if metric == "loss" else "max"

    @abc.abstractmethod
    def metrics(self, rows: np.ndarray, split: str) -> dict[str, Any]:
        """Return metrics by name from the rows of all samples of a split, each once, in the order of their indices.

        There must be `loss` and the metric of `--monitor`, which is `accuracy` unless given, or the task has classes and one
        of them is most of the training samples: then it is `macro_f1`, if the metrics are those of `ClassificationTask`.
        """

    def answers(self, rows: np.ndarray, split: str) -> Answers:
        """Return from the same rows what the model answered for each sample, of which the run keeps the worst."""
        return Answers(losses=rows[:, 0])

    def show(self, split: str, index: int) -> Mapping[str, Any]:
        """Return what a person sees of a sample, as plain values of some kilobytes, for the report of a run.

        `where` is its place in the data, `text` a text, `clip` landmarks as `pack_clip` returns them, `picture` a PNG in
        base64, `curves` are [name, numbers] each and `values` [name, words] each. Empty: it is listed by its index alone.
        """
        return {}

    def data_fingerprint(self) -> str:
        """Return a hash of the samples: part of the recipe, so a run is resumed on the same samples only.

        Here it is a hash of the sizes of the splits and of samples of each as `fetch` returns them: as many as hold 16 MiB,
        from 16 to 1024. Override it if all samples can be hashed, or if a version of the data set can stand for them.
        """
        return samples_fingerprint(
            {split: self.num_samples(split) for split in ("train", "validation", "test")}, self.fetch
        )

    def describe(self) -> Mapping[str, Any]:
        """Return facts on the data and the model for the header and `run.json`."""
        return {"task": self.name}

    @property
    def model_factory(self) -> Callable[..., nn.Module] | None:
        """What makes the model, for `slipway.load`, where it is a function or class that the task was given."""
        return None

    def prediction_spec(self) -> Mapping[str, Any]:
        """Return what is needed beside the weights to predict, as plain values."""
        return {}

"""Any module and any data set: what people would give to a training loop and a `DataLoader`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from ..common.errors import UserError
from ..common.keyed_random import fold, sample_keys
from ..common.program.places import words_of
from ..config.recipe import MonitorDirection, Stage
from ..devices.interruption import StopRequest
from ..devices.ranks import Ranks
from .answers import Answers
from .samples.calls import ModelCall, inputs_and_targets
from .samples.labels import Labels
from .samples.loss import Loss, SampleLoss, Weighted, main_output
from .samples.metrics import Metrics, MetricSpec, answers_of, class_scores, known_direction, split_columns
from .samples.processes import SampleProcesses, start_processes
from .samples.sources import ArraySource, Collate
from .samples.splits import Splits
from .samples.structure import Structure, sizes_of
from .samples.view import describe_sample
from .task import Batch, Task

logger = logging.getLogger("slipway")

_EVALUATION_STREAM = 0xE7A1

_ARGUMENTS = ("collate_fn", "loss", "metrics", "forward", "name", "options", "lengths", "class_names", "about", "notes")


class DatasetTask(Task):
    """Train `make_model()` on data sets: the class for a module and what a `DataLoader` would take.

    `make_model` returns a new module. `train`, `validation` (or `val`, `valid`, `dev`, `eval`) and `test` are map-style data
    sets (torch's, `datasets.Dataset`, a list of samples) or tuples of arrays or tensors, `(inputs, targets)`; or streams: an
    `IterableDataset` of torch or `datasets`, a generator function, an iterator, or a `Stream` of one of these. `collate_fn`
    makes a batch of a list of samples; without it torch's `default_collate` does, which also takes dataclasses here.

    *Inputs and target.* Of a batch `(a, b)` a is the input and b the target; of `(a, b, c)` c is the target; of a dictionary
    the target is the first of `labels`, `label`, `targets`, `target`, `y`. *The call.* A tensor or tuple is given to the
    model by position, a dictionary by name: what `forward` has no parameter for is left out, with a warning; a single input
    may have any name. `forward(model, batch)` replaces this: it gets the batch as it was collated, tuples and dictionaries.

    *Loss.* A module of torch, or a function of outputs and targets that returns one number for each sample, `(sum, weight)`,
    or their mean, which is then taken as the mean over the samples of a micro-batch. A module with `reduction` is computed for
    each sample on a copy, which is exact, with class weights too. None: the model returns its `loss`. A module gets a tensor:
    what the model returned, its `logits`, or the only one in it; a function gets what the model returned.

    *Metrics.* `{"r2": ("max", function)}`, functions of the outputs and targets of a complete split on the host; without a
    direction the name says it (accuracy, f1, r2; mae, perplexity), and a metric of another name cannot be monitored. With
    `CrossEntropyLoss` and none given they are accuracy and macro-F1. The metric that is monitored unless one is named is
    accuracy, or the loss.

    *Padding.* With `lengths`, those of the samples of each split, a global batch is sorted by them: little is padded.

    *Words.* `class_names` are the classes in the order of their numbers; `about` says in a line what the data are, and `notes`
    what was decided about them: the run tells both. All of them, and `options`, stand beside the weights for predictions.

    *Randomness.* What a sample draws from torch, numpy or `random` follows from (seed, epoch, sample), so it is the same for
    any number of workers, on any plan and after a resume; to see what is drawn from, a sample may be asked for twice in each
    process that reads. Generators that a data set has of its own are not reseeded.
    """

    keyed_randomness = False
    stage_options = None

    def __init__(
        self,
        make_model: Callable[[], nn.Module],
        train: Any = None,
        validation: Any = None,
        test: Any = None,
        *,
        collate_fn: Collate | None = None,
        loss: Loss | None = nn.CrossEntropyLoss(),  # noqa: B008 - it has no state
        metrics: Mapping[str, MetricSpec] | None = None,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        name: str = "dataset",
        options: Mapping[str, Any] | None = None,
        lengths: Mapping[str, Sequence[int]] | None = None,
        class_names: Sequence[str] | None = None,
        about: str = "",
        notes: Sequence[str] = (),
        **splits: Any,
    ) -> None:
        if isinstance(make_model, nn.Module):
            raise UserError(
                f"{name}: make_model is a module; give a function that returns a new one, lambda: "
                f"{type(make_model).__name__}(...), so that its first weights follow from the seed"
            )
        if not callable(make_model):
            raise UserError(f"{name}: make_model must be a function that returns a module, got {make_model!r:.60}")
        for word, function in (("collate_fn", collate_fn), ("forward", forward)):
            if function is not None and not callable(function):
                raise UserError(f"{name}: {word} must be a function, got {function!r:.60}")
        self.name, self._make_model, self._forward = name, make_model, forward
        self.options = dict(options or {})
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        self._about, self._notes = about, tuple(notes)
        self._loss = SampleLoss(loss)
        self._metrics = Metrics(metrics or {})
        given = {"train": train, "validation": validation, "test": test, **splits}
        self._splits = Splits(given, lengths or {}, collate_fn, name, _ARGUMENTS)
        self._sources = self._splits.all
        self._structure, self._has_told = Structure(), False
        self._labels = Labels(
            name, self._splits.all, lambda *of: self.batch_labels(Batch(of[1], None, self.fetch(*of)))
        )
        self._num_classes: int | None = None
        """Of the scores of the model, once there are any, where targets may be numbers of classes."""
        self._seen_targets: list[tuple[str, torch.Tensor, torch.Tensor]] = []
        if self._loss.is_cross_entropy:
            for split, one in self._splits.made.items():
                if isinstance(one, ArraySource):
                    self._note_targets(split, torch.arange(one.size), one.everything())
        self._call: ModelCall | None = None
        self._processes: SampleProcesses | None = None
        self._has_own_metrics = metrics is not None
        if "train" in self._splits.made:
            self.metric_names  # noqa: B018 - found out now, where the caller can see what is wrong with a sample
        self._kept: list[tuple[torch.Size, torch.dtype]] = []
        """Shape and type of a sample's output and target, as they stand in the rows of `measure`."""

    def make_ready(self, ranks: Ranks, stop: StopRequest | None = None) -> None:
        """Write the streams to the disk, or find them there. All ranks must call it."""
        self._splits.make_ready(ranks, stop)

    @cached_property
    def _has_default_metrics(self) -> bool:
        return not self._has_own_metrics and self._loss.is_cross_entropy and self._has_class_numbers()

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that a validation returns."""
        return ("loss", *(("accuracy", "macro_f1") if self._has_default_metrics else self._metrics.names))

    @property
    def default_monitor(self) -> str:
        """The metric that is followed unless another one is named."""
        return "accuracy" if "accuracy" in self.metric_names else "loss"

    def direction_of(self, metric: str) -> MonitorDirection | None:
        """Return whether the highest ("max") or the lowest ("min") value of a metric is best; None: nobody said."""
        return self._metrics.directions.get(metric) or known_direction(metric)

    def labels_at_hand(self, split: str) -> np.ndarray | None:
        """Return the class of each sample where targets are arrays, or the data set has them beside its samples."""
        return self._labels.at_hand(split)

    def labels(self, split: str) -> np.ndarray | None:
        """Return the class of each sample, for which each is read once where they are not at hand; None if there are none."""
        return self._labels.needed(split)

    def batch_labels(self, batch: Batch) -> torch.Tensor:
        """Return the targets of a batch, where they are numbers of classes."""
        return inputs_and_targets(self._structure.rebuild(batch.tensors))[1]

    @property
    def can_split_batches(self) -> bool:
        """Whether the training samples are arrays, of which several batches may be taken at once."""
        is_own = type(self).fetch is not DatasetTask.fetch or type(self).augment is not Task.augment
        return isinstance(self._sources()["train"], ArraySource) and not is_own

    def build_model(self) -> nn.Module:
        """Return a new model."""
        try:
            model = self._make_model()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.name}: make_model fails: {words_of(error)}") from error
        if not isinstance(model, nn.Module):
            raise UserError(f"{self.name}: make_model must return a module, but returned {sizes_of(model)}")
        self._call = ModelCall(model)
        return model

    @property
    def model_factory(self) -> Callable[..., nn.Module] | None:
        """What makes the model, unless a class of the user's does."""
        return self._make_model if type(self).build_model is DatasetTask.build_model else None

    def num_samples(self, split: str) -> int:
        """Return the samples of a split."""
        return self._sources()[split].size if split in self._sources() else 0

    def costs(self, split: str) -> np.ndarray | None:
        """Return the length of each sample, if it was given."""
        return self._splits.lengths.get(split)

    def start_workers(self, count: int, most: int) -> int:
        """Prepare for `count` threads that fetch at once, later up to `most`: data sets are read in processes."""
        sources = {name: one for name, one in self._sources().items() if not isinstance(one, ArraySource)}
        if count == 0 or not sources:
            self.stop_workers()
            return count
        if self._processes is None:
            self._processes = start_processes(sources, most)
        return count if self._processes is not None else 0

    def stop_workers(self) -> None:
        """End the processes that read samples, if there are any."""
        if self._processes is not None:
            self._processes.close()
            self._processes = None

    def fetch_training(self, indices: torch.Tensor, keys: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return training samples, each drawing from generators that its key has set."""
        if type(self).fetch is not DatasetTask.fetch:
            return self.fetch("train", indices)
        return self._fetch("train", indices, keys)

    def fetch(self, split: str, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return samples of a split as they are evaluated: what one draws is the same each time."""
        return self._fetch(split, indices, sample_keys(0, fold(_EVALUATION_STREAM), indices.numpy()))

    def _fetch(self, split: str, indices: torch.Tensor, keys: torch.Tensor) -> dict[str, torch.Tensor]:
        source = self._sources()[split]
        if isinstance(source, ArraySource):
            batch = source.take(indices)
        elif self._processes is None:
            batch = source.fetch(indices.tolist(), keys.tolist())
        else:
            batch = self._processes.fetch(split, indices.tolist(), keys.tolist())
        tensors = self._structure.flatten(batch)
        if not tensors:
            raise UserError(
                f"{self.name}: a batch of {split} has no tensor: {sizes_of(batch)}; let collate_fn make tensors"
            )
        if self._structure.left_out and not self._has_told:
            self._has_told = True
            logger.info("%s: no tensors, so the model does not get them: %s", self.name, self._left_out())
        if not isinstance(source, ArraySource):
            self._note_targets(split, indices, self._structure.rebuild(tensors))
        return tensors

    def _left_out(self) -> str:
        return ", ".join(f"{name or 'a batch'} ({kind})" for name, kind in self._structure.left_out.items())

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        """Return what the model returns for a batch."""
        whole = self._structure.rebuild(batch.tensors)
        if self._forward is not None:
            return self._forward(model, whole)
        inputs, _ = inputs_and_targets(whole)
        if self._loss.is_of_model and isinstance(whole, Mapping):
            inputs = whole
        assert self._call is not None
        return self._call(model, inputs)

    def weighted_losses(self, outputs: Any, batch: Batch, stage: Stage | None) -> Weighted:
        """Return the loss of each sample, or the sum of all, and the weights."""
        _, targets = inputs_and_targets(self._structure.rebuild(batch.tensors))
        if targets is None and self._structure.left_out and not self._loss.is_of_model:
            raise UserError(
                f"{self.name}: the batch has no target that is a tensor; {self._left_out()} is left out: give numbers, of "
                "classes from 0 up"
            )
        if self._num_classes is None and self._loss.is_cross_entropy:
            scores = main_output(outputs)
            self._num_classes = scores.shape[1] if scores.ndim > 1 else 0
            if self.class_names is not None and self._num_classes != len(self.class_names):
                raise UserError(
                    f"{self.name}: {len(self.class_names)} class_names, but the model scores {self._num_classes} classes; "
                    "give as many"
                )
            for split, indices, found in self._seen_targets:
                self._check_class_numbers(split, indices, found)
            self._seen_targets = []
        losses, weights = self._loss(outputs, targets, len(batch.indices))
        if torch.is_grad_enabled() and not losses.requires_grad:
            raise UserError(
                f"{self._loss.name} does not depend on the model's weights; leave out detach(), .item() and no_grad() in "
                "the model and the loss, and let some parameter be trainable"
            )
        return losses, weights

    def _note_targets(self, split: str, indices: torch.Tensor, batch: Any) -> None:
        """Check the numbers of classes in a batch on the host, or keep them until the model says how many there are."""
        _, target = inputs_and_targets(batch)
        if not isinstance(target, torch.Tensor) or target.is_floating_point() or not target.numel():
            return
        self._labels.check(split, indices, target)
        if not self._loss.is_cross_entropy:
            return
        if self._num_classes is None:
            self._seen_targets.append((split, indices, target))
        else:
            self._check_class_numbers(split, indices, target)

    def _check_class_numbers(self, split: str, indices: torch.Tensor, target: torch.Tensor) -> None:
        """Raise `UserError` for a target that is none of the classes that the model scores."""
        least, most = map(int, target.aminmax())
        if not self._num_classes or (least >= 0 and most < self._num_classes):
            return
        wrong = ((target < 0) | (target >= self._num_classes)) & (target != self._loss.ignore_index)
        if wrong.any() and len(indices) == len(target):
            number = int(indices[int(wrong.reshape(len(target), -1).any(dim=1).nonzero()[0])])
            raise UserError(
                f"{self.name}: the target of sample {number} of {split} is {int(target[wrong][0])}, but the model scores "
                f"{self._num_classes} classes, 0 to {self._num_classes - 1}; number the classes from 0, or give the model more "
                "outputs"
            )

    def losses(self, outputs: Any, batch: Batch, stage: Stage | None) -> torch.Tensor:
        """Return the losses without their weights."""
        return self.weighted_losses(outputs, batch, stage)[0]

    def measure(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return a row for each sample: the sum of its losses, its weight, then what the metrics need of it."""
        count = len(batch.indices)
        losses, weights = self.weighted_losses(outputs, batch, None)
        if weights is None:
            weights = torch.ones_like(losses)
        dtype = torch.float32 if losses.device.type == "mps" else torch.float64
        columns = [(part / count).expand(count) if len(part) != count else part for part in (losses, weights)]
        rows = torch.stack(columns, dim=1).to(dtype)
        if not self._has_default_metrics and not self._metrics.names:
            return rows
        _, targets = inputs_and_targets(self._structure.rebuild(batch.tensors))
        kept = [main_output(outputs), targets]
        if self._has_default_metrics:
            kept[0] = kept[0].argmax(dim=1)
        for part, what in zip(kept, ("outputs", "target"), strict=True):
            if not isinstance(part, torch.Tensor) or part.ndim == 0 or len(part) != count:
                raise UserError(
                    f"{self.name}: metrics need {what} of {count} samples, [samples, ...], got {sizes_of(part)}; metrics={{}} "
                    "measures the loss alone"
                )
        shapes = [(part.shape[1:], part.dtype) for part in kept]
        if self._kept and [shape for shape, _ in shapes] != [shape for shape, _ in self._kept]:
            raise UserError(
                f"{self.name}: metrics get the outputs and targets of a complete split, which differ in size between batches: "
                f"{sizes_of(kept)}; pad all batches to one length, or leave the loss as the only metric with metrics={{}}"
            )
        self._kept = shapes
        return torch.cat([rows, *(part.reshape(count, -1).to(rows.device, dtype) for part in kept)], dim=1)

    def metrics(self, rows: np.ndarray, split: str) -> dict[str, Any]:
        """Return the loss, a mean over all weights, and the metrics of a complete split."""
        found = {"loss": float(rows[:, 0].sum() / rows[:, 1].sum())}
        if rows.shape[1] == 2:
            return found
        outputs, targets = split_columns(rows[:, 2:], self._kept)
        if self._has_default_metrics:
            return found | class_scores(outputs.numpy(), targets.numpy())
        return found | self._metrics.compute(outputs, targets)

    def answers(self, rows: np.ndarray, split: str) -> Answers:
        """Return the loss of each sample, and what the model said and what was right, if the metrics need it."""
        kept = split_columns(rows[:, 2:], self._kept) if rows.shape[1] > 2 else None
        return answers_of(rows, kept, self.class_names, are_classes=self._has_default_metrics)

    def show(self, split: str, index: int) -> Mapping[str, Any]:
        """Return the picture, the text, the curves or the numbers of a sample; nothing of one that cannot be read now."""
        with suppress(Exception):  # of the user's data set, for a report
            (key,) = sample_keys(0, fold(_EVALUATION_STREAM), np.array([index])).tolist()
            return describe_sample(self._sources()[split].sample(index, key))
        return {}

    def data_fingerprint(self) -> str:
        """Return a hash of the samples: of a stream of all of them, as they were written."""
        return self._splits.fingerprint(self.fetch) or super().data_fingerprint()

    def describe(self) -> Mapping[str, Any]:
        """Return the sizes of the splits, the classes, and what was said about the data."""
        names = self.class_names
        classes = {} if names is None else {"classes": len(names), "class_names": names}
        return {
            "task": self.name,
            "data": self.name,
            **({"about": self._about} if self._about else {}),
            **classes,
            "samples": {name: one.size for name, one in self._sources().items()},
            "notes": list(self._notes),
        }

    def prediction_spec(self) -> Mapping[str, Any]:
        """Return the classes and the options."""
        classes = {} if self.class_names is None else {"class_names": self.class_names}
        return {**classes, "options": self.options}

    def _has_class_numbers(self) -> bool:
        """Return whether a training sample's target is the number of a class."""
        if self._sources()["train"].size == 0:
            return False
        tensors = self.fetch("train", torch.tensor([0]))
        _, target = inputs_and_targets(self._structure.rebuild(tensors))
        return isinstance(target, torch.Tensor) and target.ndim == 1 and not target.is_floating_point()

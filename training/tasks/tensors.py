"""Classification of fixed-size tensors with any module: the shortest way from arrays and a model to a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..common.errors import UserError
from .classification import ClassificationTask
from .fingerprint import tensors_fingerprint
from .outputs import check_scores, scores_of
from .samples.numbers import warn_of_numbers
from .samples.sources import split_named
from .samples.structure import array_as_tensor, sizes_of
from .samples.view import describe_sample
from .task import Batch, Task


class TensorTask(ClassificationTask):
    """Train `make_model()`, a module from [samples, ...] to class scores, on `splits`: name to (inputs, labels).

    Both are tensors or arrays. `val`, `valid`, `dev` and `eval` are other names of the split `validation`.
    """

    def __init__(
        self,
        make_model: Callable[[], nn.Module],
        splits: Mapping[str, tuple[torch.Tensor | np.ndarray, torch.Tensor | np.ndarray]],
        *,
        name: str = "tensors",
        class_names: Sequence[str] | None = None,
        keyed_randomness: bool | None = None,
    ) -> None:
        named = {word: split_named(word, f"{name}: unknown split") for word in splits}
        if "train" not in named.values():
            raise UserError(f"{name}: no 'train' among the splits {', '.join(splits) or '(none)'}")
        if len(set(named.values())) < len(named):
            raise UserError(f"{name}: two of {', '.join(splits)} are one split; give it once")
        for word, pair in splits.items():
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise UserError(f"{name}: {word} must be (inputs, labels), two tensors or arrays, got {sizes_of(pair)}")
        self._splits = {
            named[word]: (_tensor(inputs, f"{name}: {word}"), _tensor(labels, f"{name}: labels of {word}"))
            for word, (inputs, labels) in splits.items()
        }
        for split, (inputs, labels) in self._splits.items():
            if len(inputs) != len(labels):
                raise UserError(f"{name}: {split} has {len(inputs)} inputs and {len(labels)} labels")
            if len(labels) and (labels.ndim != 1 or labels.is_floating_point() or int(labels.min()) < 0):
                raise UserError(f"{name}: labels of {split} must be whole numbers from 0 up, [samples]")
            warn_of_numbers([inputs], f"{name}: {split}")
        self.name = name
        self.keyed_randomness = keyed_randomness
        self._make_model = make_model
        num_classes = 1 + max((int(labels.max()) for _, labels in self._splits.values() if len(labels)), default=-1)
        if class_names and len(class_names) < num_classes:
            raise UserError(f"{name}: {len(class_names)} class names, but a label of {num_classes - 1}")
        self.class_names = list(class_names) if class_names else [str(number) for number in range(num_classes)]

    @property
    def can_split_batches(self) -> bool:
        """Whether `fetch` is this one, and nothing is drawn but by keys."""
        is_keyed = self.keyed_randomness is True or type(self).augment is Task.augment
        return type(self).fetch is TensorTask.fetch and is_keyed

    def build_model(self) -> nn.Module:
        """Return a new model. Raises `UserError` if `make_model` does not make one."""
        made = self._make_model if isinstance(self._make_model, nn.Module) else self._make_model()
        if made is self._make_model or not isinstance(made, nn.Module):
            raise UserError(
                f"{self.name}: make_model must be a function that returns a new torch module, got {type(made).__name__}; "
                "write lambda: Model(...)"
            )
        return made

    @property
    def model_factory(self) -> Callable[..., nn.Module] | None:
        """What makes the model, unless a class of the user's does."""
        return self._make_model if type(self).build_model is TensorTask.build_model else None

    def num_samples(self, split: str) -> int:
        """Return the samples of a split."""
        return len(self._splits[split][1]) if split in self._splits else 0

    def labels(self, split: str) -> np.ndarray:
        """Return the labels of a split."""
        return self._splits[split][1].numpy()

    def fetch(self, split: str, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `inputs` and `labels` at the indices."""
        inputs, labels = self._splits[split]
        return {"inputs": inputs.index_select(0, indices), "labels": labels.index_select(0, indices)}

    def forward(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the class scores. Raises `UserError` if the model returns something else."""
        scores = scores_of(model(batch.tensors["inputs"]), model, self.name)
        if type(self).losses is ClassificationTask.losses:
            check_scores(scores, batch.tensors["labels"], len(self.class_names), self.name)
        return scores

    def show(self, split: str, index: int) -> Mapping[str, Any]:
        """Return the picture, the curves or the numbers of a sample."""
        return describe_sample(self._splits[split][0][index])

    def data_fingerprint(self) -> str:
        """Return a hash of all tensors."""
        names = ("inputs", "labels")
        return tensors_fingerprint(
            {f"{split}.{names[n]}": pair[n] for split, pair in self._splits.items() for n in range(2)}
        )

    def describe(self) -> Mapping[str, Any]:
        """Return the sizes of the splits and the number of classes."""
        sizes = {split: self.num_samples(split) for split in self._splits}
        return {"task": self.name, "data": self.name, "classes": len(self.class_names), "samples": sizes}


def _tensor(values: torch.Tensor | np.ndarray, where: str) -> torch.Tensor:
    tensor = values if isinstance(values, torch.Tensor) else array_as_tensor(np.asarray(values), where)
    return tensor.long() if tensor.ndim == 1 and tensor.dtype in (torch.int32, torch.int16, torch.uint8) else tensor

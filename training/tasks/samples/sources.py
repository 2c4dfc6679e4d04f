"""Where samples come from: arrays that are indexed at once, or a data set that is asked for one sample after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, TensorDataset, default_collate

from ...common.errors import UserError, nearest
from ...common.keyed_random import fold
from .random_state import are_equal, generator_states, kept_generators, seed_generators, set_generators
from .structure import array_as_tensor, as_mapping, one_line, plain_sample

Collate = Callable[[list[Any]], Any]

_COLLATE_STREAM = 0xC011


SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
}
"""What people call a split, and what it is here."""


def split_named(word: str, where: str, others: Sequence[str] = ()) -> str:
    """Return the split that people call `word`. Raises `UserError` with the nearest name for any other word."""
    if word not in SPLITS:
        raise UserError(f"{where} {word!r}{nearest(word, [*SPLITS, *others])}; splits are train, validation and test")
    return SPLITS[word]


class ArraySource:
    """Tensors whose first dimension is the samples, in any structure; nothing is drawn."""

    def __init__(self, arrays: Any, where: str) -> None:
        self._arrays = _tensors(arrays, where)
        sizes = sorted({len(tensor) for tensor in _leaves(self._arrays)})
        if len(sizes) != 1:
            raise UserError(f"{where}: arrays of {' and '.join(map(str, sizes))} samples; give each the same number")
        self.size = sizes[0]

    def take(self, indices: torch.Tensor) -> Any:
        """Return the samples at the indices, collated."""
        return _map(self._arrays, lambda tensor: tensor.index_select(0, indices))

    def everything(self) -> Any:
        """Return all samples, collated."""
        return self._arrays


class ItemSource:
    """A map-style data set. Whatever a sample draws follows from its key, so each is the same in any process and order."""

    def __init__(self, dataset: Any, collate: Collate | None, where: str) -> None:
        self._dataset, self._collate, self._where = dataset, collate, where
        self._get_many: Callable[[list[int]], Sequence[Any]] | None = getattr(dataset, "__getitems__", None)
        self._draws = False
        self.size = len(dataset)

    def fetch(self, indices: Sequence[int], keys: Sequence[int]) -> Any:
        """Return the samples at the indices, collated; what each draws follows from its key.

        What `collate_fn` draws follows from the key of the first: repeatable, but a matter of which samples come together.
        """
        if not self._draws:
            # Setting the generators costs more than many a sample does: only where something is drawn.
            before = generator_states()
            batch = self._put_together(self._read(indices))
            if are_equal(before, generator_states()):
                return batch
            set_generators(before)
            self._draws = True
        with kept_generators():
            samples: list[Any] = []
            for index, key in zip(indices, keys, strict=True):
                seed_generators(key)
                samples += self._read([index])
            seed_generators(fold(keys[0], _COLLATE_STREAM))
            return self._put_together(samples)

    def _read(self, indices: Sequence[int]) -> Sequence[Any]:
        if self._get_many is not None:
            return self._get_many(list(indices))
        return [self._dataset[index] for index in indices]

    def _put_together(self, samples: Sequence[Any]) -> Any:
        if self._collate is not None:
            return self._collate(list(samples))
        try:
            return default_collate([plain_sample(sample) for sample in samples])
        except (TypeError, RuntimeError) as error:
            raise UserError(
                f"{self._where}: its samples cannot be put together into a batch ({one_line(error)}); give a collate_fn that "
                "does it, or make them tensors of one size"
            ) from error


Source = ArraySource | ItemSource


def make_source(data: Any, collate: Collate | None, where: str) -> Source:
    """Return the source of what people have. Raises `UserError` for what has no length or cannot be indexed."""
    if isinstance(data, TensorDataset) and collate is None:
        return ArraySource(tuple(data.tensors), where)
    if collate is None and isinstance(data, (tuple, dict)) and _are_arrays(data):
        return ArraySource(data, where)
    if isinstance(data, type):
        raise UserError(f"{where}: {data.__name__} is a class; give an object made from it: {data.__name__}(...)")
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        hint = (
            "a DataLoader batches and shuffles; give its dataset"
            if hasattr(data, "batch_sampler")
            else (
                "a stream has no order to keep; give a data set with __len__ and __getitem__, such as a list of its samples"
            )
        )
        raise UserError(f"{where}: {type(data).__name__} cannot be asked for a sample by its number: {hint}")
    if isinstance(data, Mapping):
        raise UserError(f"{where}: a dictionary must hold arrays, by name, whose first dimension is the samples")
    if isinstance(data, (torch.Tensor, np.ndarray)):
        raise UserError(f"{where}: one array has no targets; give a tuple (inputs, targets)")
    return ItemSource(_with_tensors(data), collate, where)


def _with_tensors(data: Any) -> Any:
    """Return a `datasets.Dataset` without a format of its own as one that gives tensors: torch cannot collate its lists."""
    is_plain = type(data).__module__.startswith("datasets.") and getattr(data, "format", {}).get("type", "") is None
    return data.with_format("torch") if is_plain else data


def _are_arrays(data: Any) -> bool:
    leaves = list(_leaves(data))
    return bool(leaves) and all(isinstance(leaf, (torch.Tensor, np.ndarray)) and leaf.ndim > 0 for leaf in leaves)


def _leaves(data: Any) -> list[Any]:
    mapping = as_mapping(data)
    if mapping is not None:
        return [leaf for part in mapping.values() for leaf in _leaves(part)]
    if isinstance(data, tuple):
        return [leaf for part in data for leaf in _leaves(part)]
    return [data]


def _map(data: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(data, dict):
        return {key: _map(part, function) for key, part in data.items()}
    return tuple(_map(part, function) for part in data) if isinstance(data, tuple) else function(data)


def _tensors(data: Any, where: str) -> Any:
    return _map(data, lambda leaf: leaf if isinstance(leaf, torch.Tensor) else array_as_tensor(leaf, where))

"""Where samples come from: arrays that are indexed at once, or a data set that is asked for one sample after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset, default_collate

from ...common.errors import UserError, nearest
from ...common.keyed_random import fold
from ...common.program.places import words_of
from ...devices.memory import is_out_of_memory
from .numbers import warn_of_numbers
from .random_state import GENERATORS, kept_generators
from .structure import array_as_tensor, as_mapping, holds_records, one_line, plain_sample, sizes_of

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
        warn_of_numbers(_leaves(self._arrays), where)
        self.size = sizes[0]

    def take(self, indices: torch.Tensor) -> Any:
        """Return the samples at the indices, collated."""
        return _map(self._arrays, lambda tensor: tensor.index_select(0, indices))

    def everything(self) -> Any:
        """Return all samples, collated."""
        return self._arrays

    def sample(self, index: int, key: int) -> Any:
        """Return one sample."""
        return _map(self._arrays, lambda tensor: tensor[index])


class ItemSource:
    """A map-style data set. Whatever a sample draws follows from its key, so each is the same in any process and order."""

    def __init__(self, dataset: Any, collate: Collate | None, where: str) -> None:
        self.dataset, self._collate, self._where = dataset, collate, where
        self._get_many: Callable[[list[int]], Sequence[Any]] | None = getattr(dataset, "__getitems__", None)
        self._drawn: tuple[int, ...] = ()
        """Which of `GENERATORS` samples were seen to draw from: setting one costs more than many a sample does."""
        try:
            self.size = len(dataset)
        except Exception as error:
            raise UserError(f"{where}: the length of {type(dataset).__name__} fails: {words_of(error)}") from error

    def fetch(self, indices: Sequence[int], keys: Sequence[int]) -> Any:
        """Return the samples at the indices, collated; what each draws follows from its key.

        A batch that draws from a generator that none before drew from is made once more, with that generator set for each
        sample: in each process that reads, a sample may be asked for twice.

        What `collate_fn` draws follows from the key of the first: repeatable, but a matter of which samples come together.
        """
        while True:
            drawn = [GENERATORS[number] for number in self._drawn]
            others = [number for number in range(len(GENERATORS)) if number not in self._drawn]
            before = {number: GENERATORS[number].state() for number in others}
            with kept_generators(drawn):
                batch = self._fetch(indices, keys, [generator.seed for generator in drawn])
            changed = [number for number in others if GENERATORS[number].state() != before[number]]
            if not changed:
                return batch
            for number in changed:
                GENERATORS[number].restore(before[number])
            self._drawn = (*self._drawn, *changed)

    def sample(self, index: int, key: int) -> Any:
        """Return one sample as the data set has it, with what it draws by its key; the generators stay as they are."""
        with kept_generators():
            return self._read([index], [key], [generator.seed for generator in GENERATORS])[0]

    def _fetch(self, indices: Sequence[int], keys: Sequence[int], seeds: Sequence[Callable[[int], object]]) -> Any:
        samples = self._read(indices, keys, seeds)
        for seed in seeds:
            seed(fold(keys[0], _COLLATE_STREAM))
        return self._put_together(samples, indices)

    def _read(
        self, indices: Sequence[int], keys: Sequence[int] = (), seeds: Sequence[Callable[[int], object]] = ()
    ) -> Sequence[Any]:
        """Return samples. Raises `UserError` that names the one that cannot be read, and the user's line."""
        if self._get_many is not None and len(indices) > 1 and not seeds:
            try:
                return self._get_many(list(indices))
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                for index in indices:
                    self._read([index])
                raise UserError(f"{self._where}: reading {_some(indices)} fails: {words_of(error)}") from error
        samples: list[Any] = []
        try:
            for number, index in enumerate(indices):
                for seed in seeds:
                    seed(keys[number])
                samples += self._get_many([index]) if self._get_many is not None else (self.dataset[index],)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            hint = f"; it says that it has {self.size} samples" if isinstance(error, IndexError) else ""
            raise UserError(f"{self._where}: sample {index} fails: {words_of(error)}{hint}") from error
        return samples

    def _put_together(self, samples: Sequence[Any], indices: Sequence[int]) -> Any:
        try:
            if self._collate is not None:
                return self._collate(list(samples))
            return default_collate(list(map(plain_sample, samples)) if holds_records(samples[0]) else list(samples))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if self._collate is not None:
                raise UserError(f"{self._where}: collate_fn fails for {_some(indices)}: {words_of(error)}") from error
            raise UserError(f"{self._where}: {_why_not_together(samples, indices, error)}") from error


def _why_not_together(samples: Sequence[Any], indices: Sequence[int], error: Exception) -> str:
    """Return which samples differ, or what torch says, and what to do."""
    sizes = [sizes_of(sample) for sample in samples]
    other = next((number for number, size in enumerate(sizes) if size != sizes[0]), None)
    if other is None:
        found = f"its samples, {sizes[0]}, cannot be put together into a batch ({one_line(error)})"
    else:
        found = (
            f"sample {indices[0]} is {sizes[0]} and sample {indices[other]} is {sizes[other]}: no batch can hold both"
        )
    return f"{found}; give a collate_fn that puts them together, or make all samples tensors of one size"


def _some(indices: Sequence[int]) -> str:
    more = f" and {len(indices) - 4} more" if len(indices) > 4 else ""
    return f"sample{'s' * (len(indices) > 1)} {', '.join(map(str, indices[:4]))}{more}"


Source = ArraySource | ItemSource


def make_source(data: Any, collate: Collate | None, where: str) -> Source:
    """Return the source of what people have. Raises `UserError` for what has no length or cannot be indexed."""
    if isinstance(data, TensorDataset) and collate is None:
        return ArraySource(tuple(data.tensors), where)
    if collate is None and isinstance(data, (tuple, dict)) and _are_arrays(data):
        return ArraySource(data, where)
    if isinstance(data, (str, os.PathLike)):
        raise UserError(f"{where}: {str(data)!r} is a name, not data; read it first, and give a data set or arrays")
    if isinstance(data, type):
        raise UserError(f"{where}: {data.__name__} is a class; give an object made from it: {data.__name__}(...)")
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        hint = (
            "a DataLoader batches and shuffles; give its dataset"
            if hasattr(data, "batch_sampler")
            else "give a data set with __len__ and __getitem__, such as a list of its samples, or a slipway.Stream"
        )
        raise UserError(f"{where}: {type(data).__name__} cannot be asked for a sample by its number: {hint}")
    if isinstance(data, Mapping):
        splits = [name for name in data if name in SPLITS]
        if len(splits) == len(data) > 0:
            raise UserError(
                f"{where}: {type(data).__name__} holds the splits {', '.join(splits)}; give each by itself, as "
                + ", ".join(f"{SPLITS[name]}=data[{name!r}]" for name in splits)
            )
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

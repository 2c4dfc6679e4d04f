"""The classes of the samples of a data set: beside its samples where it has them there, else read once from each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...common.errors import UserError
from .calls import TARGET_KEYS, inputs_and_targets
from .sources import ArraySource, Source

logger = logging.getLogger("slipway")

_TOGETHER, _TELL_SECONDS = 64, 5.0
"""Samples that are read in one call for their classes alone, and after how long that is told."""

_COMPARED = 16
"""Samples whose classes are compared with what the data set has beside them."""

_ATTRIBUTES = ("targets", "labels", "_labels")
"""Of the data sets of torchvision."""


class Labels:
    """The classes of the splits of a data set."""

    def __init__(
        self,
        name: str,
        sources: Callable[[], Mapping[str, Source]],
        read: Callable[[str, torch.Tensor], torch.Tensor | None],
    ) -> None:
        self._name, self._sources, self._read = name, sources, read
        self._known: dict[str, np.ndarray | None] = {}
        self._is_needed = False

    def at_hand(self, split: str) -> np.ndarray | None:
        """Return the class of each sample, int64 [samples], where none has to be read for it; None: not so.

        What a data set has beside its samples, such as `targets`, counts where it agrees with some of them.
        """
        if split not in self._known:
            source = self._sources()[split]
            if isinstance(source, ArraySource):
                self._known[split] = class_numbers(inputs_and_targets(source.everything())[1], source.size)
            else:
                self._known[split] = found = labels_beside(source.dataset, source.size)
                few = np.arange(min(source.size, _COMPARED)) * source.size // min(source.size, _COMPARED)
                if found is not None:
                    read = self._read_some(split, few)
                    self._known[split] = found if read is not None and (read == found[few]).all() else None
        return self._known[split]

    def needed(self, split: str) -> np.ndarray | None:
        """Return the class of each sample, for which each is read where they are not at hand; None if there are none."""
        found = self.at_hand(split)
        if found is None and not isinstance(self._sources()[split], ArraySource):
            found = self._known[split] = self._read_some(split, np.arange(self._sources()[split].size))
        self._is_needed = True
        return found

    def check(self, split: str, indices: torch.Tensor, target: torch.Tensor) -> None:
        """Raise `UserError` for a sample whose class is not the one by which it is balanced."""
        known = self._known.get(split) if self._is_needed else None
        if known is not None and target.shape == indices.shape and (apart := known[indices] != target.numpy()).any():
            place = int(apart.argmax())
            raise UserError(
                f"{self._name}: the target of sample {int(indices[place])} of {split} is {int(target[place])}, and the data "
                f"set says {int(known[indices[place]])} beside its samples; classes are balanced by that: let both agree"
            )

    def _read_some(self, split: str, indices: np.ndarray) -> np.ndarray | None:
        """Return the classes of samples, which are read for it; None where a target is no number of a class."""
        parts: list[np.ndarray] = []
        told = started = time.monotonic()
        for first in range(0, len(indices), _TOGETHER):
            some = torch.from_numpy(indices[first : first + _TOGETHER])
            part = class_numbers(self._read(split, some), len(some))
            if part is None:
                return None
            parts.append(part)
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                logger.info(
                    "%s: reads each sample of %s once for its class, %d of %d in %.0f s; an attribute `targets` of the data "
                    "set spares it",
                    *(self._name, split, first + len(some), len(indices), told - started),
                )
        return np.concatenate(parts)


def labels_beside(dataset: Any, size: int) -> np.ndarray | None:
    """Return the class of each sample, int64 [samples], from an attribute or a column; None where there is none."""
    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, list) and hasattr(dataset, "with_format"):
        key = next((key for key in TARGET_KEYS if key in columns), None)
        return None if key is None else class_numbers(dataset.with_format("numpy")[key], size)
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):  # torch.utils.data.Subset
        inner = labels_beside(dataset.dataset, len(dataset.dataset))
        return None if inner is None else inner[np.asarray(dataset.indices)]
    for name in _ATTRIBUTES:
        found = class_numbers(getattr(dataset, name, None), size)
        if found is not None:
            return found
    return None


def class_numbers(values: Any, size: int) -> np.ndarray | None:
    """Return values as numbers of classes, int64 [samples]; None if they are none, or of another number."""
    if (
        not isinstance(values, Sequence | np.ndarray)
        and not hasattr(values, "numpy")
        and not hasattr(values, "__array__")
    ):
        return None
    if isinstance(values, str):
        return None
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):
        return None
    is_whole = found.dtype.kind in "iu" and found.shape == (size,)
    return found.astype(np.int64) if is_whole else None

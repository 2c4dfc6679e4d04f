"""A batch of any structure as named tensors, and back: tuples, dictionaries and records, one in another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

import numpy as np
import torch

from ...common.errors import UserError

_STEP = "\x1f"
"""Between the keys of a name; no key of a sample contains it."""


def as_mapping(value: Any) -> Mapping[str, Any] | None:
    """Return a dictionary, a dataclass or an output of `transformers` as a mapping; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "data") and isinstance(value.data, Mapping):  # BatchEncoding and other UserDicts
        return value.data
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def holds_records(sample: Any) -> bool:
    """Return whether there is a dataclass in a sample."""
    if isinstance(sample, dict):
        return any(map(holds_records, sample.values()))
    if type(sample) in (tuple, list):
        return any(map(holds_records, sample))
    return dataclasses.is_dataclass(sample)


def plain_sample(sample: Any) -> Any:
    """Return a sample whose dataclasses are dictionaries, which torch's `default_collate` understands."""
    if dataclasses.is_dataclass(sample) and not isinstance(sample, type):
        return {field.name: plain_sample(getattr(sample, field.name)) for field in dataclasses.fields(sample)}
    if isinstance(sample, dict):
        return {key: plain_sample(value) for key, value in sample.items()}
    if type(sample) in (tuple, list):
        return type(sample)(map(plain_sample, sample))
    return sample


class Structure:
    """Remembers which parts of a batch are tuples and which dictionaries, so that tensors by name say all else."""

    def __init__(self) -> None:
        self._are_tuples: dict[str, bool] = {}
        self.left_out: dict[str, str] = {}
        """Names of what is no tensor, such as texts, with its type."""

    def flatten(self, batch: Any) -> dict[str, torch.Tensor]:
        """Return the tensors of a batch by name. Arrays and numbers become tensors; texts and other objects are left out."""
        found: dict[str, torch.Tensor] = {}
        self._flatten(batch, "", found)
        return found

    def rebuild(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        """Return what `flatten` got: tuples, and dictionaries for records too."""
        if "" in tensors:
            return tensors[""]
        root: dict[str, Any] = {}
        for name, tensor in tensors.items():
            *path, last = name.split(_STEP)
            node = root
            for key in path:
                node = node.setdefault(key, {})
            node[last] = tensor
        return self._rebuild(root, "")

    def _flatten(self, value: Any, name: str, found: dict[str, torch.Tensor]) -> None:
        tensor = _as_tensor(value)
        if tensor is not None:
            found[name] = tensor
            return
        mapping = as_mapping(value)
        if mapping is None and not isinstance(value, (tuple, list)):
            self.left_out[name.replace(_STEP, ".")] = type(value).__name__
            return
        if isinstance(value, (tuple, list)) and value and all(isinstance(one, str) for one in value):
            self.left_out[name.replace(_STEP, ".")] = "text"
            return
        self._are_tuples[name] = mapping is None
        for key, part in enumerate(value) if mapping is None else mapping.items():
            self._flatten(part, f"{name}{_STEP}{key}" if name else str(key), found)

    def _rebuild(self, node: Any, name: str) -> Any:
        if not isinstance(node, dict):
            return node
        parts = {key: self._rebuild(part, f"{name}{_STEP}{key}" if name else key) for key, part in node.items()}
        return tuple(parts.values()) if self._are_tuples.get(name, False) else parts


def _as_tensor(value: Any) -> torch.Tensor | None:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray):
        return array_as_tensor(value, "a batch") if value.dtype.kind in "biufc" else None
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        return torch.as_tensor(value)
    numbers = (bool, int, float, np.number, np.bool_)
    if isinstance(value, (tuple, list)) and value and all(isinstance(one, numbers) for one in value):
        return torch.as_tensor(np.asarray(value))
    return None


def array_as_tensor(array: np.ndarray, where: str) -> torch.Tensor:
    """Return an array of numbers as a tensor that shares its memory where it can. Raises `UserError` for other arrays."""
    if array.dtype.kind not in "biuf":
        raise UserError(f"{where}: an array of {array.dtype} has no numbers to compute with; give numbers")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def sizes_of(value: Any) -> str:
    """Return a batch or an output in a few words: `[32, 3] float32`, `{input_ids: [32, 9] int64}`."""
    if isinstance(value, torch.Tensor):
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    mapping = as_mapping(value)
    if mapping is not None:
        return "{" + ", ".join(f"{key}: {sizes_of(part)}" for key, part in mapping.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(sizes_of(part) for part in list(value)[:6]) + ")"
    return type(value).__name__


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line of at most 160 characters."""
    return shorten(str(error), 160) or type(error).__name__

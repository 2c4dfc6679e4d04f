"""Short hashes that tell one model's structure, and one data set's samples, from another's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping

import torch
from torch import nn

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Of an object in a module's text, which differs from process to process."""

_MOST_BYTES = 1 << 30
"""Of a tensor that is hashed to its last byte; of a larger one it is as many, from rows evenly spaced."""

_SAMPLES = 16
"""Of a split that are looked at where only `fetch` knows the samples."""


def model_fingerprint(model: nn.Module) -> str:
    """Return a hash of a model's structure: its modules and the name, shape and dtype of each tensor; not its weights."""
    digest = hashlib.sha256(_ADDRESS.sub("", repr(model)).encode())
    for kind, tensors in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in tensors:
            facts = (kind, name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad)
            digest.update(repr(facts).encode())
    return digest.hexdigest()[:16]


def tensors_fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a hash of named tensors: their shapes, dtypes and content."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        if tensor.nbytes > _MOST_BYTES:
            count = max(1, _MOST_BYTES * len(tensor) // tensor.nbytes)
            tensor = tensor[_evenly(len(tensor), count)]
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def samples_fingerprint(
    sizes: Mapping[str, int], fetch: Callable[[str, torch.Tensor], Mapping[str, torch.Tensor]]
) -> str:
    """Return a hash of the sizes of splits and of some samples of each, evenly spaced.

    Where `fetch` does not return the same twice, as with augmentation in it, it is of their shapes alone.
    """
    found: dict[str, torch.Tensor] = {}
    for split, size in sizes.items():
        found[split] = torch.tensor(size)
        if size == 0:
            continue
        indices = _evenly(size, min(size, _SAMPLES))
        first, second = fetch(split, indices), fetch(split, indices)
        is_same = tensors_fingerprint(first) == tensors_fingerprint(second)
        for name, tensor in first.items():
            found[f"{split}.{name}"] = tensor if is_same else torch.tensor(tensor.shape)
    return tensors_fingerprint(found)


def _evenly(size: int, count: int) -> torch.Tensor:
    return torch.arange(count) * size // count

"""Fingerprints: short hashes of a model's structure and of a data set's samples."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping

import torch
from torch import nn

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Of an object in the `repr` of a module: it differs between processes."""

_MOST_BYTES = 1 << 30
"""A larger tensor is hashed in part: as many bytes, in evenly spaced rows."""

_MOST_NUMBERS = 1 << 16
"""Of a tensor of weights that are looked at."""

_FEWEST_SAMPLES, _MOST_SAMPLES, _SAMPLE_BYTES = 16, 1024, 1 << 24
"""Samples of a split that are hashed if only `fetch` has them: as many as hold these bytes, within these bounds."""


def model_fingerprint(model: nn.Module) -> str:
    """Return a hash of a model's modules and of the name, shape and dtype of each parameter and buffer; not of its weights."""
    digest = hashlib.sha256(_ADDRESS.sub("", repr(model)).encode())
    for kind, tensors in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in tensors:
            facts = (kind, name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad)
            digest.update(repr(facts).encode())
    return digest.hexdigest()[:16]


def weights_fingerprint(model: nn.Module) -> str:
    """Return a hash of a model's weights and buffers to three digits: last digits may differ between kinds of CPU.

    Of each tensor its norm counts, and a sum with fixed signs and factors, both over as many evenly spaced numbers as are
    looked at.
    """
    digest = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            continue
        flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).detach().reshape(-1)
        numbers = flat[:: -(-len(flat) // _MOST_NUMBERS) or 1].cpu().double().nan_to_num()
        norm = float(numbers.norm())
        facts = [0.0, 0.0]
        if norm:
            factors = torch.cos(torch.arange(1, len(numbers) + 1, dtype=torch.float64) * math.sqrt(2))
            facts = [math.log(norm), float(numbers @ factors) / norm]
        digest.update(repr((name, *(round(fact, 3) + 0.0 for fact in facts))).encode())  # + 0.0: there is no -0.0
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
    """Return a hash of the sizes of splits and of samples of each: all of a small split, else some, evenly spaced.

    If `fetch` returns other values the second time, as with augmentation inside it, their shapes are hashed alone.
    """
    found: dict[str, torch.Tensor] = {}
    for split, size in sizes.items():
        found[split] = torch.tensor(size)
        if size == 0:
            continue
        few = _evenly(size, min(size, _FEWEST_SAMPLES))
        samples, again = fetch(split, few), fetch(split, few)
        is_same = tensors_fingerprint(samples) == tensors_fingerprint(again)
        nbytes = sum(tensor.nbytes for tensor in samples.values())
        count = min(size, _MOST_SAMPLES, _SAMPLE_BYTES * len(few) // max(1, nbytes))
        if is_same and count > len(few):
            samples = fetch(split, _evenly(size, count))
        for name, tensor in samples.items():
            found[f"{split}.{name}"] = tensor if is_same else torch.tensor(tensor.shape)
    return tensors_fingerprint(found)


def _evenly(size: int, count: int) -> torch.Tensor:
    return torch.arange(count) * size // count

"""What cannot be meant in arrays of samples: numbers that are not finite, and samples that are all one."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

import torch

logger = logging.getLogger(__name__)

_CHUNK_ELEMENTS = 1 << 20
"""Of an array, looked at together: the memory that it takes does not grow with the data."""


def warn_of_numbers(leaves: Iterable[torch.Tensor], where: str) -> None:
    """Warn of samples that hold NaN or infinite numbers, and where every sample is the same.

    Each tensor is [samples, ...]; the first is what a model gets.
    """
    for place, leaf in enumerate(leaves):
        if len(leaf) == 0 or leaf.layout is not torch.strided:
            continue
        bad = _not_finite(leaf)
        if bad:
            logger.warning(
                "%s: %s of %s samples hold NaN or infinite numbers (%s%s): a step that meets one changes nothing, and its loss "
                "is no number; repair them or leave them out",
                where,
                f"{len(bad):,}",
                f"{len(leaf):,}",
                f"sample {', '.join(map(str, bad[:4]))}",
                ", ..." if len(bad) > 4 else "",
            )
        elif place == 0 and len(leaf) > 1 and _are_one(leaf):
            logger.warning("%s: all %s inputs are the same: nothing can be told apart by them", where, f"{len(leaf):,}")


def _not_finite(tensor: torch.Tensor) -> list[int]:
    """Return the numbers of the samples that hold NaN or infinite numbers."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return []
    if tensor.is_floating_point() and math.isfinite(float(tensor.detach().sum())):  # one pass, and no memory
        return []
    bad: list[int] = []
    start = 0
    for chunk in _chunks(tensor):
        finite = chunk.isfinite().reshape(len(chunk), -1).all(dim=1)
        bad += (start + (~finite).nonzero().flatten()).tolist()
        start += len(chunk)
    return bad


def _are_one(tensor: torch.Tensor) -> bool:
    first = tensor[:1]
    return all(torch.equal(chunk, first.expand_as(chunk)) for chunk in _chunks(tensor))


def _chunks(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tensor.detach().split(max(1, _CHUNK_ELEMENTS // max(1, tensor[0].numel())))

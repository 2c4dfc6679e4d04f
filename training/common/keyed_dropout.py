"""A dropout whose masks are the same under any plan, and which modules draw random numbers of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from .errors import UserError
from .keyed_random import keep_masks

_FIRST_STREAM = 1 << 20
"""The streams of these dropouts begin here, behind those of the bundled encoder."""

_DRAWING = (
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.RNNBase,
    nn.MultiheadAttention,
)
"""Modules of torch that draw, or do so by their settings."""


class Dropout(nn.Module):
    """`torch.nn.Dropout` with masks that are functions of seed, epoch, sample, place in the model and element.

    Any number of processes and any micro-batches drop the same. Its inputs are [samples, ...]; used twice in a forward pass
    it drops the same elements twice, so make one for each place. Outside of a training by Slipway it is torch's dropout.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"the probability of a dropout must be from 0 to 1, got {p}")
        self.p = p
        self.keys: torch.Tensor | None = None
        """Of the samples of the present pass, int64 [samples]; set by the training."""
        self.stream = _FIRST_STREAM
        """Its place in the model."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the inputs, [samples, ...], in training with elements dropped and the rest scaled up.

        Raises `UserError` if the first dimension is not the samples.
        """
        if not self.training or self.p == 0.0:
            return inputs
        if self.keys is None or self.p == 1.0:
            return F.dropout(inputs, self.p)
        if inputs.ndim == 0 or inputs.shape[0] != self.keys.shape[0]:
            raise UserError(
                f"slipway.nn.Dropout: inputs of {list(inputs.shape)} for {self.keys.shape[0]} samples; its first dimension "
                "must be the samples, so move it to where it is, or use torch.nn.Dropout"
            )
        kept = keep_masks(self.keys, (self.stream,), math.prod(inputs.shape[1:]), self.p)
        dropped_share = round(self.p * 2**16) / 2**16
        return inputs * (kept.view(inputs.shape).to(inputs.dtype) * (1.0 / (1.0 - dropped_share)))

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"


def number_dropouts(model: nn.Module) -> list[Dropout]:
    """Give each keyed dropout of a model its place; return them."""
    found = [module for module in model.modules() if isinstance(module, Dropout)]
    for number, module in enumerate(found):
        module.stream = _FIRST_STREAM + number
    return found


def may_draw(model: nn.Module, *, is_keyed: bool) -> bool:
    """Return whether a forward pass may draw from torch's generator.

    `is_keyed`: its own classes are known not to. Otherwise any class that is none of torch's may.
    """
    kinds = set(_kinds(model))
    if any(issubclass(kind, _DRAWING) for kind in kinds):
        return True
    return not is_keyed and any(not kind.__module__.startswith(("torch.", f"{__package__}.")) for kind in kinds)


def _kinds(model: nn.Module) -> Iterator[type]:
    for module in model.modules():
        yield type(module)

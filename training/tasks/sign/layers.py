"""Layers of the bundled models, on clips laid end to end: keyed dropout, convolution and attention without key bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ...common.keyed_random import keep_masks
from ...data.packing import Packing


class KeyedDropout(nn.Module):
    """Dropout whose mask is a function of the sample's key, the layer and the channel, not of a generator's state.

    The key stands for (seed, epoch, sample index), so any plan draws the same masks. A channel is dropped for all frames
    of a clip (Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016),
    which costs next to nothing.
    """

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.probability = 0.0

    def forward(
        self, inputs: torch.Tensor, factors: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return `inputs` [rows, channels] with channels dropped and the rest scaled up.

        `factors` are this layer's of `dropout_factors`, [clips, channels]; `clip` is the clip of each row, int64 [rows].
        Without it each row is a clip.
        """
        if factors is None:
            return inputs
        factors = factors.to(inputs.dtype)
        return inputs * (factors if clip is None else factors.index_select(0, clip))


def dropout_factors(
    dropouts: Sequence[KeyedDropout], keys: torch.Tensor | None, channels: int, dtype: torch.dtype
) -> list[torch.Tensor | None]:
    """Return what each layer multiplies its inputs by, [clips, channels]: 0, or what keeps the mean; None: nothing is dropped.

    `keys` is int64 [clips]. The layers have one probability; all their masks are drawn in one go.
    """
    probability = dropouts[0].probability
    if keys is None or probability == 0.0:
        return [None] * len(dropouts)
    kept = keep_masks(keys, tuple(dropout.layer for dropout in dropouts), channels, probability)
    dropped_share = round(probability * 2**16) / 2**16
    return list((kept.to(dtype) * (1.0 / (1.0 - dropped_share))).unbind())


class ConvolutionBlock(nn.Module):
    """A gated depthwise convolution over time with a residual: frames mix within a window, clips do not."""

    def __init__(self, width: int, kernel_size: int, layer: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.convolution = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.mix_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, width)
        self.dropout = KeyedDropout(layer)

    @property
    def dropouts(self) -> tuple[KeyedDropout, ...]:
        """The layers whose factors `forward` takes."""
        return (self.dropout,)

    def forward(self, inputs: torch.Tensor, packing: Packing, factors: torch.Tensor | None) -> torch.Tensor:
        """Return the outputs, [rows, width], of `inputs`, [rows, width], with the `factors` that `dropout_factors` returns."""
        # Rows of zeros as wide as half the window keep neighbouring clips apart.
        gap = self.convolution.kernel_size[0] // 2
        spaced = packing.space(F.glu(self.expand(self.norm(inputs)), dim=-1), gap)
        mixed = packing.unspace(self._convolve(spaced), gap)
        return inputs + self.dropout(self.project(F.silu(self.mix_norm(mixed))), factors, packing.clip)

    def _convolve(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the convolution over rows [rows, width]: one image of one column, which stays in its memory format."""
        convolution = self.convolution
        if torch.compiler.is_compiling():
            return _convolve_by_shifts(rows, convolution.weight[:, 0], convolution.bias)
        image = F.conv2d(
            rows.t()[None, :, :, None],
            convolution.weight[..., None],
            convolution.bias,
            padding=(convolution.kernel_size[0] // 2, 0),
            groups=convolution.groups,
        )
        return image[0, :, :, 0].t()


def _convolve_by_shifts(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return the depthwise convolution of rows [rows, width] with `weight` [width, window] as one sum.

    A compiler makes one kernel of it for any number of rows; Inductor cannot for a convolution of unknown length.
    """
    window = weight.shape[1]
    padded = F.pad(rows, (0, 0, window // 2, window // 2))
    mixed = padded[: rows.shape[0]] * weight[:, 0]
    for place in range(1, window):
        mixed = mixed + padded[place : place + rows.shape[0]] * weight[:, place]
    return mixed if bias is None else mixed + bias


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward (Xiong et al., "On layer normalization in the transformer", 2020).

    Keys carry no bias: softmax cancels it, so its true gradient is zero and an adaptive optimizer would act on rounding.
    """

    def __init__(self, width: int, heads: int, layer: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_value = nn.Linear(width, 2 * width)
        self.key = nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(width, width)
        self.attention_dropout = KeyedDropout(layer)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.feed_forward_dropout = KeyedDropout(layer + 1)

    @property
    def dropouts(self) -> tuple[KeyedDropout, ...]:
        """The layers whose factors `forward` takes, in this order."""
        return self.attention_dropout, self.feed_forward_dropout

    def forward(self, inputs: torch.Tensor, packing: Packing, *factors: torch.Tensor | None) -> torch.Tensor:
        """Return the outputs, [rows, width], of `inputs`, [rows, width], with the `factors` that `dropout_factors` returns."""
        merged = self.merge(packing.unpad(self._attend(self.attention_norm(inputs), packing)))
        hidden = inputs + self.attention_dropout(merged, factors[0], packing.clip)
        fed = self.feed_forward(self.feed_forward_norm(hidden))
        return hidden + self.feed_forward_dropout(fed, factors[1], packing.clip)

    def _attend(self, normed: torch.Tensor, packing: Packing) -> torch.Tensor:
        """Return what each frame takes from its own clip, [clips, longest, width]; `normed` is [rows, width]."""
        clips, longest = packing.real.shape
        query, value = packing.pad(self.query_value(normed)).chunk(2, dim=-1)
        split = (clips, longest, self.heads, normed.shape[1] // self.heads)
        bias = query.new_zeros(clips, longest).masked_fill(~packing.real, -math.inf)
        attended = F.scaled_dot_product_attention(
            query.reshape(split).transpose(1, 2),
            packing.pad(self.key(normed)).view(split).transpose(1, 2),
            value.reshape(split).transpose(1, 2),
            attn_mask=bias[:, None, None, :],
        )
        return attended.transpose(1, 2).reshape(clips, longest, normed.shape[1])


def soft_maximum(inputs: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return the mean over frames weighted by their softmax, [clips, channels].

    `inputs` is [clips, frames, channels], `real` bool [clips, frames]. A hard maximum passes its gradient to another
    frame when two are equal but for rounding; then the order of sums decides what is learned.
    """
    return (inputs.masked_fill(~real[:, :, None], -math.inf).softmax(dim=1) * inputs).sum(dim=1)

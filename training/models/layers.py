"""Layers of the bundled models: keyed dropout, masked convolution and attention without key bias."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from training.keyed import keep_mask


class KeyedDropout(nn.Module):
    """Dropout whose mask is a function of the sample's key, the layer and the channel, not of a generator's state.

    The key stands for (seed, epoch, sample index), so any plan draws the same masks. A channel is dropped for all frames
    of a clip (Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016),
    which costs next to nothing. Without keys it does nothing.
    """

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.probability = 0.0

    def forward(self, inputs: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        """Return `inputs` [samples, frames, channels] with channels dropped and the rest scaled up."""
        if keys is None or self.probability == 0.0:
            return inputs
        kept = keep_mask(keys, self.layer, 1, inputs.shape[2], self.probability)
        dropped_share = round(self.probability * 2**16) / 2**16
        return inputs * (kept.to(inputs.dtype) * (1.0 / (1.0 - dropped_share)))


class ConvolutionBlock(nn.Module):
    """A gated depthwise convolution over time with a residual: frames mix within a window, padding stays out."""

    def __init__(self, width: int, kernel_size: int, layer: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.convolution = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.mix_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, width)
        self.dropout = KeyedDropout(layer)

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        """`inputs` is [samples, frames, width], `mask` [samples, frames, 1] with 1 on real frames."""
        gated = F.glu(self.expand(self.norm(inputs)), dim=-1) * mask
        mixed = self.convolution(gated.transpose(1, 2)).transpose(1, 2)
        return inputs + self.dropout(self.project(F.silu(self.mix_norm(mixed))), keys)


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

    def forward(self, inputs: torch.Tensor, bias: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        """`inputs` is [samples, frames, width], `bias` [samples, 1, 1, frames]: minus infinity on padding, else 0."""
        samples, frames, width = inputs.shape
        normed = self.attention_norm(inputs)
        query, value = self.query_value(normed).chunk(2, dim=-1)
        split = (samples, frames, self.heads, width // self.heads)
        attended = F.scaled_dot_product_attention(
            query.reshape(split).transpose(1, 2),
            self.key(normed).view(split).transpose(1, 2),
            value.reshape(split).transpose(1, 2),
            attn_mask=bias.to(query.dtype),
        )
        merged = self.merge(attended.transpose(1, 2).reshape(samples, frames, width))
        hidden = inputs + self.attention_dropout(merged, keys)
        return hidden + self.feed_forward_dropout(self.feed_forward(self.feed_forward_norm(hidden)), keys)


def soft_maximum(inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean over frames weighted by their softmax, [samples, channels].

    `inputs` is [samples, frames, channels], `mask` [samples, frames, 1] with 1 on real frames. A hard maximum passes its
    gradient to another frame when two are equal but for rounding; then the order of sums decides what is learned.
    """
    return (inputs.masked_fill(mask == 0, -math.inf).softmax(dim=1) * inputs).sum(dim=1)

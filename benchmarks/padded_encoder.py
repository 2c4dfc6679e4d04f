"""The bundled encoder's arithmetic on padded clips, as one writes it by hand: the other side of comparisons.

The same parameters and the same numbers but for the order of sums, with every layer computed for padding too.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from slipway.training.data.features import end_pairs
from slipway.training.data.landmarks import LandmarkLayout
from slipway.training.tasks.sign.encoder import SignEncoder
from slipway.training.tasks.sign.layers import ConvolutionBlock, TransformerBlock, dropout_factors


class PaddedEncoder(nn.Module):
    """Computes what an encoder does, with its parameters, on padded clips."""

    def __init__(self, encoder: SignEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, landmarks: torch.Tensor, lengths: torch.Tensor, keys: torch.Tensor | None = None) -> torch.Tensor:
        """Return scores [clips, classes]; the arguments are those of `SignEncoder.forward`."""
        encoder = self.encoder
        frames = torch.arange(landmarks.shape[1], device=landmarks.device)
        real = frames < lengths[:, None]
        # Padding becomes a repeat of the last frame, so that motion at a clip's end does not depend on it.
        clip = torch.arange(len(lengths), device=landmarks.device)[:, None]
        landmarks = landmarks[clip, torch.minimum(frames, lengths[:, None] - 1)]
        mask = real[:, :, None].to(encoder.stem.weight.dtype)
        bias = torch.zeros(real.shape, device=landmarks.device).masked_fill(~real, -math.inf)[:, None, None, :]
        features = _features(landmarks.to(encoder.feature_mean.dtype), encoder.layout, encoder.distances)
        hidden = encoder.stem((features - encoder.feature_mean) * encoder.feature_scale)
        for layer, factors in zip(encoder.layers, encoder.residual_factors(keys, hidden.dtype), strict=True):
            if isinstance(layer, ConvolutionBlock):
                hidden = _convolve(layer, hidden, mask, *factors)
            else:
                assert isinstance(layer, TransformerBlock)
                hidden = _transform(layer, hidden, bias, *factors)
        mean = (hidden * mask).sum(dim=1) / lengths[:, None].to(mask.dtype)
        soft_maximum = (hidden.masked_fill(mask == 0, -math.inf).softmax(dim=1) * hidden).sum(dim=1)
        pooled = encoder.norm(torch.cat([mean, soft_maximum], dim=1))
        (factor,) = dropout_factors([encoder.head_dropout], keys, pooled.shape[1], pooled.dtype)
        return encoder.head(_drop(pooled, factor))


def pad(landmarks: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return clips end to end, [rows, ...], padded with zeros, [clips, frames, ...]."""
    return pad_sequence(list(landmarks.split(lengths.tolist())), batch_first=True)


def _features(landmarks: torch.Tensor, layout: LandmarkLayout, distances: bool) -> torch.Tensor:
    """Return what `landmark_features` does, [clips, frames, features]."""
    relative = [
        (landmarks[:, :, first:stop] - landmarks[:, :, root : root + 1]).flatten(2)
        for first, stop, root in layout.parts
    ]
    if distances and (pairs := end_pairs(layout)):
        one, other = ([pair[place] for pair in pairs] for place in range(2))
        relative.append((landmarks[:, :, one] - landmarks[:, :, other]).square().sum(dim=3).sqrt())
    before = torch.cat([landmarks[:, :1], landmarks[:, :-1]], dim=1)
    after = torch.cat([landmarks[:, 1:], landmarks[:, -1:]], dim=1)
    velocity = (after - before) * 0.5
    acceleration = after - 2.0 * landmarks + before
    values = torch.cat([landmarks.flatten(2), *relative, velocity.flatten(2), acceleration.flatten(2)], dim=2)
    present = (~landmarks[..., 0].isnan()).to(landmarks.dtype)
    return torch.cat([values.nan_to_num(nan=0.0), present], dim=2)


def _drop(inputs: torch.Tensor, factors: torch.Tensor | None) -> torch.Tensor:
    """Return `inputs`, [clips, channels] or [clips, frames, channels], with channels dropped."""
    if factors is None:
        return inputs
    return inputs * (factors if inputs.ndim == 2 else factors[:, None])


def _convolve(
    block: ConvolutionBlock, inputs: torch.Tensor, mask: torch.Tensor, factors: torch.Tensor | None
) -> torch.Tensor:
    """`inputs` is [clips, frames, width], `mask` [clips, frames, 1] with 1 on real frames."""
    gated = F.glu(block.expand(block.norm(inputs)), dim=-1) * mask
    mixed = block.convolution(gated.transpose(1, 2)).transpose(1, 2)
    return inputs + _drop(block.project(F.silu(block.mix_norm(mixed))), factors)


def _transform(
    block: TransformerBlock, inputs: torch.Tensor, bias: torch.Tensor, *factors: torch.Tensor | None
) -> torch.Tensor:
    """`inputs` is [clips, frames, width], `bias` [clips, 1, 1, frames]: minus infinity on padding, else 0."""
    clips, frames, width = inputs.shape
    normed = block.attention_norm(inputs)
    query, value = block.query_value(normed).chunk(2, dim=-1)
    split = (clips, frames, block.heads, width // block.heads)
    attended = F.scaled_dot_product_attention(
        query.reshape(split).transpose(1, 2),
        block.key(normed).view(split).transpose(1, 2),
        value.reshape(split).transpose(1, 2),
        attn_mask=bias.to(query.dtype),
    )
    merged = block.merge(attended.transpose(1, 2).reshape(clips, frames, width))
    hidden = inputs + _drop(merged, factors[0])
    return hidden + _drop(block.feed_forward(block.feed_forward_norm(hidden)), factors[1])

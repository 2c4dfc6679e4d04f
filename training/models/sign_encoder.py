"""The bundled sign recogniser: 1-D convolutions and transformer blocks over masked landmark sequences."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from training.data.features import landmark_features, num_features
from training.data.landmarks import LandmarkLayout
from training.models.layers import ConvolutionBlock, KeyedDropout, TransformerBlock, soft_maximum
from training.recipe import ModelSpec


class SignEncoder(nn.Module):
    """Landmark clips to class scores.

    The shape follows the first place of the 2023 isolated sign language recognition challenge (convolutions, then a
    transformer block, twice) at a tenth of its size. Normalisation is by layer only and padding is masked, so a clip's
    scores do not depend on what it is batched with.
    """

    feature_mean: torch.Tensor
    feature_scale: torch.Tensor

    def __init__(self, layout: LandmarkLayout, num_classes: int, spec: ModelSpec) -> None:
        super().__init__()
        self.layout = layout
        features = num_features(layout)
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))
        self.stem = nn.Linear(features, spec.width)
        layers: list[nn.Module] = []
        for block in range(spec.blocks):
            layers += [
                ConvolutionBlock(spec.width, spec.kernel_size, layer=10 * block + number)
                for number in range(spec.convolutions)
            ]
            layers.append(TransformerBlock(spec.width, spec.heads, layer=10 * block + 8))
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(2 * spec.width)
        self.head_dropout = KeyedDropout(layer=1000)
        self.head = nn.Linear(2 * spec.width, num_classes)
        self._recomputes = False

    def gradient_checkpointing_enable(self) -> None:
        """Keep only what goes into each layer, and compute the rest again in the backward pass."""
        self._recomputes = True

    def set_dropout(self, probability: float) -> None:
        """Set the dropout of the head to `probability`, and that of the residual branches to half of it."""
        for module in self.modules():
            if isinstance(module, KeyedDropout):
                module.probability = probability if module is self.head_dropout else probability / 2

    def set_feature_statistics(self, mean: torch.Tensor, scale: torch.Tensor) -> None:
        """Set what features are standardised with; both [features], from the training samples."""
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(scale)

    def forward(self, landmarks: torch.Tensor, lengths: torch.Tensor, keys: torch.Tensor | None = None) -> torch.Tensor:
        """Return scores [clips, classes].

        `landmarks` is [clips, frames, landmarks, coords] with missing points as NaN and anything as padding, `lengths`
        int64 [clips]; `keys` int64 [clips] switch dropout on.
        """
        frames = torch.arange(landmarks.shape[1], device=landmarks.device)
        real = frames < lengths[:, None]
        # Padding becomes a repeat of the last frame, so that motion at a clip's end does not depend on it.
        clip = torch.arange(len(lengths), device=landmarks.device)[:, None]
        landmarks = landmarks[clip, torch.minimum(frames, lengths[:, None] - 1)]
        mask = real[:, :, None].to(self.stem.weight.dtype)
        bias = torch.zeros(real.shape, device=landmarks.device).masked_fill(~real, -math.inf)[:, None, None, :]
        features = landmark_features(landmarks.to(self.feature_mean.dtype), self.layout)
        hidden = self.stem((features - self.feature_mean) * self.feature_scale)
        for layer in self.layers:
            context = mask if isinstance(layer, ConvolutionBlock) else bias
            if self._recomputes and torch.is_grad_enabled():
                # Dropout is keyed, so there is no generator to set back.
                hidden = checkpoint(layer, hidden, context, keys, use_reentrant=False, preserve_rng_state=False)
            else:
                hidden = layer(hidden, context, keys)
        mean = (hidden * mask).sum(dim=1) / lengths[:, None].to(mask.dtype)
        pooled = self.norm(torch.cat([mean, soft_maximum(hidden, mask)], dim=1))
        return self.head(self.head_dropout(pooled[:, None, :], keys)[:, 0])

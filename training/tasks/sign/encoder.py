"""The bundled sign recogniser: 1-D convolutions and transformer blocks over landmark sequences."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ...data.features import landmark_features, num_features
from ...data.landmarks import LandmarkLayout
from ...data.packing import Packing
from .layers import ConvolutionBlock, KeyedDropout, TransformerBlock, dropout_factors, soft_maximum
from .options import ModelSpec


class SignEncoder(nn.Module):
    """Landmark clips to class scores.

    The shape follows the first place of the 2023 isolated sign language recognition challenge (convolutions, then a
    transformer block, twice) at a tenth of its size. The clips of a batch are computed end to end, so that no frame is
    padding but in attention, where it is masked. Normalisation is by layer only: a clip's scores do not depend on what it
    is batched with.
    """

    forward_methods = ("score_rows",)
    """What computes with the parameters beside `forward`: where these are sharded, they are gathered for it too."""

    feature_mean: torch.Tensor
    feature_scale: torch.Tensor

    def __init__(self, layout: LandmarkLayout, num_classes: int, spec: ModelSpec) -> None:
        super().__init__()
        self.layout = layout
        self.distances = spec.distances
        features = num_features(layout, spec.distances)
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
        int64 [clips]; `keys` int64 [clips] switch dropout on. How many frames are real is read from the device.
        """
        real = torch.arange(landmarks.shape[1], device=landmarks.device) < lengths[:, None]
        return self.score_rows(landmarks[real], lengths, real, keys)

    def score_rows(
        self, landmarks: torch.Tensor, lengths: torch.Tensor, real: torch.Tensor, keys: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return scores [clips, classes] of clips end to end, without padding and without waiting for the device.

        `landmarks` is [rows, landmarks, coords] with missing points as NaN, `lengths` int64 [clips], `real` bool
        [clips, longest] as `real_frames` gives it, `keys` as in `forward`.
        """
        return self.score_packed(landmarks, Packing.of_mask(lengths, real, landmarks.shape[0]), keys)

    def score_packed(self, landmarks: torch.Tensor, packing: Packing, keys: torch.Tensor | None = None) -> torch.Tensor:
        """Return scores [clips, classes] of clips whose frames stand in `landmarks`, [rows, ...], as `packing` says."""
        features = landmark_features(landmarks.to(self.feature_mean.dtype), packing, self.layout, self.distances)
        hidden = self.stem((features - self.feature_mean) * self.feature_scale)
        for layer, factors in zip(self.layers, self.residual_factors(keys, hidden.dtype), strict=True):
            if self._recomputes and torch.is_grad_enabled():
                # Nothing in a layer is drawn, so there is no generator to set back.
                hidden = checkpoint(layer, hidden, packing, *factors, use_reentrant=False, preserve_rng_state=False)
            else:
                hidden = layer(hidden, packing, *factors)
        clips = packing.pad(hidden)
        # Padding is zero: the sum is that of the real frames.
        mean = clips.sum(dim=1) / packing.lengths[:, None].to(clips.dtype)
        pooled = self.norm(torch.cat([mean, soft_maximum(clips, packing.real)], dim=1))
        (of_head,) = dropout_factors([self.head_dropout], keys, pooled.shape[1], pooled.dtype)
        return self.head(self.head_dropout(pooled, of_head))

    def residual_factors(self, keys: torch.Tensor | None, dtype: torch.dtype) -> list[list[torch.Tensor | None]]:
        """Return the factors of the dropouts of each layer, [clips, width] each."""
        dropouts = [layer.dropouts for layer in self._blocks()]
        drawn = iter(dropout_factors([each for some in dropouts for each in some], keys, self.stem.out_features, dtype))
        return [[next(drawn) for _ in some] for some in dropouts]

    def _blocks(self) -> list[ConvolutionBlock | TransformerBlock]:
        return cast(list[ConvolutionBlock | TransformerBlock], list(self.layers))

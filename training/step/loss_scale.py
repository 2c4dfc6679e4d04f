"""The scale of the loss under fp16: halved when gradients overflow, doubled after many updates without an overflow."""

from __future__ import annotations

import math

import torch

from ..config.recipe import Recipe

_INITIAL = 65536.0


class LossScale:
    """The factor that keeps fp16 gradients from vanishing: halved when one overflows, doubled after a quiet time.

    Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2. It stays on the device, so nothing waits for it.
    """

    def __init__(self, initial: float, device: torch.device, *, enabled: bool, growth_interval: int = 2000) -> None:
        self.enabled = enabled
        self._growth_interval = growth_interval
        self.scale = torch.full((), initial if enabled else 1.0, device=device)
        self.quiet_updates = torch.zeros((), device=device)

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> LossScale:
        """Return the scale with which a resolved recipe starts; it is 1 and stays so unless the recipe says fp16."""
        # Losses are summed over a batch, not averaged: the scale starts lower by that much, to the next power of two.
        rows = 2.0 ** math.ceil(math.log2(recipe.resolved.global_batch_size))
        return cls(_INITIAL / rows, device, enabled=recipe.resolved.mixed_precision == "fp16")

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss to differentiate."""
        return loss * self.scale.to(loss.dtype) if self.enabled else loss

    def unscale(self, factor: torch.Tensor) -> torch.Tensor:
        """Return a factor of the gradients divided by the scale."""
        return factor / self.scale if self.enabled else factor

    def update(self, is_finite: torch.Tensor, counts: torch.Tensor | None = None) -> None:
        """Adapt the scale after an update; not if `counts` is false, as for a step that ran out of memory."""
        if not self.enabled:
            return
        counts = torch.ones_like(is_finite) if counts is None else counts
        quiet = (self.quiet_updates + 1.0) * is_finite
        grows = quiet >= self._growth_interval
        factor = torch.where(is_finite, torch.where(grows, 2.0, 1.0), 0.5)
        self.scale.mul_(torch.where(counts, factor, 1.0))
        self.quiet_updates.copy_(torch.where(counts, quiet * grows.logical_not(), self.quiet_updates))

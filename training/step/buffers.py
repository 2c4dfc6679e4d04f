"""The buffers of a model, such as running statistics, put back after a pass or an update that does not count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


def model_buffers(model: nn.Module) -> list[torch.Tensor]:
    """Return the model's buffers that are not empty."""
    return [buffer for buffer in model.buffers() if buffer.numel()]


@contextmanager
def restored_buffers(model: nn.Module) -> Iterator[None]:
    """Put the model's buffers back at the end of the block, as they are at its start."""
    kept = [(buffer, buffer.clone()) for buffer in model_buffers(model)]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


class BufferGuard:
    """Keeps the buffers as they were before each step: bad numbers get into running statistics too."""

    def __init__(self, model: nn.Module) -> None:
        self._buffers = model_buffers(model)
        self._before: list[torch.Tensor] = []
        self._versions: list[int] = []

    def keep(self) -> list[torch.Tensor]:
        """Return the buffers as they are before a step; copied only if something changed them since the last call."""
        if (versions := self._present_versions()) != self._versions:
            self._before, self._versions = [buffer.clone() for buffer in self._buffers], versions
        return self._before

    def undo_unless(self, is_finite: torch.Tensor) -> None:
        """Put changed buffers back if `is_finite`, a scalar on the device, is false: the update was skipped."""
        if self._present_versions() != self._versions:
            for buffer, before in zip(self._buffers, self._before, strict=True):
                buffer.copy_(torch.where(is_finite, buffer, before))

    def restore(self, kept: Sequence[torch.Tensor]) -> None:
        """Set the buffers to what `keep` returned."""
        for buffer, before in zip(self._buffers, kept, strict=True):
            if not torch.equal(buffer, before):
                buffer.copy_(before)

    def _present_versions(self) -> list[int]:
        return [buffer._version for buffer in self._buffers]

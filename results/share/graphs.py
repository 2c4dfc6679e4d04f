"""Models as graphs that other programs run: what is done to an input before the network is inside, and its length is free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...training.data.landmarks import LandmarkLayout
from ...training.tasks.outputs import main_tensor
from ...training.tasks.sign.encoder import SignEncoder


@dataclass(frozen=True, slots=True)
class OneClip:
    """The places of the frames of a single clip, as `Packing` has them for several: nothing is moved."""

    real: torch.Tensor
    """All true, bool [1, frames]."""
    clip: torch.Tensor | None = None

    @classmethod
    def of(cls, landmarks: torch.Tensor) -> OneClip:
        """Return the places of a clip [frames, landmarks, coords]."""
        return cls(torch.ones_like(landmarks[None, :, 0, 0], dtype=torch.bool))

    @property
    def lengths(self) -> torch.Tensor:
        """The frames of the clip, int64 [1]."""
        return self.real.sum(dim=1)

    def neighbours(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the frames before and after each, two int64 [frames]; at the ends the frame itself."""
        frame = self.real[0].long().cumsum(0) - 1
        return (frame - 1).clamp(min=0), torch.minimum(frame + 1, frame[-1])

    def pad(self, rows: torch.Tensor) -> torch.Tensor:
        """Return [1, frames, channels]."""
        return rows[None]

    def unpad(self, clips: torch.Tensor) -> torch.Tensor:
        """Return [frames, channels]."""
        return clips[0]

    def space(self, rows: torch.Tensor, gap: int) -> torch.Tensor:
        """Return the rows: a single clip needs no gap, as a convolution pads it."""
        return rows

    unspace = space


class SignGraph(nn.Module):
    """A clip as it was recorded to class probabilities: normalisation, features and network."""

    def __init__(self, encoder: SignEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, landmarks: torch.Tensor) -> torch.Tensor:
        """Return class probabilities, [classes], of a clip [frames, landmarks, coords] with missing points as NaN."""
        normalised = normalise_clip(landmarks, self.encoder.layout)
        places: Any = OneClip.of(landmarks)
        return self.encoder.score_packed(normalised, places)[0].softmax(dim=0)


class PictureGraph(nn.Module):
    """Pictures to class probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return class probabilities, [pictures, classes], of pictures [pictures, channels, height, width] from 0 to 1."""
        return self.model(images).softmax(dim=1)


class TextGraph(nn.Module):
    """The bytes of a text to class probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Return class probabilities, [classes], of a text in UTF-8, int64 [bytes]."""
        tokens = (text + 1)[None]
        return self.model(tokens=tokens, mask=tokens > 0)[0].softmax(dim=0)


class CallGraph(nn.Module):
    """A model of the user's as its task calls it, by position and by name."""

    def __init__(self, model: nn.Module, names: Sequence[str | None], *, tells_classes: bool) -> None:
        super().__init__()
        self.model, self._names, self._tells_classes = model, tuple(names), tells_classes

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return class probabilities, [samples, classes], or the model's main output."""
        pairs = list(zip(self._names, inputs, strict=True))
        found = main_tensor(
            self.model(
                *(value for name, value in pairs if name is None),
                **{name: value for name, value in pairs if name is not None},
            )
        )
        assert found is not None
        return found.softmax(dim=1) if self._tells_classes else found


def normalise_clip(values: torch.Tensor, layout: LandmarkLayout) -> torch.Tensor:
    """Return a clip [frames, landmarks, coords] as `normalise_clips` does."""
    missing = values.isnan().any(dim=2, keepdim=True)
    values = torch.where(missing, torch.full_like(values, torch.nan), values)
    if not layout.spatial:
        return values
    origin = values.new_tensor(layout.origin) if layout.origin else _mean(values)
    if layout.center:
        origin = _or_else(_mean(values[:, list(layout.center)]), origin)
    values = values - origin
    unit = values.new_tensor([layout.unit])
    if not layout.unit:
        unit = _mean((values * values).sum(dim=2, keepdim=True)).sqrt()
    if layout.scale:
        first, second = ([pair[place] for pair in layout.scale] for place in range(2))
        differences = values[:, first] - values[:, second]
        unit = _or_else(_mean((differences * differences).sum(dim=2, keepdim=True).sqrt()), unit)
    return values / torch.where(_is_finite(unit) & (unit > 1e-8), unit, torch.ones_like(unit))


def _mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over frames and landmarks without NaN, [coords]; NaN if all are."""
    present = ~values.isnan()
    total = torch.where(present, values, torch.zeros_like(values)).double().sum(dim=(0, 1))
    return (total / present.double().sum(dim=(0, 1))).to(values.dtype)


def _or_else(values: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return torch.where(_is_finite(values), values, torch.where(_is_finite(others), others, torch.zeros_like(others)))


def _is_finite(values: torch.Tensor) -> torch.Tensor:
    return (values - values) == 0

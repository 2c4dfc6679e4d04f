"""Clips of unequal length laid end to end: which row is which frame of which clip, and the way to padded clips and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

_SPACED_MULTIPLE = 64
"""Rows with gaps are filled up to a multiple of this: kernels that are made for a shape are then made for few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Where the frames of clips stand when all of them are rows of one tensor, without padding."""

    lengths: torch.Tensor
    """Frames of each clip, int64 [clips]."""
    starts: torch.Tensor
    """The row of each clip's first frame, int64 [clips]."""
    row: torch.Tensor
    """0, 1, 2, ..., int64 [rows]."""
    clip: torch.Tensor
    """The clip of each row, int64 [rows]."""
    frame: torch.Tensor
    """The number of each row in its clip, from 0, int64 [rows]."""

    @classmethod
    def of(cls, lengths: torch.Tensor, num_rows: int) -> Rows:
        """Return the rows of clips of `lengths`, int64 [clips], which sum to `num_rows`. Does not wait for a device."""
        device = lengths.device
        starts = lengths.cumsum(0) - lengths
        row = torch.arange(num_rows, device=device)
        clips = torch.arange(lengths.shape[0], device=device)
        clip = torch.repeat_interleave(clips, lengths, output_size=num_rows)
        return cls(lengths=lengths, starts=starts, row=row, clip=clip, frame=row - starts.index_select(0, clip))

    def neighbours(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows of the frames before and after each, int64 [rows] each; a clip's first and last are their own."""
        before = self.row - (self.frame > 0).long()
        return before, torch.minimum(self.row + 1, (self.starts + self.lengths - 1).index_select(0, self.clip))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing(Rows):
    """Rows, and the padded clips that attention and pooling need."""

    real: torch.Tensor
    """Which frames of the padded clips are there, bool [clips, longest]."""
    place: torch.Tensor
    """Where each row stands in the padded clips, one after the other, int64 [rows]."""

    @classmethod
    def of_mask(cls, lengths: torch.Tensor, real: torch.Tensor, num_rows: int) -> Packing:
        """Return the packing of clips of `lengths` with `real` as `real_frames` gives it; `num_rows` is their sum.

        What depends on the values of the lengths is in shapes: nothing here waits for a device.
        """
        rows = Rows.of(lengths, num_rows)
        place = rows.clip * real.shape[1] + rows.frame
        return cls(**{name: getattr(rows, name) for name in Rows.__slots__}, real=real, place=place)

    def pad(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows [rows, channels] as clips [clips, longest, channels] padded with zeros."""
        clips, longest = self.real.shape
        return _scatter(rows, self.place, clips * longest).view(clips, longest, *rows.shape[1:])

    def unpad(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the real frames of clips [clips, longest, channels] as rows [rows, channels]."""
        return clips.flatten(0, 1).index_select(0, self.place)

    def space(self, rows: torch.Tensor, gap: int) -> torch.Tensor:
        """Return rows [rows, channels] with at least `gap` rows of zeros between clips and at the end."""
        num_spaced = rows.shape[0] + gap * self.lengths.shape[0]
        num_spaced += -num_spaced % _SPACED_MULTIPLE
        return _scatter(rows, self.row + gap * self.clip, num_spaced)

    def unspace(self, spaced: torch.Tensor, gap: int) -> torch.Tensor:
        """Return rows without the gaps of `space`."""
        return spaced.index_select(0, self.row + gap * self.clip)


def real_frames(lengths: torch.Tensor) -> torch.Tensor:
    """Return which frames of padded clips are there, bool [clips, longest]. On the host: it reads the lengths."""
    frames = lengths.numpy()
    return torch.from_numpy(np.arange(frames.max()) < frames[:, None])


def pad_with_last(rows: torch.Tensor, lengths: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return rows [rows, ...] as clips [clips, longest, ...] whose last frames are repeated as padding."""
    starts = lengths.cumsum(0) - lengths
    frames = torch.arange(real.shape[1], device=rows.device)
    chosen = starts[:, None] + torch.minimum(frames, lengths[:, None] - 1)
    return rows.index_select(0, chosen.flatten()).view(*chosen.shape, *rows.shape[1:])


def _scatter(rows: torch.Tensor, places: torch.Tensor, num_places: int) -> torch.Tensor:
    """Return rows at places of their own among zeros: nothing meets in a sum, so it is repeatable on every device."""
    return rows.new_zeros(num_places, *rows.shape[1:]).index_add(0, places, rows)

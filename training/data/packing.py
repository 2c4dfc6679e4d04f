"""Clips of unequal length laid end to end: the clip and frame of each row, and conversion to padded clips and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

_SPACED_MULTIPLE = 64
"""Rows with gaps are padded to a multiple of this, so that kernels compiled for a shape see few shapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The places of the frames of clips when all of them are rows of one tensor, without padding."""

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
        """Return the rows of clips of `lengths`, int64 [clips], whose sum is `num_rows`. Does not wait for a device."""
        device = lengths.device
        starts = lengths.cumsum(0) - lengths
        row = torch.arange(num_rows, device=device)
        clips = torch.arange(lengths.shape[0], device=device)
        clip = torch.repeat_interleave(clips, lengths, output_size=num_rows)
        return cls(lengths=lengths, starts=starts, row=row, clip=clip, frame=row - starts.index_select(0, clip))

    def neighbours(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows of the frames before and after each, two int64 [rows]; at a clip's ends the frame itself."""
        before = self.row - (self.frame > 0).long()
        return before, torch.minimum(self.row + 1, (self.starts + self.lengths - 1).index_select(0, self.clip))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing(Rows):
    """Rows, and their places in the padded clips that attention and pooling need."""

    real: torch.Tensor
    """Which frames of the padded clips are not padding, bool [clips, longest]."""
    place: torch.Tensor
    """The place of each row in the flattened padded clips, int64 [rows]."""

    @classmethod
    def of_mask(cls, lengths: torch.Tensor, real: torch.Tensor, num_rows: int) -> Packing:
        """Return the packing of clips of `lengths`, whose sum is `num_rows`, with `real` from `real_frames`.

        All shapes are known on the host: nothing here waits for a device.
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
    """Return which frames of padded clips are not padding, bool [clips, longest]. On the host: it reads the lengths."""
    frames = lengths.numpy()
    return torch.from_numpy(np.arange(frames.max()) < frames[:, None])


def pad_with_last(rows: torch.Tensor, lengths: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return rows [rows, ...] as clips [clips, longest, ...], padded with their last frames."""
    starts = lengths.cumsum(0) - lengths
    frames = torch.arange(real.shape[1], device=rows.device)
    chosen = starts[:, None] + torch.minimum(frames, lengths[:, None] - 1)
    return rows.index_select(0, chosen.flatten()).view(*chosen.shape, *rows.shape[1:])


def _scatter(rows: torch.Tensor, places: torch.Tensor, num_places: int) -> torch.Tensor:
    """Return rows at their places among zeros: no two have the same place, so the sum is repeatable on every device."""
    return rows.new_zeros(num_places, *rows.shape[1:]).index_add(0, places, rows)

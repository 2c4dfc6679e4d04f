"""The ragged store: all clips laid end to end, in memory or mapped from a file that the processes of a host share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch


@dataclass(frozen=True, kw_only=True)
class RaggedStore:
    """Clips of unequal length as one array of frames and their offsets."""

    values: torch.Tensor
    """[total_frames, ...], missing points as NaN."""
    offsets: torch.Tensor
    """int64 [clips + 1]: clip i is frames offsets[i] to offsets[i + 1]."""
    labels: torch.Tensor
    """int64 [clips]."""

    @property
    def lengths(self) -> torch.Tensor:
        """Frames of each clip, int64 [clips]."""
        return self.offsets.diff()

    def __len__(self) -> int:
        return len(self.labels)

    def fetch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return clips laid end to end, [their frames, ...], and their lengths, int64 [clips]: one gather for all."""
        chosen, offsets = indices.numpy(), self.offsets.numpy()
        starts = offsets[chosen]
        lengths = offsets[chosen + 1] - starts
        stops = np.cumsum(lengths)
        rows = np.arange(stops[-1]) + np.repeat(starts - stops + lengths, lengths)
        return self.values.index_select(0, torch.from_numpy(rows)), torch.from_numpy(lengths)

    def save(self, folder: Path) -> None:
        """Write the arrays into `folder`, for `open_shared` in this process and others."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("values", "offsets", "labels"):
            np.save(folder / f"{name}.npy", getattr(self, name).numpy(), allow_pickle=False)

    @classmethod
    def open_shared(cls, folder: Path) -> RaggedStore:
        """Return a saved store, mapped: all processes of the host share its pages, which are copied if written to."""
        arrays = {
            name: torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))
            for name in ("values", "offsets", "labels")
        }
        return cls(**arrays)

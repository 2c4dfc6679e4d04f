"""The ragged store: all clips end to end, in memory or mapped from a file that the processes of a host share."""

from __future__ import annotations

import json
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
        """Return clips padded to the longest of them, [clips, frames, ...], and their lengths, int64 [clips].

        One gather for all of them; the padding repeats each clip's last frame.
        """
        starts = self.offsets[indices]
        lengths = self.offsets[indices + 1] - starts
        frames = torch.arange(int(lengths.max()))
        rows = starts[:, None] + torch.minimum(frames, lengths[:, None] - 1)
        padded = self.values.index_select(0, rows.flatten())
        return padded.view(*rows.shape, *self.values.shape[1:]), lengths

    def save(self, folder: Path) -> None:
        """Write the arrays into `folder`, for `open_shared` in this process and others."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("values", "offsets", "labels"):
            np.save(folder / f"{name}.npy", getattr(self, name).numpy(), allow_pickle=False)
        # Written last: its presence says that the arrays are whole.
        (folder / "store.json").write_text(json.dumps({"clips": len(self)}), encoding="utf-8")

    @classmethod
    def open_shared(cls, folder: Path) -> RaggedStore:
        """Map a saved store; the pages are shared by all processes of the host, and copied only if written to."""
        arrays = {
            name: torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))
            for name in ("values", "offsets", "labels")
        }
        return cls(**arrays)

"""Clips of unknown length, put end to end while they are read, so that they stand in memory once."""

from __future__ import annotations

import numpy as np

_BLOCK_BYTES = 64 << 20
"""Large enough that the system takes a block back as soon as it is free."""


class GrowingClips:
    """Collects clips [frames, ...] of one shape of frame; `finish` returns them and leaves this empty."""

    def __init__(self, *shape: int) -> None:
        self._shape = shape
        self._block_rows = max(1, _BLOCK_BYTES // (4 * int(np.prod(shape))))
        self._blocks: list[np.ndarray] = []
        self._used = self._block_rows
        self._lengths: list[int] = []

    def add(self, clip: np.ndarray) -> None:
        """Add a clip, converted to float32."""
        self._lengths.append(len(clip))
        while len(clip):
            if self._used == self._block_rows:
                self._blocks.append(np.empty((self._block_rows, *self._shape), dtype=np.float32))
                self._used = 0
            part = clip[: self._block_rows - self._used]
            self._blocks[-1][self._used : self._used + len(part)] = part
            self._used += len(part)
            clip = clip[len(part) :]

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 [total_frames, ...] and the offsets, int64 [clips + 1]."""
        offsets = np.zeros(len(self._lengths) + 1, dtype=np.int64)
        np.cumsum(self._lengths, out=offsets[1:])
        values = np.empty((int(offsets[-1]), *self._shape), dtype=np.float32)
        for start in range(0, len(values), self._block_rows):
            block = self._blocks.pop(0)
            values[start : start + self._block_rows] = block[: len(values) - start]
        return values, offsets

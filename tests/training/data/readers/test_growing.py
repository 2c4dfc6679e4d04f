"""Clips that are collected one by one stand end to end, whatever the blocks they are kept in."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.training.data.readers import growing


@pytest.mark.parametrize("block_bytes", [1, 4 * 6 * 4, 1 << 20])
def test_clips_of_any_length_come_back_end_to_end(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    monkeypatch.setattr(growing, "_BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(length, 3, 2)).astype(np.float32) for length in (0, 1, 7, 4, 0, 13)]
    growing_clips = growing.GrowingClips(3, 2)
    for clip in clips:
        growing_clips.add(clip)
    values, offsets = growing_clips.finish()
    np.testing.assert_array_equal(values, np.concatenate(clips))
    assert offsets.tolist() == [0, 0, 1, 8, 12, 12, 25]
    assert growing.GrowingClips(3, 2).finish()[0].shape == (0, 3, 2)

"""A run says before its first step that the disk has no room for what it saves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch import nn

from slipway.training.run.announce import compare_room

_MODEL = nn.Linear(1000, 500, bias=False)
"""2 MB."""


@pytest.mark.parametrize(("total", "free", "is_told"), [(10**9, 10**8, False), (10**9, 3 * 10**6, True), (0, 0, False)])
def test_little_room_is_said_with_what_is_needed_and_free(
    total: int, free: int, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(total, total - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    told = compare_room(tmp_path, _MODEL)
    assert bool(told) == is_told
    if is_told:
        assert "take about 14.0 MB, and 3.0 MB are free" in told[0].reason
    assert compare_room(None, _MODEL) == ()

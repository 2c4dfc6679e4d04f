"""Which reader reads a path, and what is said where none does."""

from __future__ import annotations

from pathlib import Path

from slipway.training.data.specs import Reading
from tests.training.data.golden import assert_refused


def test_a_mistyped_format_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    assert_refused("format.mistyped", tmp_path, Reading(format="frame_folder"))

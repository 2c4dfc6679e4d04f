"""A run with checkpoints, for the tests of storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.training.storage.checkpoint import write_checkpoint
from tests.training.checkpoints import content


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints of steps 10 and 20."""
    folder = tmp_path / "run"
    for step in (10, 20):
        write_checkpoint(folder, content(step), keep=2)
    return folder

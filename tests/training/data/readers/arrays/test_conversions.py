"""Pickled clips come with a command, and what it writes is read as what was meant."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.readers.read import read_raw
from slipway.training.data.specs import Reading

CLIPS = [np.random.default_rng(n).random((frames, 63), dtype=np.float32) for n, frames in enumerate((5, 7, 6, 8))]


@pytest.mark.parametrize("kind", ["a dict of classes", "clips of unequal lengths"])
def test_the_command_in_the_error_makes_data_that_are_read(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "my data"
    source.mkdir()
    if kind == "a dict of classes":
        np.save(source / "d.npy", {"no": CLIPS[:2], "yes": CLIPS[2:]}, allow_pickle=True)  # type: ignore[arg-type]
        source /= "d.npy"
    else:
        objects = np.empty(4, dtype=object)
        objects[:] = CLIPS
        np.save(source / "X.npy", objects, allow_pickle=True)
        np.save(source / "y.npy", np.array(["no", "no", "yes", "yes"]))
    with pytest.raises(UserError) as raised:
        read_raw(str(source), Reading())
    _, program, inspect = str(raised.value).splitlines()
    subprocess.run([sys.executable, *shlex.split(program)[1:]], check=True)
    raw = read_raw(shlex.split(inspect)[-1], Reading())
    assert raw.labels == ["no", "no", "yes", "yes"]
    assert raw.offsets.tolist() == [0, 5, 12, 18, 26]
    assert np.array_equal(raw.values, np.concatenate(CLIPS))

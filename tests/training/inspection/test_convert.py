"""`slipway data convert`: Parquet that trains the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slipway import TrainingConfig, train
from slipway.launcher import cli
from slipway.training.data.prepared.prepare import prepare_data
from slipway.training.data.specs import DataSpec, Reading
from slipway.training.data.understanding.understand import read_landmarks
from tests.launcher.helpers import assert_one_line_error

from .clips import CHANNELS, write_channels, write_hands


@pytest.mark.parametrize(("write", "options"), [(write_hands, []), (write_channels, CHANNELS)])
@pytest.mark.parametrize("out", ["out.parquet", "folder"])
def test_what_is_written_is_read_as_the_same_clips(
    write: Callable[[Path], Path], options: list[str], out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path)
    reading = Reading(landmarks="channels" if options else "auto")
    target = tmp_path / "new" / out
    assert cli.main(["data", "convert", str(source), str(target), *options]) == 0
    shown = capsys.readouterr().out
    assert "train on it: slipway train --data " in shown
    assert ("note: 1 exact copy kept" in shown) == (write is write_hands)
    before, after = read_landmarks(str(source), reading), read_landmarks(str(target))
    assert before.values.tobytes() == after.values.tobytes()
    assert (before.layout, before.class_names) == (after.layout, after.class_names)
    assert list(before.signers) == list(after.signers)
    for name in ("offsets", "labels"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    spec = DataSpec(source=str(source), reading=reading, duplicates="keep")
    one = prepare_data(spec, 5).facts.fingerprint
    assert one == prepare_data(DataSpec(source=str(target), duplicates="keep"), 5).facts.fingerprint


def test_it_trains_to_the_same_weights(tmp_path: Path) -> None:
    source, target = write_hands(tmp_path), tmp_path / "new.parquet"
    assert cli.main(["data", "convert", str(source), str(target)]) == 0
    weights = []
    for name, data in (("one", source), ("other", target)):
        train(
            TrainingConfig(
                data=str(data),
                stages_config="minimal",
                max_steps=2,
                model_width=16,
                model_blocks=1,
                runs_dir=str(tmp_path / "runs"),
                experiment_name=name,
                data_cache=False,
                log_level="error",
                device="cpu",
            )
        )
        files = sorted((tmp_path / "runs" / name / "last").glob("*.safetensors"))
        weights.append([file.read_bytes() for file in files])
    assert weights[0] == weights[1] != []


def test_nothing_that_is_there_is_harmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_hands(tmp_path / "source"))
    target = tmp_path / "out.parquet"
    target.write_bytes(b"old")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    for out, message in (
        (target, "is there already; give --force to replace it"),
        (tmp_path / "full", "holds other files, such as notes.txt"),
        (tmp_path / "full" / "notes.txt", "is a file without the ending .parquet"),
    ):
        assert_one_line_error(["data", "convert", source, str(out)], message, capsys)
    assert_one_line_error(
        ["data", "convert", str(tmp_path / "source"), str(tmp_path / "source" / "new.parquet")],
        "whose data it would change; name a place outside",
        capsys,
    )
    assert target.read_bytes() == b"old"
    assert cli.main(["data", "convert", source, str(target), "--force"]) == 0
    assert len(read_landmarks(str(target))) == 12

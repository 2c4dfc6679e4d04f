"""A script that calls `train()` several times: each call is a training of its own, on any number of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

SCRIPT = """
import os, sys
import torch
from torch import nn
from slipway import TensorTask, TrainingConfig, UserError, train

inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
labels = (inputs[:, 0] > 0).long()


class Failing(TensorTask):
    begun = 0

    def begin_stage(self, model, stage):
        self.begun += 1  # once before the rehearsal, once before the training

    def losses(self, outputs, batch, stage):
        if self.begun == 2 and int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1:
            raise RuntimeError("a bug on the last rank")
        return super().losses(outputs, batch, stage)


def go(name, kind=TensorTask, **options):
    config = TrainingConfig(max_steps=2, stages_config="minimal", runs_dir=sys.argv[1], device="cpu", log_level="error",
                            experiment_name=name, **options)
    train(config, kind(lambda: nn.Linear(6, 2), {"train": (inputs, labels), "validation": (inputs, labels)}))


go("first")
try:
    go("failed", Failing)
    sys.exit("it does not fail")
except RuntimeError:
    pass
try:
    go("refused", monitor="loss", batch_size=64, optimizer="sgd", resume="no-such-run")
    sys.exit("it is not refused")
except UserError:
    pass
go("second", seed=1)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_train_is_called_again_in_one_script_also_after_it_failed(processes: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = [
        sys.executable,
        "-m",
        "slipway",
        "launch",
        "--num-processes",
        str(processes),
        "--log-dir",
        tmp_path / "logs",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*launch, "--max-restarts", "0", script, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    records = {name: json.loads((tmp_path / name / "run.json").read_text()) for name in ("first", "failed", "second")}
    assert {name: (record["world_size"], record["state"]) for name, record in records.items()} == {
        "first": (processes, "finished"), "failed": (processes, "failed"), "second": (processes, "finished"),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", ["second_train_in_a_launch", "returns_and_frozen_parts", "shared_and_wrapped_weights"])
def test_trials_as_people_made_them_end_well(case: str, shared_cases: Path, tmp_path: Path) -> None:
    # They import the packages as they were called before there was one name.
    (tmp_path / "training.py").write_text(
        "from slipway import *\nfrom slipway import AdvancedTrainingConfig, TensorTask, train\n"
    )
    (tmp_path / "launcher").mkdir()
    (tmp_path / "launcher" / "cli.py").write_text(
        f"import sys\nsys.path.append({str(ROOT)!r})\nfrom slipway.launcher.cli import main\n"
    )
    script = shared_cases / f"models_{case}.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path], cwd=tmp_path, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr

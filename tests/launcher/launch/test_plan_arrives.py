"""A launched training names the launch plan as the origin of what the launcher decided."""

from __future__ import annotations

import json

from tests.launcher.launches import Launches, launches

__all__ = ["launches"]

SCRIPT = """
import torch
from slipway import TensorTask, TrainingConfig, train

points = torch.arange(64.0).reshape(32, 2)
parts = {name: (points, torch.arange(32) % 2) for name in ("train", "validation")}
config = TrainingConfig(experiment_name="mine", epochs=1, batch_size=8, stages_config="minimal", log_level="error")
train(config, TensorTask(lambda: torch.nn.Linear(2, 2), parts))
"""


def test_a_launched_script_trains_as_planned_and_its_record_says_so(launches: Launches) -> None:
    launches.script(SCRIPT, "mine.py")
    (launches.folder / "slipway.yaml").write_text("launch: {num_workers: 1}\n", encoding="utf-8")
    done = launches.run("--mixed-precision", "bf16", "--gradient-accumulation", "2", "mine.py")
    assert done.returncode == 0, done.stderr
    record = json.loads((launches.folder / "runs" / "mine" / "run.json").read_text())
    origins, plan = record["origins"], record["plan"]
    assert record["recipe"]["resolution"]["mixed_precision"] == "bf16"
    assert (plan["gradient_accumulation"], plan["micro_batch_size"], plan["num_workers"]) == (2, 4, 1)
    assert origins["mixed_precision"] == origins["gradient_accumulation"] == "launch plan: fixed by you"
    assert origins["num_workers"] == "launch plan: fixed by slipway.yaml"
    assert origins["sharding"].startswith("launch plan: the model is taken to fit")
    assert origins["batch_size"] == "user"

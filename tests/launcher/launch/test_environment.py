"""What the processes of a launch find in their environment."""

from __future__ import annotations

from slipway.launcher.launch.environment import environment_of
from slipway.launcher.plan.make_plan import make_plan
from slipway.launcher.plan.records import Intent
from tests.launcher.machines import machines

MACHINES = machines()


def test_the_plan_file_alone_says_what_was_decided() -> None:
    intent = Intent(gradient_accumulation=4, num_workers=0, share_weights=(2.0, 1.0), mixed_precision="fp16")
    inherited = {"SLIPWAY_NUM_WORKERS": "7", "SLIPWAY_PLAN": "of-another-launch.json", "SLIPWAY_RESTART": "2"}
    found = environment_of(make_plan(MACHINES["2xrtx4090"], intent), inherited, "plan.json", "folder")
    ours = {name: value for name, value in found.items() if name.startswith("SLIPWAY_")}
    assert ours == {"SLIPWAY_NUM_WORKERS": "7", "SLIPWAY_PLAN": "plan.json", "SLIPWAY_LAUNCH_FOLDER": "folder"}

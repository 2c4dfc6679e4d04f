"""What the processes of a launch find in their environment."""

from __future__ import annotations

from slipway.launcher.launch.environment import environment_of
from slipway.launcher.plan.make_plan import make_plan
from slipway.launcher.plan.records import Intent
from tests.launcher.machines import machines

MACHINES = machines()


def environment(intent: Intent, **inherited: str) -> dict[str, str]:
    return environment_of(make_plan(MACHINES["2xrtx4090"], intent), inherited, "plan.json", "folder")


def test_what_was_fixed_for_the_launch_is_fixed_for_the_training_too() -> None:
    found = environment(Intent(gradient_accumulation=4, num_workers=0), SLIPWAY_NUM_WORKERS="7")
    assert found["SLIPWAY_GRADIENT_ACCUMULATION"] == "4"
    assert found["SLIPWAY_NUM_WORKERS"] == "0"
    assert "SLIPWAY_MICRO_BATCH_SIZE" not in found
    assert "SLIPWAY_MIXED_PRECISION" not in found


def test_shares_of_another_launch_do_not_stay() -> None:
    assert "SLIPWAY_SHARE_WEIGHTS" not in environment(Intent(), SLIPWAY_SHARE_WEIGHTS="3,1")
    assert environment(Intent(share_weights=(2.0, 1.0)))["SLIPWAY_SHARE_WEIGHTS"] == "2,1"

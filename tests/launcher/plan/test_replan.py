"""What a restart or a resumed run is planned on: the devices that are left, everything else as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slipway.launcher.hardware.record import Hardware
from slipway.launcher.plan.make_plan import Intent, make_plan
from slipway.launcher.plan.records import MergedIntent
from slipway.launcher.plan.replan import EarlierRun, as_before, replan
from slipway.training.common.errors import UserError
from slipway.training.common.settings import Setting
from tests.launcher.machines import machine, machines

EIGHT = machines()["8xh100"]
LOST = "cuda 3 (NVIDIA H100 80GB HBM3)"


def without(hardware: Hardware, *gone: int) -> Hardware:
    """Return a machine whose devices with these numbers fell off the bus; those behind move up, as the driver has it."""
    left = [one for one in hardware.accelerators if one.index not in gone]
    new_index = {one.index: number for number, one in enumerate(left)}
    visible = [one for one in hardware.environment.visible if one.index not in gone]
    return replace(
        hardware,
        accelerators=tuple(replace(one, index=new_index[one.index]) for one in left),
        links=(),
        environment=replace(
            hardware.environment, visible=tuple(replace(one, index=new_index[one.index]) for one in visible)
        ),
    )


@pytest.mark.parametrize("asked", [None, 8])
def test_with_one_of_eight_gpus_lost_seven_go_on_and_it_says_which_is_gone(asked: int | None) -> None:
    intent = Intent(num_processes=asked)
    plan, notes = replan(make_plan(EIGHT, intent), without(EIGHT, 3), intent)
    assert (plan.num_processes, len(plan.devices), plan.device) == (7, 7, "cuda")
    assert plan == make_plan(without(EIGHT, 3), Intent(device="cuda", num_processes=asked and 7))
    assert notes == (f"7 cuda devices, without {LOST}: 7 processes instead of 8",)


def test_what_still_fits_stays_without_a_word() -> None:
    intent = Intent(num_processes=4)
    plan, notes = replan(make_plan(EIGHT, intent), without(EIGHT, 3), intent)
    assert (plan.num_processes, notes) == (4, ())
    assert replan(plan, EIGHT, intent)[0] == make_plan(EIGHT, replace(intent, device="cuda"))


def test_a_device_that_came_back_is_used_again() -> None:
    seven, _ = replan(make_plan(EIGHT), without(EIGHT, 3), Intent())
    plan, notes = replan(seven, EIGHT, Intent())
    assert (plan.num_processes, notes) == (8, ("8 cuda devices: 8 processes instead of 7",))


def test_of_gpus_that_were_named_the_ones_that_are_left_go_on_whatever_their_numbers_are_now() -> None:
    intent = Intent(gpu_ids=(0, 3, 5))
    first = make_plan(EIGHT, intent)
    plan, notes = replan(first, without(EIGHT, 3), intent)
    assert [one.uuid for one in plan.devices] == [first.devices[0].uuid, first.devices[2].uuid]
    assert [one.index for one in plan.devices] == [0, 4]
    assert notes == (f"2 cuda devices, without {LOST}: 2 processes instead of 3",)


def test_without_any_device_of_the_kind_the_cpu_does_not_take_over() -> None:
    with pytest.raises(UserError, match="--device cuda: this machine has no accelerator"):
        replan(make_plan(EIGHT), without(EIGHT, *range(8)), Intent())


def test_the_shares_that_were_given_stay_with_their_devices() -> None:
    weights = (8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
    intent = Intent(share_weights=weights)
    plan, _ = replan(make_plan(EIGHT, intent), without(EIGHT, 3), intent)
    assert plan.share_weights == (8.0, 7.0, 6.0, 4.0, 3.0, 2.0, 1.0)
    only = Intent(share_weights=(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0))
    assert replan(make_plan(EIGHT, only), without(EIGHT, 3), only)[0].share_weights == (1.0,) * 7


def test_the_precision_of_the_first_start_stays_when_the_device_that_asked_for_it_is_gone() -> None:
    pair = machines()["rtx3090_rtx2080ti"]
    old = make_plan(pair)
    assert (old.mixed_precision, make_plan(without(pair, 1)).mixed_precision) == ("fp16", "bf16")
    plan, _ = replan(old, without(pair, 1), Intent())
    assert plan.mixed_precision == "fp16"
    assert next(one.reason for one in plan.choices if one.field == "mixed_precision") == "as before the restart"


def test_one_of_several_machines_does_not_shrink_alone() -> None:
    intent = Intent(num_machines=2, main_process_ip="10.0.0.1")
    old = make_plan(EIGHT, intent)
    with pytest.raises(UserError, match="7 processes where the 2 machines count on 8"):
        replan(old, without(EIGHT, 3), intent)
    assert replan(old, EIGHT, intent) == (make_plan(EIGHT, replace(intent, device="cuda")), ())


def before(hardware: Hardware, kind: str, world_size: int, **flags: object) -> tuple[MergedIntent, tuple[str, ...]]:
    settings = {name: Setting(value=value, origin="flag") for name, value in flags.items()}
    intent = MergedIntent(settings=settings, **flags)  # type: ignore[arg-type]
    return as_before(intent, hardware, EarlierRun(folder=Path("runs/a"), device=kind, world_size=world_size))


def test_a_resumed_run_has_as_many_processes_as_before() -> None:
    intent, notes = before(EIGHT, "cuda", 8)
    assert (intent, notes) == (Intent(num_processes=8), ())
    assert make_plan(EIGHT, intent).choices[1].reason == "fixed by runs/a/run.json"
    intent, notes = before(EIGHT, "cuda", 4)
    assert (intent.num_processes, notes) == (4, ("8 cuda devices, 4 used as before; --num-processes 8 uses all",))
    assert before(machine(), "cpu", 3) == (Intent(device="cpu", num_processes=3), ())


def test_a_run_that_trained_on_the_cpu_stays_there() -> None:
    assert before(EIGHT, "cpu", 2)[0] == Intent(device="cpu", num_processes=2)


def test_on_fewer_or_other_devices_a_resumed_run_takes_what_is_there() -> None:
    intent, notes = before(without(EIGHT, 3), "cuda", 8)
    assert (intent.num_processes, notes) == (7, ("7 cuda devices: 7 processes instead of 8",))
    assert before(machine(), "cuda", 8) == (Intent(), ())
    assert before(machines()["8xmi300x"], "cuda", 8)[0] == Intent(num_processes=8)


def test_flags_win_over_how_a_run_was_started() -> None:
    assert before(EIGHT, "cuda", 8, num_processes=2) == (Intent(num_processes=2), ())
    assert before(EIGHT, "cpu", 2, device="cuda") == (Intent(device="cuda"), ())
    assert before(EIGHT, "cuda", 8, device="cpu") == (Intent(device="cpu"), ())

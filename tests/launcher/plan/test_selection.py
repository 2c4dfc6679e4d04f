"""Which of unequal devices train: by the time of a step, by estimate, and by what a person wants."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway.launcher.hardware.described import described
from slipway.launcher.hardware.record import Hardware, Mask
from slipway.launcher.plan.make_plan import Intent, LaunchPlan, make_plan
from slipway.training.common.plan_file import Choice
from tests.launcher.machines import GIB, build, cuda, device, machine

HOST = "32 cores, 256 GB"


def of(plan: LaunchPlan, field: str) -> Choice:
    return next(choice for choice in plan.choices if choice.field == field)


def indices(words: str, intent: Intent | None = None) -> list[int]:
    return [one.index for one in make_plan(described(f"{words}, {HOST}"), intent).devices]


@pytest.mark.parametrize(
    ("words", "used"),
    [
        ("2 x RTX 5090, RTX 3060", [0, 1]),
        ("RTX 3060, 2 x RTX 5090", [1, 2]),
        ("RTX 4090, GTX 1650", [0]),
        ("RTX 3090, GTX 1080 Ti", [0]),  # fp16 gains nothing on the one, so both would compute in full precision
        ("A100 40GB, A100 80GB", [0, 1]),
        ("V100, T4", [0, 1]),
        ("2 x V100, T4", [0, 1, 2]),
        ("RTX 3090, RTX 2080 Ti", [0, 1]),
        ("RTX 4090, RTX 3060, GTX 1060", [0, 1]),
        ("4 x L40S", [0, 1, 2, 3]),
    ],
)
def test_a_device_trains_where_a_step_is_clearly_shorter_with_it(words: str, used: list[int]) -> None:
    assert indices(words) == used


def test_what_is_left_out_is_told_with_times_and_the_option_that_takes_it() -> None:
    hardware = described(f"RTX 3060, 2 x RTX 5090, {HOST}")
    plan = make_plan(hardware)
    (line,) = plan.warnings
    assert line == (
        "cuda 0 (RTX 3060) is left out: it would hold up the others. By estimate a step takes 0.50 of the time of one "
        "RTX 5090 without it, 2.20 with it and equal shares, 0.46 with shares by speed; --num-processes 3 takes it"
    )
    assert plan.environment["CUDA_VISIBLE_DEVICES"] == "1,2"
    assert plan.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    taken = make_plan(hardware, Intent(num_processes=3))
    assert [one.index for one in taken.devices] == [0, 1, 2]
    assert taken.share_weights == (0.15, 1.0, 1.0)
    assert "CUDA_VISIBLE_DEVICES" not in taken.environment


def test_fewer_processes_than_devices_take_the_fastest() -> None:
    assert indices("T4, V100, T4, V100", Intent(num_processes=2)) == [1, 3]
    assert indices("T4, V100", Intent(num_processes=1)) == [1]
    one = make_plan(described(f"V100, T4, {HOST}"), Intent(num_processes=1))
    assert one.environment["CUDA_VISIBLE_DEVICES"] == "0"  # the driver's own order could be another one


def test_weights_for_all_devices_take_all_of_them() -> None:
    weights = (1.0, 1.0, 0.1)
    plan = make_plan(described(f"2 x RTX 5090, RTX 3060, {HOST}"), Intent(share_weights=weights))
    assert (plan.num_processes, plan.share_weights) == (3, weights)


def test_a_batch_that_cuts_shares_coarsely_counts_whole_samples() -> None:
    assert indices("V100, T4", Intent(global_batch_size=1)) == [0]
    assert indices("V100, T4", Intent(global_batch_size=64)) == [0, 1]


def test_what_is_asked_of_the_devices_decides_too() -> None:
    assert indices("RTX 4090, RTX 3090", Intent(mixed_precision="fp8")) == [0]
    left = make_plan(described(f"RTX 4090, RTX 3090, {HOST}"), Intent(mixed_precision="fp8")).warnings
    assert any("it cannot do what is asked" in line for line in left)
    assert indices("RTX 3090, GTX 1080 Ti", Intent(mixed_precision="no")) == [0, 1]
    assert indices("2 x A100, GTX 1080 Ti", Intent(compile=True)) == [0, 1]
    assert indices("RTX 5090, RTX 3060", Intent(sharding="fsdp")) == [0, 1], "one process has nothing to share"


def test_a_device_that_makes_the_model_too_big_is_left_out_and_one_that_makes_it_fit_is_taken() -> None:
    # 47.7 GiB of state: a half fits 0.8 of an RTX 5090, a third does not fit 0.8 of 8 GiB.
    state = Intent(parameters=3_200_000_000)
    plan = make_plan(described(f"2 x RTX 5090, RTX 3060 8 GB, {HOST}"), state)
    assert ([one.index for one in plan.devices], plan.sharding) == ([0, 1], "fsdp")
    assert any("the training state does not fit with it (8.0 GiB)" in line for line in plan.warnings)
    # 17.7 GiB do not fit 0.8 of 20 GiB; a half fits 0.8 of 12 GiB.
    assert indices("RTX 5090 20 GB, RTX 3060 12 GB", Intent(parameters=1_190_000_000)) == [0, 1]


def test_a_script_that_shares_equally_is_told_of_the_faster_plan() -> None:
    (line,) = make_plan(described(f"2 x V100, T4, {HOST}")).warnings
    assert "as many samples takes 0.79 of the time of one V100, and 0.50 with --num-processes 2" in line
    assert make_plan(described(f"A100 40GB, A100 80GB, {HOST}")).warnings == ()


def test_devices_of_unknown_speed_are_all_taken_with_equal_shares_and_a_word() -> None:
    gpus = (cuda(0, "NVIDIA Alpha", 24, (8, 9)), cuda(1, "NVIDIA Beta", 12, (8, 9)))
    plan = make_plan(machine(gpus, torch=build("cuda", "12.6", "+cu126")))
    assert plan.share_weights == (1.0, 1.0)
    assert plan.warnings == (
        "how fast NVIDIA Alpha and NVIDIA Beta are is not known: shares are equal; measure, then --share-weights",
    )


def radeons(**facts: object) -> Hardware:
    card = device("rocm", 1, "AMD Radeon RX 7900 XTX", 24, architecture="gfx1100")
    graphics = device("rocm", 0, "AMD gfx1036", 0.5, architecture="gfx1036", cores=128, clock_megahertz=2200)
    return machine((graphics, card), torch=build("rocm", "6.4.4", "+rocm6.4"), **facts)


def test_the_graphics_of_a_processor_are_hidden_beside_a_card() -> None:
    plan = make_plan(radeons())
    assert [one.name for one in plan.devices] == ["AMD Radeon RX 7900 XTX"]
    assert plan.environment["HIP_VISIBLE_DEVICES"] == "1"


def test_devices_that_a_mask_counts_are_not_counted_again() -> None:
    hardware = radeons()
    mask = Mask(variable="ROCR_VISIBLE_DEVICES", value="0,1", applied=True, note=None)
    hardware = replace(hardware, environment=replace(hardware.environment, masks=(mask,)))
    plan = make_plan(hardware)
    assert len(plan.devices) == 2
    assert "HIP_VISIBLE_DEVICES" not in plan.environment


def test_a_filled_device_of_any_kind_is_left_out_or_named() -> None:
    cards = [device("xpu", i, "Intel Data Center GPU Max 1100", 48, memory_free_bytes=48 * GIB) for i in range(2)]
    filled = replace(cards[0], memory_free_bytes=4 * GIB)
    plan = make_plan(machine((filled, cards[1]), torch=build("xpu", "2025", "+xpu")))
    assert plan.environment["ZE_AFFINITY_MASK"] == "1"
    assert any(
        "xpu 0 (Intel Data Center GPU Max 1100) is left out: 4.0 GiB of 48.0 GiB" in one for one in plan.warnings
    )

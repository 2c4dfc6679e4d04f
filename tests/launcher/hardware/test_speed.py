"""How long devices take beside each other, from the table and from what a driver says of others."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.launcher.hardware.speed import relative_times
from tests.launcher.machines import cuda, device


def test_compute_and_bandwidth_count_alike() -> None:
    fast, slow = cuda(0, "NVIDIA GeForce RTX 5090", 32, (12, 0)), cuda(1, "NVIDIA GeForce RTX 3060", 12, (8, 6))
    times = relative_times([fast, slow], ["bf16", "bf16"])
    assert times == pytest.approx((1.0, (209.5 / 25.5 + 1792 / 360) / 2))


def test_full_precision_moves_twice_the_bytes() -> None:
    gpu = cuda(0, "NVIDIA GeForce RTX 3090", 24, (8, 6))
    half, full = relative_times([gpu, gpu], ["bf16", "no"]) or ()
    assert (half, full) == pytest.approx((1.0, (71 / 35.6 + 2) / 2))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"cores": 3840, "clock_megahertz": 1400, "memory_gigabytes_per_second": 300.0}, True),
        ({"memory_gigabytes_per_second": 300.0}, True),
        ({"cores": 3840, "clock_megahertz": 1400}, True),
        ({"cores": 3840}, False),
        ({}, False),
    ],
)
def test_a_device_that_the_table_does_not_have_is_judged_by_its_driver_or_not_at_all(
    facts: dict[str, Any], expected: bool
) -> None:
    laptop = cuda(1, "NVIDIA GeForce RTX 3060 Laptop GPU", 6, (8, 6), **facts)
    times = relative_times([cuda(0, "NVIDIA GeForce RTX 3090", 24, (8, 6)), laptop], ["bf16", "bf16"])
    assert (times is not None) is expected
    assert times is None or times[1] > 2


def test_a_graphics_unit_of_a_processor_is_far_slower_than_a_card() -> None:
    card = device("rocm", 0, "AMD Radeon RX 7900 XTX", 24, architecture="gfx1100")
    graphics = device("rocm", 1, "AMD gfx1036", 0.5, architecture="gfx1036", cores=128, clock_megahertz=2200)
    _, slow = relative_times([card, graphics], ["bf16", "bf16"]) or (0, 0)
    assert slow > 50

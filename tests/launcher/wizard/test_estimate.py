"""Memory and time of a step: told where they follow from what is known, else it is said why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway.launcher.wizard.estimate import memory_words, state_bytes, step_seconds
from slipway.launcher.wizard.model import ModelNeeds
from slipway.launcher.wizard.state import Machine, WizardState, make_state
from tests.launcher.machines import machines

MACHINES = machines()
NEEDS = ModelNeeds(
    parameters=10**9,
    base_batch_size=8,
    is_batch_scaled=True,
    flops_per_sample=6e12,
    bytes_per_sample=1e10,
    bytes_per_pass=1e10,
    launches_per_pass=3000,
    cpu_seconds=2.0,
    cpu_least_seconds=0.5,
    cpu_samples=8,
    cpu_threads=2,
)


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def planned(name: str, is_here: bool = True, **options: Any) -> WizardState:
    machine = Machine(hardware=MACHINES[name], options=() if is_here else ("--hardware", "x"))
    return replace(make_state(machine, options), needs=NEEDS)


def seconds(state: WizardState) -> tuple[float, float]:
    found = step_seconds(state)
    assert not isinstance(found, str), found
    return found


def test_the_range_holds_what_a_training_at_a_third_of_the_peak_takes() -> None:
    low, high = seconds(planned("8xh100"))
    at_a_third = 8 * 6e12 / (989e12 / 3)
    assert low < at_a_third < high
    assert high < 20 * low


def test_more_samples_take_longer_and_fewer_bits_do_not() -> None:
    small, large = (seconds(planned("8xh100", global_batch_size=one)) for one in (64, 640))
    full = seconds(planned("8xh100", global_batch_size=64, mixed_precision="no"))
    cut = seconds(planned("8xh100", global_batch_size=64, micro_batch_size=1))
    assert small[0] < large[0]
    assert small[1] < large[1]
    assert small[0] < full[0]
    assert small[1] < full[1]
    assert small[1] < cut[1]


def test_the_slowest_device_decides() -> None:
    both = seconds(planned("rtx3090_rtx2080ti", num_processes=2, share_weights=(1.0, 1.0), global_batch_size=16))
    alone = seconds(planned("rtx3090_rtx2080ti", num_processes=1, global_batch_size=8, mixed_precision="fp16"))
    assert both[1] > alone[1]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (lambda: planned("8xascend910"), "no peak of "),
        (lambda: planned("8xh100", mixed_precision="fp8"), "in fp8 is known here"),
        (lambda: replace(planned("8xh100"), script="mine.py"), "the batch is the script's own"),
        (lambda: replace(planned("8xh100"), needs=ModelNeeds()), "nothing says what a sample"),
        (lambda: replace(planned("8xh100"), needs=ModelNeeds(problem="it failed")), "it failed"),
        (lambda: planned("8xh100", is_here=False, device="cpu"), "the speed of another machine's processor"),
        (lambda: planned("8xh100", device="cpu", mixed_precision="bf16"), "in float32, not in bf16"),
        (lambda: planned("8xh100", device="cpu", compile=True), "measured uncompiled"),
        (
            lambda: replace(planned("8xh100", device="cpu"), needs=replace(NEEDS, cpu_share_of_others=0.5)),
            "other programs had 50% of the processors",
        ),
    ],
)
def test_what_is_not_known_is_not_estimated_and_it_is_said_why(state: Any, why: str) -> None:
    assert why in str(step_seconds(state()))


def test_a_pass_on_this_cpu_is_scaled_by_samples_and_threads() -> None:
    low, high = seconds(planned("8xh100", device="cpu", threads_per_process=2))
    assert low < 2.0 < high
    assert seconds(planned("8xh100", device="cpu", threads_per_process=4))[0] == pytest.approx(low / 2)
    least, _ = seconds(planned("8xh100", device="cpu", threads_per_process=2, global_batch_size=1))
    assert least == pytest.approx(low * 0.5 / 2.0)


@pytest.mark.parametrize(
    ("sharding", "share"), [("replicate", 1.0), ("fsdp", 1 / 8), ("zero3", 1 / 8), ("zero2", 4 / 16 + 12 / 16 / 8)]
)
def test_the_training_state_is_spread_as_the_sharding_says(sharding: Any, share: float) -> None:
    state = planned("8xh100", sharding=sharding, parameters=10**9)
    assert state_bytes(state.plan, 10**9) == pytest.approx(16e9 * share)


def test_memory_is_told_against_what_is_free_and_without_a_size_as_the_largest_that_fits() -> None:
    assert memory_words(planned("8xh100", parameters=10**9)) == "14.9 of 79.1 GiB each"
    assert memory_words(planned("t4", parameters=3 * 10**9)).endswith("GiB, too little")
    assert memory_words(planned("8xh100")) == "up to 4.2B parameters fit"

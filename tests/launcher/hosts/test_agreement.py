"""One plan for several hosts: alike where they must be, each with its reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway.launcher.hosts.agreement import Place, launch_arguments, plans_of
from slipway.launcher.hosts.host_list import NamedHost
from slipway.launcher.hosts.look import data_words
from slipway.launcher.launch.command import build_parser
from slipway.launcher.plan.options import intent_of
from slipway.launcher.plan.records import Intent
from slipway.training.common.errors import UserError
from slipway.training.common.parser import parse
from tests.launcher.machines import machines

MACHINES = machines()
PLACE = Place(address="10.0.0.1", port=29600, reason="all hosts have connected to it")
TWO = [NamedHost(target="alpha"), NamedHost(target="ada@beta")]


def test_each_host_has_a_process_for_each_of_its_devices() -> None:
    plans = plans_of(TWO, [MACHINES["8xh100"], MACHINES["2xrtx4090"]], Intent(), PLACE)
    assert [plan.local_processes for plan in plans] == [8, 2]
    assert [plan.machine_rank for plan in plans] == [0, 1]
    assert {plan.num_processes for plan in plans} == {10}
    assert {(plan.main_process_ip, plan.main_process_port) for plan in plans} == {("10.0.0.1", 29600)}
    why = plans[1].choice("num_processes")
    assert why is not None
    assert why.fact == "alpha 8, beta 2"


def test_all_hosts_compute_in_the_precision_of_the_one_that_can_do_least() -> None:
    plans = plans_of(TWO, [MACHINES["8xh100"], MACHINES["v100"]], Intent(), PLACE)
    assert [plan.mixed_precision for plan in plans] == ["fp16", "fp16"]
    why = plans[0].choice("mixed_precision")
    assert why is not None
    assert (why.fixed, why.fact) == (False, "beta: fp16")


@pytest.mark.parametrize(
    ("intent", "hosts", "counts"),
    [
        (Intent(processes_per_host=(2, 1)), TWO, [2, 1]),
        (Intent(processes_per_host=(3,)), TWO, [3, 3]),
        (Intent(num_processes=4), TWO, [2, 2]),
        (Intent(), [replace(TWO[0], processes=3), TWO[1]], [3, 1]),
    ],
)
def test_processes_are_as_many_as_was_said(intent: Intent, hosts: list[NamedHost], counts: list[int]) -> None:
    plans = plans_of(hosts, [MACHINES["container_2_of_64_cores"]] * 2, replace(intent, device="cpu"), PLACE)
    assert [plan.local_processes for plan in plans] == counts


@pytest.mark.parametrize(
    ("names", "intent", "sentence"),
    [
        (("8xh100", "8xmi300x"), Intent(), "different kinds of devices (alpha cuda, beta rocm)"),
        (("8xh100", "2xrtx4090"), Intent(processes_per_host=(4, 4)), "beta: "),
        (("8xh100", "8xh100"), Intent(num_processes=3), "not divisible by 2 hosts"),
        (("8xh100", "8xh100"), Intent(processes_per_host=(1, 1, 1)), "3 numbers for 2 hosts"),
    ],
)
def test_what_cannot_be_names_the_host(names: tuple[str, str], intent: Intent, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        plans_of(TWO, [MACHINES[name] for name in names], intent, PLACE)
    assert sentence in str(refused.value)


def test_the_words_that_start_a_host_make_the_same_plan_there() -> None:
    both = [MACHINES["8xh100"], MACHINES["2xrtx4090"]]
    intent = Intent(num_workers=3, compile=False, micro_batch_size=4)
    for plan, hardware in zip(plans_of(TWO, both, intent, PLACE), both, strict=True):
        options = parse(build_parser(), [*launch_arguments(plan, intent), "x.py"])
        from slipway.launcher.plan.make_plan import make_plan

        there = make_plan(hardware, intent_of(options))
        assert replace(there, choices=(), warnings=()) == replace(plan, choices=(), warnings=())


def test_words_of_a_command_that_may_be_data_are_told_from_its_outputs() -> None:
    command = ["x.py", "first", "--data", "a", "--train-file=b", "--runs-dir", "c", "--output=d", "--lr", "1"]
    assert data_words(command) == {"first": "", "a": "--data", "b": "--train-file", "1": "--lr"}
    assert data_words(["-m", "module", "--data", "a"]) == {"a": "--data"}

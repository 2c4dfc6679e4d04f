"""What the doctor decides about an all-reduce and a world, from what they reported."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.launcher.doctor import world as world_checks
from slipway.launcher.doctor.processes import MembersOutcome
from tests.launcher.doctor_contexts import GIB, make_context, with_memory


def member(rank: int, world_size: int = 2, **changes: Any) -> dict[str, Any]:
    usual = {
        "rank": rank,
        "local_rank": rank,
        "world_size": world_size,
        "counted": world_size,
        "device_kind": "cuda",
        "device": f"cuda:{rank}",
        "device_uuid": None,
        "mixed_precision": "bf16",
        "error": None,
    }
    return {**usual, **changes}


def outcome(*reports: dict[str, Any], problem: str | None = None, timed_out: bool = False) -> MembersOutcome:
    return MembersOutcome(reports=reports, problem=problem, timed_out=timed_out, seconds=1.0)


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ((member(0), member(1)), None),
        ((member(0), member(0)), "their ranks were 0 0"),
        ((member(0, 1), member(0, 1)), "each was in a world of 1"),
        ((member(0),), "1 reported"),
        ((member(0), member(1, device_kind="cpu")), "they ran on cpu and cuda"),
        ((member(0), member(1, device="cuda:0")), "some shared a device: cuda:0 cuda:0"),
        ((member(0), member(1, counted=1)), "an all-reduce counted 2 1"),
        ((member(0, mixed_precision="no"), member(1)), "precision was bf16 and no, planned bf16"),
    ],
)
def test_a_world_other_than_the_planned_one_fails(reports: tuple[dict[str, Any], ...], said: str | None) -> None:
    check = world_checks.judge_world(make_context("2xrtx4090"), outcome(*reports))
    assert check.state == ("fail" if said else "pass")
    assert (said or "2 processes formed one world on cuda:0 cuda:1") in check.evidence


def test_a_rank_on_another_gpu_than_planned_is_said() -> None:
    plan = make_context("2xrtx4090").plan
    uuids = [device.uuid for device in plan.devices]
    right = [member(rank, device_uuid=uuid) for rank, uuid in enumerate(uuids)]
    assert world_checks.judge_world(make_context("2xrtx4090"), outcome(*right)).state == "pass"
    swapped = [member(rank, device_uuid=uuid) for rank, uuid in enumerate(reversed(uuids))]
    check = world_checks.judge_world(make_context("2xrtx4090"), outcome(*swapped))
    assert (check.state, check.remedy) == ("warn", "export CUDA_DEVICE_ORDER=PCI_BUS_ID")
    assert f"rank 0 has {uuids[1]}, planned {uuids[0]}" in check.evidence


def test_this_machines_part_of_a_plan_can_be_started_alone() -> None:
    plan = make_context("slurm_step_4_nodes").plan
    local = world_checks.local_plan(plan)
    assert (plan.num_processes, local.num_processes, local.num_machines, local.machine_rank) == (16, 4, 1, 0)
    assert local.main_process_ip is None
    assert local.environment == plan.environment


def reduced(seconds: float = 0.016, right: bool = True) -> dict[str, Any]:
    return {"right": right, "seconds": seconds, "bytes": 16 << 20, "backend": "nccl", "error": None}


def test_an_all_reduce_is_judged_by_its_sum_and_the_slower_rank() -> None:
    now = make_context("2xrtx4090")
    good = world_checks.judge_all_reduce(now, "cuda", outcome(reduced(0.016), reduced(0.032)))
    assert (good.state, good.measured["megabytes_per_second"]) == ("pass", 524.3)
    wrong = world_checks.judge_all_reduce(now, "cuda", outcome(reduced(), reduced(right=False)))
    assert (wrong.state, "wrong sum" in wrong.evidence) == ("fail", True)
    alone = world_checks.judge_all_reduce(now, "cuda", outcome(reduced()))
    assert alone.state == "fail"


@pytest.mark.parametrize(
    ("machine", "environ", "problem", "remedy"),
    [
        ("8xh100", {}, "no end within 60 s", "export NCCL_P2P_DISABLE=1"),
        ("8xh100", {"NCCL_SOCKET_IFNAME": "nope", "NCCL_DEBUG": "INFO"}, "exit code 1", "unset NCCL_DEBUG"),
        ("8xh100", {}, "ImportError: DeepSpeed is not available => install it", "pip install deepspeed"),
        ("8xh100", {}, "OutOfMemoryError: CUDA out of memory.", "end what holds the device's memory"),
        ("2xrtx4090", {}, "no end within 60 s", "--timeout-seconds 30"),
        ("2xrtx4090", {}, "killed by SIGKILL", "raise the memory limit"),
    ],
)
def test_a_start_that_fails_names_what_may_fix_it(
    machine: str, environ: dict[str, str], problem: str, remedy: str
) -> None:
    now = make_context(machine, environ)
    check = world_checks.judge_all_reduce(now, "cuda", outcome(problem=problem, timed_out="no end" in problem))
    assert check.state == "fail"
    assert problem in check.evidence
    assert (check.remedy or "").startswith(remedy)


@pytest.mark.parametrize(
    ("machine", "kind"),
    [
        ("8xh100", "cuda"),
        ("8xmi300x", "cuda"),
        ("4xmax1550", "xpu"),
        ("8xascend910", "npu"),
        ("t4", "cpu"),
        ("2xa100_mig", "cpu"),
        ("m2", "cpu"),
    ],
)
def test_the_all_reduce_is_on_accelerators_where_two_are_planned(machine: str, kind: str) -> None:
    assert world_checks.all_reduce_device(make_context(machine).plan) == kind


def test_processes_that_the_memory_cannot_hold_are_not_started() -> None:
    now = make_context(with_memory("2xrtx4090", available_bytes=GIB // 4))
    for check in (world_checks.check_world(now), world_checks.check_collective(now)):
        assert (check.state, "memory" in check.evidence) == ("skip", True)

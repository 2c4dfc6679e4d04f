"""Checks that start processes: an all-reduce of two of them, and the processes of the plan as one world."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...training.common.plan_file import LaunchPlan
from ..common.ports import free_port
from ..hardware.show import size
from ..launch.environment import starts_directly
from ..plan.accelerate.config import launch_command, to_yaml
from .check import Check, DoctorContext, failed, passed, skipped, warned
from .environment import notes_on_variables
from .host import available_bytes, check_memory
from .processes import MembersOutcome, member_environment, run_members

_MARGIN_SECONDS = 15.0  # a process's own limit is later than the check's, which can show what was printed
_ALL_REDUCE_BYTES = 420 << 20  # of each process: 411 MiB at its peak, measured with a CPU build
_PYTHON = os.path.basename(sys.executable)


def torch_device(plan: LaunchPlan) -> str:
    """Return torch's name of the plan's kind of device: `cuda` for ROCm."""
    return "cuda" if plan.device == "rocm" else plan.device


def all_reduce_device(plan: LaunchPlan) -> str:
    """Return the kind of device that the all-reduce runs on: the plan's where it has two devices, else `cpu`."""
    return torch_device(plan) if len(plan.devices) > 1 and plan.device != "mps" else "cpu"


def check_collective(context: DoctorContext) -> Check:
    """Fail where an all-reduce of 16 MiB between two processes, by torch alone, crashes, hangs or has a wrong sum."""
    kind, limit = all_reduce_device(context.plan), context.timeout_seconds
    available = available_bytes(context.hardware)
    if available < 2 * _ALL_REDUCE_BYTES:
        return skipped("collective", f"not started: {size(available)} of memory do not hold two processes")
    with tempfile.TemporaryDirectory(prefix="slipway-doctor-") as folder:
        member = [
            sys.executable,
            "-m",
            "slipway.launcher.doctor.members.all_reduce",
            folder,
            f"{limit + _MARGIN_SECONDS:g}",
        ]
        commands = [[*member, str(rank), "2", kind] for rank in range(2)]
        environ = member_environment(context.plan, context.environ, folder)
        outcome = run_members(commands, environ, Path(folder), limit)
    return judge_all_reduce(context, kind, outcome)


def judge_all_reduce(context: DoctorContext, kind: str, outcome: MembersOutcome) -> Check:
    """Return the result of an all-reduce: whether the sum is right on both ranks, and the bandwidth."""
    what = f"all-reduce of 2 processes on {kind}"
    if outcome.problem:
        return failed("collective", f"{what}: {outcome.problem}", _remedy(context, kind, outcome))
    if len(outcome.reports) != 2 or not all(report["right"] for report in outcome.reports):
        remedy = _remedy(context, kind, outcome)
        return failed("collective", f"{what}: wrong sum", remedy, processes=len(outcome.reports))
    slowest = max(outcome.reports, key=lambda report: report["seconds"])
    speed = slowest["bytes"] / slowest["seconds"] / 1e6
    return passed(
        "collective",
        f"{what} ({slowest['backend']}): right sum, {speed:.0f} MB/s over {slowest['bytes'] >> 20} MiB",
        megabytes_per_second=round(speed, 1),
        start_seconds=round(outcome.seconds, 1),
    )


def check_world(context: DoctorContext) -> Check:
    """Start this machine's processes of the plan as a launch does; fail where the world they form is not the planned one."""
    if check_memory(context).state == "fail":
        return skipped("world", "not started: the memory does not hold the planned processes")
    local, limit = local_plan(context.plan), context.timeout_seconds
    with tempfile.TemporaryDirectory(prefix="slipway-doctor-") as folder:
        member = ["slipway.launcher.doctor.members.world_member", folder, f"{limit + _MARGIN_SECONDS:g}"]
        if local.num_processes == 1 and starts_directly(local):
            command = [sys.executable, "-m", *member]
        else:
            config = Path(folder) / "accelerate.yaml"
            config.write_text(to_yaml(local), encoding="utf-8")
            argv = launch_command(local, config, ["--module", *member]).argv
            command = [sys.executable, "-m", "slipway.launcher.doctor.members.world_agent", *argv[2:]]
        outcome = run_members([command], member_environment(local, context.environ, folder), Path(folder), limit)
    return judge_world(context, outcome)


def local_plan(plan: LaunchPlan) -> LaunchPlan:
    """Return the plan of this machine's processes alone, at a free port."""
    return replace(
        plan,
        num_processes=plan.local_processes,
        num_machines=1,
        machine_rank=0,
        main_process_ip=None,
        main_process_port=free_port(),
        rdzv_backend="static",
    )


def judge_world(context: DoctorContext, outcome: MembersOutcome) -> Check:
    """Return the result for a world: whether its size, ranks, devices and precision are those of the plan."""
    plan = context.plan
    count = plan.local_processes
    what = f"{count} process{'es' if count > 1 else ''}"
    if plan.num_machines > 1:
        what += f" of {plan.num_processes} (this machine's)"
    kind = torch_device(plan)
    if outcome.problem:
        return failed("world", f"{what} on {kind}: {outcome.problem}", _remedy(context, kind, outcome))
    differences = _differences(plan, outcome.reports)
    measured = {"processes": float(len(outcome.reports)), "start_seconds": round(outcome.seconds, 1)}
    if differences:
        remedy = f"{_PYTHON} -c 'import torch; print(torch.{kind}.device_count())' must print all of them"
        if kind == "cpu":
            remedy = "pip install --upgrade accelerate torch"
        return failed("world", f"planned {what} on {kind}, but {'; '.join(differences)}", remedy, **measured)
    swapped = _swapped_device(plan, outcome.reports)
    devices = " ".join(dict.fromkeys(report["device"] for report in outcome.reports))
    evidence = f"{what} formed one world on {devices}, precision {plan.mixed_precision}, in {outcome.seconds:.1f} s"
    if swapped:
        return warned("world", f"{evidence}; {swapped}", "export CUDA_DEVICE_ORDER=PCI_BUS_ID", **measured)
    return passed("world", evidence, **measured)


def _differences(plan: LaunchPlan, reports: Sequence[dict[str, Any]]) -> list[str]:
    """Return how the reports differ from the plan, in words."""
    count, kind = plan.local_processes, torch_device(plan)
    sizes = sorted({report["world_size"] for report in reports})
    ranks = sorted(report["rank"] for report in reports)
    kinds = sorted({report["device_kind"] for report in reports})
    precisions = sorted({report["mixed_precision"] for report in reports})
    found = []
    if len(reports) != count:
        found.append(f"{len(reports)} reported")
    if sizes != [count]:
        found.append(f"each was in a world of {' or '.join(map(str, sizes))}")
    if ranks != list(range(count)):
        found.append(f"their ranks were {' '.join(map(str, ranks))}")
    if any(report["counted"] != report["world_size"] for report in reports):
        found.append("an all-reduce counted " + " ".join(str(report["counted"]) for report in reports))
    if kinds != [kind]:
        found.append(f"they ran on {' and '.join(kinds)}")
    devices = [report["device"] for report in reports]
    if kind in ("cuda", "xpu", "npu") and len(set(devices)) < len(devices):
        found.append(f"some shared a device: {' '.join(devices)}")
    if precisions != [plan.mixed_precision]:
        found.append(f"precision was {' and '.join(precisions)}, planned {plan.mixed_precision}")
    return found


def _swapped_device(plan: LaunchPlan, reports: Sequence[dict[str, Any]]) -> str | None:
    """Return which rank got another NVIDIA GPU than planned, or None. torch does not give the UUID of a MIG slice."""
    if plan.device != "cuda":
        return None
    for report in sorted(reports, key=lambda report: report["rank"]):
        planned = plan.devices[report["local_rank"]] if report["local_rank"] < len(plan.devices) else None
        if planned is None or planned.part or not planned.uuid or not report["device_uuid"]:
            continue
        if report["device_uuid"].lower() != planned.uuid.lower():
            return f"rank {report['rank']} has {report['device_uuid']}, planned {planned.uuid}"
    return None


# Part of an error's text -> what to do. The first one found counts.
_REMEDIES = (
    ("SIGKILL", "raise the memory limit or end other programs: the kernel kills what exceeds it"),
    ("No module named 'torch", "pip install torch"),
    ("No module named 'accelerate", "pip install accelerate"),
    ("DeepSpeed is not available", "pip install deepspeed, or --sharding fsdp"),
    ("No module named 'deepspeed", "pip install deepspeed, or --sharding fsdp"),
    ("out of memory", "end what holds the device's memory, or --device cpu"),
)


def _remedy(context: DoctorContext, kind: str, outcome: MembersOutcome) -> str:
    """Return what to do about processes that failed: by their error, the environment, the device."""
    problem = outcome.problem or ""
    for text, remedy in _REMEDIES:
        if text.lower() in problem.lower():
            return remedy
    network = [name for name in notes_on_variables(context) if name.startswith(("NCCL_", "GLOO_"))]
    if network:
        return f"unset {' '.join(network)}"
    if kind == "cuda" and context.plan.environment.get("NCCL_P2P_DISABLE") != "1" and len(context.plan.devices) > 1:
        return "export NCCL_P2P_DISABLE=1, and NCCL_DEBUG=INFO to see more"
    if kind == "cpu" and ("hostname" in problem or "address" in problem):
        loopback = next((one.name for one in context.hardware.network if one.loopback and one.up), "lo")
        return f"export GLOO_SOCKET_IFNAME={loopback}"
    if outcome.timed_out:
        return f"--timeout-seconds {3 * context.timeout_seconds:g} if this machine is slow, else see that line"
    return f"{_PYTHON} -m pip check; pip install --force-reinstall torch accelerate"

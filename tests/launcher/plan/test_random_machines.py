"""What holds for the plan of any machine: it fits the machine, is the same twice, and has a reason for each choice."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from slipway.launcher.hardware.probes.sources import cpu_list
from slipway.launcher.hardware.record import Hardware
from slipway.launcher.hardware.written import read_hardware
from slipway.launcher.plan.make_plan import Intent, LaunchPlan, make_plan
from slipway.launcher.plan.model import ACTIVATIONS_SHARE, STATE_BYTES_PER_PARAMETER
from slipway.training.common.errors import UserError
from slipway.training.common.known_devices import KNOWN_DEVICES
from tests.launcher.machines import GIB


@st.composite
def written_machines(draw: st.DrawFn) -> Hardware:
    """Return machines as people have them: devices of one maker, some filled, cores and memory within limits."""
    kind = draw(st.sampled_from(("cuda", "rocm", "xpu", "hpu", "mps", None)))
    names = ["Apple M3"] if kind == "mps" else [row.name for row in KNOWN_DEVICES if row.kind == kind]
    cores = draw(st.sampled_from((1, 2, 4, 6, 8, 16, 24, 48, 64, 112, 192)))
    nodes = draw(st.sampled_from((1, 1, 2, 4))) if cores >= 4 else 1
    devices: list[dict[str, Any]] = []
    for name in draw(st.lists(st.sampled_from(names or ["none"]), min_size=1, max_size=4)) if kind else ():
        one: dict[str, Any] = {"name": name, "count": 1 if kind == "mps" else draw(st.integers(1, 4))}
        if draw(st.booleans()):
            one["numa_node"] = draw(st.integers(0, nodes - 1))
        if kind != "mps" and draw(st.booleans()):
            one["memory_free_bytes"] = draw(st.integers(0, 2 * GIB))
        devices.append(one)
    cpu: dict[str, Any] = {"physical_cores": cores, "logical_cores": cores * draw(st.sampled_from((1, 2)))}
    cpu["numa_nodes"] = nodes
    if draw(st.booleans()):
        cpu["cgroup_quota_cpus"] = draw(st.sampled_from((0.5, 1.0, 3.5, 8.0)))
    if draw(st.booleans()):
        cpu["performance_cores"] = max(1, cores // 2)
    data = {
        "cpu": cpu,
        "memory": {"total_bytes": draw(st.integers(1, 2048)) * GIB},
        "accelerators": devices[:1] if kind == "mps" else devices,
    }
    return read_hardware(json.dumps(data), "drawn")


INTENTS = st.builds(
    Intent,
    parameters=st.none() | st.integers(1, 10**11),
    num_processes=st.none() | st.integers(1, 4),
    mixed_precision=st.none() | st.sampled_from(("no", "fp16", "bf16")),
    global_batch_size=st.none() | st.integers(1, 512),
)  # fmt: skip


def used_cores(hardware: Hardware, plan: LaunchPlan) -> float:
    """Return the cores that one process has: its part of the machine's, or of those that it is bound to."""
    cpu = hardware.cpu
    whole = max(1, int(min(cpu.usable_cpus, cpu.physical_cores or cpu.usable_cpus)))
    share = max(1, whole // plan.local_processes)
    if not plan.cpu_affinity:
        return share
    threads = cpu.logical_cores / (cpu.physical_cores or cpu.logical_cores)
    return max(1, min(share, min(len(cpu_list(one)) for one in plan.cpu_affinity) / threads))


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(hardware=written_machines(), intent=INTENTS)
def test_a_plan_fits_its_machine_and_says_why(hardware: Hardware, intent: Intent) -> None:
    try:
        plan = make_plan(hardware, intent)
    except UserError:
        reject()
    assert make_plan(hardware, intent) == plan
    assert LaunchPlan.from_json(plan.to_json()) == plan
    assert all(choice.reason for choice in plan.choices)
    assert all(choice.fact for choice in plan.choices if choice.origin == "detected")
    assert len(plan.share_weights) == plan.num_processes
    assert all(weight > 0 for weight in plan.share_weights)
    assert plan.threads_per_process + plan.num_workers <= used_cores(hardware, plan)
    if plan.device == "cpu":
        return
    assert len(plan.devices) == plan.local_processes
    assert len({(one.index, one.part) for one in plan.devices}) == len(plan.devices)
    by_index = {one.index: one for one in hardware.accelerators}
    if intent.mixed_precision is None and plan.mixed_precision != "no":
        assert all(getattr(by_index[one.index], plan.mixed_precision) for one in plan.devices)
    if intent.parameters is not None and not any("do not fit" in warning for warning in plan.warnings):
        for one in plan.devices:
            device = by_index[one.index]
            free = hardware.memory.available_bytes if device.unified_memory else device.memory_free_bytes or 0
            state = STATE_BYTES_PER_PARAMETER * intent.parameters
            if plan.sharding != "replicate":
                state = -(-state // plan.num_processes)
            if any("is not known" in warning for warning in plan.warnings):
                continue
            assert state <= free * (1 - ACTIVATIONS_SHARE)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(hardware=written_machines())
def test_no_device_is_left_out_without_a_word(hardware: Hardware) -> None:
    plan = make_plan(hardware)
    if plan.device in ("cpu", "mps"):
        return
    used = {one.index for one in plan.devices}
    told = " ".join(plan.warnings)
    for one in hardware.accelerators:
        assert one.index in used or f"{one.kind} {one.index} ({one.name}) is left out" in told

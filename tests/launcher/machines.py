"""The machines of `fixtures/machines`, records written by hand, and devices and machines for other tests."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from slipway.launcher.hardware.detect import load_hardware
from slipway.launcher.hardware.probes.torch_build import find_problem
from slipway.launcher.hardware.record import Accelerator, Environment, Hardware, Kind, TorchBuild, VisibleDevice
from slipway.launcher.hardware.written import complete

FOLDER = Path(__file__).parent / "fixtures" / "machines"
GIB = 1 << 30


@cache
def machines() -> MappingProxyType[str, Hardware]:
    """Return every machine by the name of its file."""
    return MappingProxyType({path.stem: load_hardware(str(path)) for path in sorted(FOLDER.glob("*.json"))})


def device(kind: Kind, index: int, name: str, gib: float | None, **facts: Any) -> Accelerator:
    """Return an accelerator, idle, with bf16 and fp16 unless `facts` say otherwise."""
    memory = None if gib is None else int(gib * GIB)
    defaults: dict[str, Any] = {
        "uuid": None,
        "pci_address": f"0000:{0x10 + index:02x}:00.0",
        "memory_total_bytes": memory,
        "memory_free_bytes": None if memory is None else memory - GIB // 2,
        "unified_memory": False,
        "compute_capability": None,
        "architecture": None,
        "bf16": True,
        "fp16": True,
        "fp8": False,
        "tiles": 1,
        "mig_slices": (),
        "processes": (),
        "numa_node": None,
    }
    return Accelerator(kind=kind, index=index, name=name, **{**defaults, **facts})


def cuda(index: int, name: str, gib: float | None, capability: tuple[int, int], **facts: Any) -> Accelerator:
    """Return an NVIDIA GPU with the precisions of its compute capability."""
    return device(
        "cuda",
        index,
        name,
        gib,
        uuid=f"GPU-{index:08x}-0000-4000-8000-000000000000",
        compute_capability=capability,
        bf16=capability >= (8, 0),
        fp8=capability >= (8, 9),
        **facts,
    )


def build(kind: Any, toolkit: str | None, suffix: str, extensions: tuple[str, ...] = ()) -> TorchBuild:
    """Return an installed torch; whether it fits is judged when the machine is put together."""
    return TorchBuild(
        version=f"2.9.1{suffix}",
        kind=kind,
        toolkit_version=toolkit,
        extensions=extensions,
        fits=True,
        problem=None,
        remedy=None,
    )


def machine(accelerators: tuple[Accelerator, ...] = (), **facts: Any) -> Hardware:
    """Return a Linux desktop of 16 cores where every device is visible, with the torch build judged."""
    desktop = complete(
        {
            "hostname": "host",
            "cpu": {
                "model": "AMD Ryzen 9 5950X 16-Core Processor",
                "physical_cores": 16,
                "logical_cores": 32,
                "numa_nodes": 1,
            },
            "memory": {"total_bytes": 128 * GIB, "available_bytes": 115 * GIB, "shm_total_bytes": 64 * GIB},
            "torch": {"version": "2.9.1+cpu"},
            "network": [
                {"name": "eth0", "addresses": ["10.0.0.5"], "speed_megabits_per_second": 10_000},
                {"name": "lo", "addresses": ["127.0.0.1"], "loopback": True},
            ],
        }
    )
    visible = tuple(VisibleDevice(kind=one.kind, index=one.index, part=None) for one in accelerators)
    seen = Environment(masks=(), visible=visible, variables={})
    hardware = replace(desktop, **{"accelerators": accelerators, "environment": seen, **facts})
    found = find_problem(hardware.torch, hardware.accelerators, hardware.drivers)
    if found is None:
        return hardware
    return replace(hardware, torch=replace(hardware.torch, fits=False, problem=found[0], remedy=found[1]))

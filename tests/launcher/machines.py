"""Sixteen machines as `Hardware` records, made from vendors' documents; `python -m tests.launcher.machines` writes them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from slipway.launcher.hardware.probes.torch_build import find_problem
from slipway.launcher.hardware.record import (
    SCHEMA_VERSION,
    Accelerator,
    Cpu,
    Driver,
    Environment,
    Hardware,
    Kind,
    Link,
    Mask,
    Memory,
    MigSlice,
    NetworkInterface,
    NumaNode,
    Scheduler,
    Slurm,
    TorchBuild,
    VisibleDevice,
)

FOLDER = Path(__file__).parent / "fixtures" / "machines"
GIB = 1 << 30
ETHERNET = NetworkInterface(
    name="eth0", addresses=("10.0.0.5",), up=True, loopback=False, speed_megabits_per_second=10_000
)
LOOPBACK = NetworkInterface(name="lo", addresses=("127.0.0.1",), up=True, loopback=True, speed_megabits_per_second=None)


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


def all_pairs(devices: tuple[Accelerator, ...], **facts: Any) -> tuple[Link, ...]:
    """Return the same link between every two devices."""
    defaults: dict[str, Any] = {"topology": None, "lanes": None, "p2p": True, "p2p_reason": None}
    return tuple(
        Link(kind=one.kind, first=one.index, second=other.index, **{**defaults, **facts})
        for one, other in combinations(devices, 2)
    )


def processor(cores: int, nodes: int = 1, **facts: Any) -> Cpu:
    """Return an x86 server CPU with two threads a core."""
    logical = 2 * cores
    share = logical // nodes
    defaults: dict[str, Any] = {
        "model": "Intel(R) Xeon(R) Platinum 8480C",
        "architecture": "x86_64",
        "physical_cores": cores,
        "logical_cores": logical,
        "affinity": tuple(range(logical)),
        "cgroup_quota_cpus": None,
        "slurm_cpus_per_task": None,
        "usable_cpus": float(logical),
        "limited_by": "logical cores",
        "numa_nodes": tuple(
            NumaNode(index=i, cpus=tuple(range(i * share, (i + 1) * share)), memory_total_bytes=None)
            for i in range(nodes)
        ),
        "bf16": True,
        "amx": True,
        "avx512": True,
    }
    return Cpu(**{**defaults, **facts})


def desktop(cores: int = 16) -> Cpu:
    """Return an AMD desktop CPU without bf16 instructions."""
    return processor(cores, model="AMD Ryzen 9 5950X 16-Core Processor", bf16=False, amx=False, avx512=False)


def memory(gib: int, limit_gib: int | None = None) -> Memory:
    """Return host memory, nine tenths of it available, below an optional cgroup limit."""
    limit = None if limit_gib is None else limit_gib * GIB
    return Memory(
        total_bytes=gib * GIB,
        available_bytes=gib * GIB * 9 // 10,
        cgroup_limit_bytes=limit,
        cgroup_used_bytes=None if limit is None else GIB // 4,
        usable_bytes=limit or gib * GIB,
        limited_by="cgroup limit" if limit else "host",
        shm_total_bytes=64 << 20 if limit else gib * GIB // 2,
        shm_free_bytes=64 << 20 if limit else gib * GIB // 2,
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


CUDA_12 = build("cuda", "12.6", "+cu126")
NVIDIA = (Driver(kind="cuda", version="580.95.05", cuda_version="13.0"),)


def machine(accelerators: tuple[Accelerator, ...] = (), **facts: Any) -> Hardware:
    """Return a Linux machine where every device is visible, with the torch build judged."""
    defaults: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "hostname": "host",
        "platform": "linux",
        "cpu": desktop(),
        "memory": memory(128),
        "links": (),
        "drivers": (),
        "torch": build("cpu", None, "+cpu"),
        "environment": Environment(
            masks=(),
            visible=tuple(VisibleDevice(kind=one.kind, index=one.index, part=None) for one in accelerators),
            variables={},
        ),
        "scheduler": Scheduler(slurm=None, torchrun=None, kubernetes=None),
        "network": (ETHERNET, LOOPBACK),
        "faults": (),
    }
    hardware = Hardware(accelerators=accelerators, **{**defaults, **facts})
    found = find_problem(hardware.torch, hardware.accelerators, hardware.drivers)
    if found:
        judged = replace(hardware.torch, fits=False, problem=found[0], remedy=found[1])
        hardware = replace(hardware, torch=judged)
    return hardware


def _nvidia(accelerators: tuple[Accelerator, ...], **facts: Any) -> Hardware:
    return machine(accelerators, **{"drivers": NVIDIA, "torch": CUDA_12, **facts})


def _h100(count: int, nodes: int = 2) -> tuple[Accelerator, ...]:
    return tuple(cuda(i, "NVIDIA H100 80GB HBM3", 79.6, (9, 0), numa_node=i * nodes // count) for i in range(count))


def _server(cores: int = 112, gib: int = 2048) -> dict[str, Any]:
    return {"cpu": processor(cores, nodes=2), "memory": memory(gib)}


def _a100_mig() -> Hardware:
    slices = [
        tuple(
            MigSlice(
                uuid=f"MIG-{gpu}{part}000000-0000-5000-8000-000000000000",
                name="NVIDIA A100-SXM4-80GB MIG 3g.40gb",
                memory_total_bytes=int(39.25 * GIB),
            )
            for part in range(2)
        )
        for gpu in range(2)
    ]
    gpus = tuple(cuda(i, "NVIDIA A100-SXM4-80GB", 80, (8, 0), mig_slices=slices[i]) for i in range(2))
    first = VisibleDevice(kind="cuda", index=0, part=slices[0][0].uuid)
    return _nvidia(
        gpus,
        **_server(64, 1024),
        links=all_pairs(gpus, type="pcie", topology="NUMA node", p2p=False, p2p_reason="MIG slices have no P2P"),
        environment=Environment(masks=(), visible=(first,), variables={}),
    )


def _slurm_step() -> Hardware:
    gpus = _h100(4)
    value = "0,1,2,3"
    masks = tuple(
        Mask(variable=name, value=value, applied=name == "CUDA_VISIBLE_DEVICES", note=None)
        for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")
    )
    step = Slurm(
        place="step",
        job_id="4711",
        node_list="node[01-04]",
        node_count=4,
        node_rank=1,
        task_count=4,
        process_id=1,
        local_id=0,
        restart_count=None,
    )
    visible = tuple(VisibleDevice(kind="cuda", index=gpu.index, part=None) for gpu in gpus)
    return _nvidia(
        gpus,
        cpu=processor(48, 2, slurm_cpus_per_task=32, usable_cpus=32.0, limited_by="SLURM_CPUS_PER_TASK"),
        memory=memory(1024),
        links=all_pairs(gpus, type="nvlink", lanes=18),
        environment=Environment(masks=masks, visible=visible, variables={}),
        scheduler=Scheduler(slurm=step, torchrun=None, kubernetes=None),
    )


def _m2() -> Hardware:
    gpu = device("mps", 0, "Apple M2", None, pci_address=None, unified_memory=True, bf16=False)
    chip = processor(
        8,
        model="Apple M2",
        architecture="arm64",
        logical_cores=8,
        affinity=None,
        usable_cpus=8.0,
        numa_nodes=(),
        amx=False,
        avx512=False,
    )
    host = replace(memory(16), shm_total_bytes=None, shm_free_bytes=None)
    return machine((gpu,), platform="darwin", cpu=chip, memory=host, torch=build("mps", None, ""))


def _nvidia_machines() -> dict[str, Hardware]:
    h100 = _h100(8)
    ada = tuple(cuda(i, "NVIDIA GeForce RTX 4090", 23.99, (8, 9)) for i in range(2))
    unequal = (
        cuda(0, "NVIDIA GeForce RTX 3090", 24, (8, 6)),
        cuda(1, "NVIDIA GeForce RTX 2080 Ti", 11, (7, 5)),
    )
    gb10 = cuda(0, "NVIDIA GB10", None, (12, 1), unified_memory=True)
    grace = processor(20, model="Cortex-X925", architecture="aarch64", logical_cores=20, amx=False, avx512=False)
    grace = replace(grace, affinity=tuple(range(20)), usable_cpus=20.0, numa_nodes=())
    return {
        "8xh100": _nvidia(h100, **_server(), links=all_pairs(h100, type="nvlink", lanes=18)),
        "2xrtx4090": _nvidia(
            ada,
            links=all_pairs(
                ada,
                type="pcie",
                topology="host bridge",
                p2p=False,
                p2p_reason="NVIDIA GeForce RTX 4090 has no P2P",
            ),
        ),
        "rtx3090_rtx2080ti": _nvidia(
            unequal,
            memory=memory(64),
            links=all_pairs(
                unequal,
                type="pcie",
                topology="host bridge",
                p2p=False,
                p2p_reason="the driver says no (NVML P2P status 1)",
            ),
        ),
        "t4": _nvidia((cuda(0, "Tesla T4", 15, (7, 5)),), cpu=processor(4, amx=False, bf16=False), memory=memory(16)),
        "v100": _nvidia((cuda(0, "Tesla V100-SXM2-16GB", 16, (7, 0)),), cpu=processor(8, amx=False, bf16=False)),
        "2xa100_mig": _a100_mig(),
        "gb10": _nvidia((gb10,), cpu=grace, torch=build("cuda", "13.0", "+cu130")),
        "slurm_step_4_nodes": _slurm_step(),
        "rtx4090_cpu_only_torch": _nvidia((ada[0],), torch=build("cpu", None, "+cpu")),
    }


def machines() -> dict[str, Hardware]:
    """Return every machine by the name of its file."""
    mi300x = tuple(
        device(
            "rocm",
            i,
            "AMD Instinct MI300X",
            192,
            architecture="gfx942",
            fp8=True,
            uuid=f"GPU-{i:016x}",
            numa_node=i // 4,
        )
        for i in range(8)
    )
    arc = device("xpu", 0, "Intel Arc A770 Graphics", 16, memory_free_bytes=None)
    ponte_vecchio = tuple(
        device("xpu", i, "Intel Data Center GPU Max 1550", 128, memory_free_bytes=None, tiles=2) for i in range(4)
    )
    tiles = tuple(VisibleDevice(kind="xpu", index=i, part=f"tile {tile}") for i in range(4) for tile in range(2))
    gaudi = tuple(device("hpu", i, "Intel Gaudi 2", 96, memory_free_bytes=None, fp8=True) for i in range(8))
    ascend = tuple(device("npu", i, "Ascend910B3", 64, pci_address=None) for i in range(8))
    kernel = "6.8.0-51-generic"
    xpu = {"drivers": (Driver(kind="xpu", version=kernel, cuda_version=None),)}
    return {
        **_nvidia_machines(),
        "8xmi300x": machine(
            mi300x,
            **_server(96),
            links=all_pairs(mi300x, type="xgmi"),
            drivers=(Driver(kind="rocm", version="6.14.14", cuda_version=None),),
            torch=build("rocm", "6.4.43484", "+rocm6.4"),
        ),
        "arc_a770": machine((arc,), memory=memory(32), torch=build("xpu", "20250201", "+xpu"), **xpu),
        "4xmax1550": machine(
            ponte_vecchio,
            **_server(104, 1024),
            torch=build("xpu", "20250201", "+xpu"),
            environment=Environment(masks=(), visible=tiles, variables={}),
            **xpu,
        ),
        "m2": _m2(),
        "8xgaudi2": machine(gaudi, **_server(80, 1024), torch=build("cpu", None, "+cpu", ("habana_frameworks",))),
        "8xascend910": machine(ascend, **_server(96, 1024), torch=build("cpu", None, "+cpu", ("torch_npu",))),
        "container_2_of_64_cores": machine(
            cpu=processor(32, cgroup_quota_cpus=2.0, usable_cpus=2.0, limited_by="cgroup quota"),
            memory=memory(256, limit_gib=4),
        ),
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file_name, hardware in machines().items():
        (FOLDER / f"{file_name}.json").write_text(hardware.to_json() + "\n", encoding="utf-8")

"""Probe NVIDIA GPUs by NVML, in a process with a time limit, since a driver that hangs hangs its caller."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from .....training.common.conversion import from_mapping
from ...precisions import native_precisions
from ...record import Accelerator, DeviceProcess, Driver, Link, MigSlice
from ..sources import ProbeError, Sources, numa_node, read_text

TIME_LIMIT_SECONDS = 20.0  # without persistence mode the driver needs more than a second per GPU to wake
_PCI_VENDOR = "0x10de"
# GeForce RTX 40 and 50 have no P2P, but some drivers say that they have, and NCCL then hangs (nccl #1637).
NO_P2P_NAME = re.compile(r"RTX [45]0[5-9]0\b")


@dataclass(frozen=True, kw_only=True)
class NvidiaReport:
    """The GPUs, links and driver that NVML reports."""

    accelerators: tuple[Accelerator, ...]
    links: tuple[Link, ...]
    driver: Driver | None
    lost: tuple[str, ...]  # GPUs that the driver counts but cannot open


NOTHING = NvidiaReport(accelerators=(), links=(), driver=None, lost=())


def present(sources: Sources) -> bool:
    """Return whether an NVIDIA GPU or its driver is here. It is cheap, and avoids loading NVML in vain."""
    if sources.platform == "win32":
        return True
    if sources.platform != "linux":
        return False
    markers = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg", "/dev/nvhost-gpu")
    return any(sources.path(marker).exists() for marker in markers) or on_pci_bus(sources)


def on_pci_bus(sources: Sources) -> bool:
    """Return whether an NVIDIA display controller sits on the PCI bus, with or without a driver."""
    return any(
        read_text(device / "vendor") == _PCI_VENDOR and (read_text(device / "class") or "").startswith("0x03")
        for device in sources.folder("/sys/bus/pci/devices")
    )


def detect(sources: Sources) -> NvidiaReport:
    """Return the GPUs in the driver's (PCI) order.

    Raises `ProbeError` where a GPU is here but the driver does not answer, which the caller records as a fault.
    """
    if not present(sources):
        return NOTHING
    try:
        answer = sources.ask("slipway.launcher.hardware.probes.accelerators.nvidia", (), TIME_LIMIT_SECONDS)
    except ProbeError:
        # WSL's and Windows' graphics driver is there without an NVIDIA GPU too.
        if sources.platform == "win32" or not (on_pci_bus(sources) or sources.path("/dev/nvidiactl").exists()):
            return NOTHING
        raise
    report = from_mapping(NvidiaReport, answer, "NVML")
    placed = tuple(
        replace(accelerator, numa_node=numa_node(sources.path("/sys/bus/pci/devices", accelerator.pci_address or "-")))
        for accelerator in report.accelerators
    )
    return replace(report, accelerators=placed)


def query(nvml: Any) -> NvidiaReport:
    """Return the report of the module `pynvml`; it runs in the child process."""
    nvml.nvmlInit()
    handles, lost = {}, []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handles[index] = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            lost.append(f"GPU {index}: {error}")
    accelerators = tuple(_accelerator(nvml, index, handle) for index, handle in handles.items())
    links = tuple(
        _link(nvml, handles[first.index], handles[second.index], first, second)
        for first, second in combinations(accelerators, 2)
    )
    cuda = _try(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    driver = Driver(
        kind="cuda",
        version=_text(nvml.nvmlSystemGetDriverVersion()),
        cuda_version=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
    )
    return NvidiaReport(accelerators=accelerators, links=links, driver=driver, lost=tuple(lost))


def _try(nvml: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a call, or None where this GPU or driver does not support it."""
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _accelerator(nvml: Any, index: int, handle: Any) -> Accelerator:
    name = _text(nvml.nvmlDeviceGetName(handle))
    memory, unified = _memory(nvml, handle)
    capability = _try(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    capability = None if capability is None else (int(capability[0]), int(capability[1]))
    pci = _try(nvml, nvml.nvmlDeviceGetPciInfo, handle)
    address = None if pci is None else _text(pci.busId).lower()
    return Accelerator(
        kind="cuda",
        index=index,
        name=name,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        # NVML writes the PCI domain with eight digits, sysfs with four.
        pci_address=address[4:] if address and len(address) == len("00000000:00:00.0") else address,
        memory_total_bytes=None if memory is None else int(memory.total),
        memory_free_bytes=None if memory is None else int(memory.free),
        unified_memory=unified,
        compute_capability=capability,
        architecture=None,
        **native_precisions("cuda", name, capability, None)._asdict(),
        tiles=1,
        mig_slices=_mig_slices(nvml, handle),
        processes=_processes(nvml, handle),
        cores=_try(nvml, nvml.nvmlDeviceGetNumGpuCores, handle),
        clock_megahertz=_try(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        memory_gigabytes_per_second=_bandwidth(nvml, handle),
        numa_node=None,  # read from sysfs by the parent: NVML answers for GPUs that are NUMA nodes themselves
    )


def _memory(nvml: Any, handle: Any) -> tuple[Any, bool]:
    """Return (memory or None, whether it is the host's): GB10 and Jetson do not support the call."""
    try:
        return nvml.nvmlDeviceGetMemoryInfo(handle), False
    except nvml.NVMLError as error:
        return None, error.value == nvml.NVML_ERROR_NOT_SUPPORTED


def _bandwidth(nvml: Any, handle: Any) -> float | None:
    """Return what the memory moves in GB/s: two bits a line and cycle (T4: 5001 MHz and 256 bits are 320 GB/s)."""
    clock = _try(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_MEM)
    bits = _try(nvml, nvml.nvmlDeviceGetMemoryBusWidth, handle)
    return 2e-3 * clock * bits / 8 if clock and bits else None


def _mig_slices(nvml: Any, handle: Any) -> tuple[MigSlice, ...]:
    mode = _try(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if not mode or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return ()
    slices = []
    for position in range(_try(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        part = _try(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, position)
        if part is None:
            continue
        memory = _try(nvml, nvml.nvmlDeviceGetMemoryInfo, part)
        name = _try(nvml, nvml.nvmlDeviceGetName, part)
        slices.append(
            MigSlice(
                uuid=_text(nvml.nvmlDeviceGetUUID(part)),
                name="MIG" if name is None else _text(name),
                memory_total_bytes=None if memory is None else int(memory.total),
            )
        )
    return tuple(slices)


def _processes(nvml: Any, handle: Any) -> tuple[DeviceProcess, ...]:
    running = _try(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
    found = {
        int(process.pid): None if process.usedGpuMemory is None else int(process.usedGpuMemory) for process in running
    }
    return tuple(DeviceProcess(pid=pid, memory_used_bytes=used) for pid, used in sorted(found.items()))


def _link(nvml: Any, one: Any, other: Any, first: Accelerator, second: Accelerator) -> Link:
    nvlink = _try(nvml, nvml.nvmlDeviceGetP2PStatus, one, other, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
    joined = nvlink == nvml.NVML_P2P_STATUS_OK
    p2p, reason = _p2p(nvml, one, other, (first, second))
    return Link(
        kind="cuda",
        first=first.index,
        second=second.index,
        type="nvlink" if joined else "pcie",
        topology=_TOPOLOGY.get(_try(nvml, nvml.nvmlDeviceGetTopologyCommonAncestor, one, other)),
        lanes=_nvlink_lanes(nvml, one) if joined else None,
        p2p=p2p,
        p2p_reason=reason,
    )


# Values of nvmlGpuTopologyLevel_t.
_TOPOLOGY = {0: "board", 10: "one switch", 20: "switches", 30: "host bridge", 40: "NUMA node", 50: "system"}


def _p2p(nvml: Any, one: Any, other: Any, pair: tuple[Accelerator, Accelerator]) -> tuple[bool | None, str | None]:
    for accelerator in pair:
        if NO_P2P_NAME.search(accelerator.name):
            return False, f"{accelerator.name} has no P2P"
        if accelerator.mig_slices:
            return False, "MIG slices have no P2P"
    both_ways = [
        _try(nvml, nvml.nvmlDeviceGetP2PStatus, *handles, nvml.NVML_P2P_CAPS_INDEX_READ)
        for handles in ((one, other), (other, one))
    ]
    if None in both_ways:
        return None, "the driver does not say"
    if all(status == nvml.NVML_P2P_STATUS_OK for status in both_ways):
        return True, None
    return False, f"the driver says no (NVML P2P status {max(both_ways)})"


def _nvlink_lanes(nvml: Any, handle: Any) -> int | None:
    """Return the number of NVLink links of a GPU that are up; with NVSwitch every pair uses all of them."""
    states = [_try(nvml, nvml.nvmlDeviceGetNvLinkState, handle, link) for link in range(nvml.NVML_NVLINK_MAX_LINKS)]
    return sum(state == nvml.NVML_FEATURE_ENABLED for state in states) or None


def _main() -> None:
    import importlib
    import json
    import sys

    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        sys.exit("pynvml is missing: pip install nvidia-ml-py")
    print(json.dumps(asdict(query(nvml))))


if __name__ == "__main__":
    _main()

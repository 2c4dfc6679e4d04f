"""Probe AMD GPUs: the kernel's KFD topology in sysfs, which ROCm reads too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...precisions import native_precisions
from ...record import Accelerator, DeviceProcess, Driver, Link
from ..sources import ProbeError, Sources, list_folder, numa_node, read_text, to_integer

_NODES = "/sys/class/kfd/kfd/topology/nodes"
_XGMI = 11  # CRAT link type of AMD's own GPU to GPU links; 2 is PCIe
_CORES_PER_UNIT = 64  # of GCN, CDNA and RDNA alike
TIME_LIMIT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class AmdReport:
    """The AMD GPUs, their links and their driver."""

    accelerators: tuple[Accelerator, ...]
    links: tuple[Link, ...]
    driver: Driver | None


def detect(sources: Sources) -> AmdReport:
    """Return the GPUs in KFD's order, which is the order of ROCm's own indices."""
    nodes = [(node, _properties(node / "properties")) for node in sources.folder(_NODES)]
    gpus = [(node, entries) for node, entries in nodes if entries.get("simd_count", 0) > 0]
    if not gpus:
        return AmdReport(accelerators=(), links=(), driver=None)
    names = _market_names(sources)
    accelerators = tuple(_accelerator(sources, i, node, entries, names) for i, (node, entries) in enumerate(gpus))
    version = sources.text("/sys/module/amdgpu/version") or sources.text("/proc/sys/kernel/osrelease")
    driver = Driver(kind="rocm", version=version, cuda_version=None) if version else None
    return AmdReport(accelerators=accelerators, links=_links([node for node, _ in gpus]), driver=driver)


def _properties(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in (read_text(path) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _accelerator(
    sources: Sources, index: int, node: Path, entries: dict[str, int], names: dict[str, str]
) -> Accelerator:
    device = sources.path(f"/sys/class/drm/renderD{entries.get('drm_render_minor', 0)}/device")
    total, used = (to_integer(read_text(device / f"mem_info_vram_{name}")) for name in ("total", "used"))
    if total is None:
        banks = [_properties(bank / "properties") for bank in list_folder(node / "mem_banks")]
        total = sum(bank.get("size_in_bytes", 0) for bank in banks) or None
    address = _pci_address(entries)
    architecture = _architecture(entries.get("gfx_target_version", 0))
    name = names.get(address) or read_text(device / "product_name") or f"AMD {architecture}"
    unique = entries.get("unique_id", 0)
    return Accelerator(
        kind="rocm",
        index=index,
        name=name,
        uuid=f"GPU-{unique:016x}" if unique else None,
        pci_address=address,
        memory_total_bytes=total,
        memory_free_bytes=total - used if total is not None and used is not None else None,
        unified_memory=entries.get("cpu_cores_count", 0) > 0,
        compute_capability=None,
        architecture=architecture,
        **native_precisions("rocm", name, None, architecture)._asdict(),
        tiles=1,
        mig_slices=(),
        processes=_processes(sources, read_text(node / "gpu_id")),
        numa_node=numa_node(device),
        cores=_CORES_PER_UNIT * entries["simd_count"] // (entries.get("simd_per_cu") or 4),
        clock_megahertz=entries.get("max_engine_clk_fcompute") or None,
    )


def _architecture(version: int) -> str:
    """Return the name of a KFD version: 90402 is gfx942, 90010 is gfx90a."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _pci_address(entries: dict[str, int]) -> str:
    location = entries.get("location_id", 0)
    return f"{entries.get('domain', 0):04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7}"


def _processes(sources: Sources, gpu_id: str | None) -> tuple[DeviceProcess, ...]:
    found = []
    for folder in sources.folder("/sys/class/kfd/kfd/proc"):
        pid, used = to_integer(folder.name), to_integer(read_text(folder / f"vram_{gpu_id}"))
        if pid is not None and used:
            found.append(DeviceProcess(pid=pid, memory_used_bytes=used))
    return tuple(found)


def _links(gpus: list[Path]) -> tuple[Link, ...]:
    index_of = {to_integer(node.name): index for index, node in enumerate(gpus)}
    found: dict[tuple[int, int], Link] = {}
    for index, node in enumerate(gpus):
        for folder in [*list_folder(node / "io_links"), *list_folder(node / "p2p_links")]:
            entries = _properties(folder / "properties")
            other = index_of.get(entries.get("node_to"))
            if other is None or other <= index or (index, other) in found:
                continue
            found[index, other] = Link(
                kind="rocm",
                first=index,
                second=other,
                type="xgmi" if entries.get("type") == _XGMI else "pcie",
                topology=None,
                lanes=None,
                # The kernel lists a link only where one GPU can reach the memory of the other.
                p2p=True,
                p2p_reason=None,
            )
    return tuple(found[pair] for pair in sorted(found))


def _market_names(sources: Sources) -> dict[str, str]:
    """Return names by PCI address from amdsmi, if it is installed; sysfs often has none."""
    if sources.package("amdsmi") is None:
        return {}
    try:
        names = sources.ask("slipway.launcher.hardware.probes.accelerators.amd", (), TIME_LIMIT_SECONDS)
    except ProbeError:
        return {}
    return {str(address): str(name) for address, name in names.items()}


def _main() -> None:
    import importlib
    import json

    smi = importlib.import_module("amdsmi")
    smi.amdsmi_init()
    handles = smi.amdsmi_get_processor_handles()
    names = {
        smi.amdsmi_get_gpu_device_bdf(handle).lower(): smi.amdsmi_get_gpu_asic_info(handle)["market_name"]
        for handle in handles
    }
    print(json.dumps(names))


if __name__ == "__main__":
    _main()

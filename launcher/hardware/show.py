"""Show a machine in tables and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .record import Hardware

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_GIB = 1 << 30


def warnings(hardware: Hardware) -> Iterator[str]:
    """Yield a line for each fact that makes a training fail or slow."""
    if not hardware.torch.fits:
        yield f"{hardware.torch.problem}: {hardware.torch.remedy}"
    for fault in hardware.faults:
        yield f"the {fault.probe} probe could not answer: {fault.message}"
    for mask in hardware.environment.masks:
        if mask.note:
            yield f"{mask.variable}={mask.value}: {mask.note}"
    if hardware.accelerators and not hardware.environment.visible:
        yield "no accelerator is visible: the masks of the environment hide them all"
    for accelerator in hardware.accelerators:
        if accelerator.processes:
            pids = ", ".join(str(process.pid) for process in accelerator.processes)
            yield f"{accelerator.kind} {accelerator.index} ({accelerator.name}) is in use by process {pids}"
    if hardware.memory.shm_total_bytes is not None and hardware.memory.shm_total_bytes < _GIB:
        yield (
            f"/dev/shm has {size(hardware.memory.shm_total_bytes)}; data-loader workers need it: "
            "run the container with --shm-size or --ipc=host"
        )


def size(value: int | None) -> str:
    """Return a number of bytes as text: `79.6 GiB`, `512 MiB`, `unknown`."""
    if value is None:
        return "unknown"
    return f"{value / _GIB:.1f} GiB" if value >= _GIB else f"{value / (1 << 20):.0f} MiB"


def draw(hardware: Hardware) -> Iterator[RenderableType]:
    """Yield the renderables of a terminal: warnings, then host, accelerators, links, software and network."""
    from rich.text import Text

    for warning in warnings(hardware):
        yield Text.assemble(("warning: ", "bold yellow"), warning)
    yield _host(hardware)
    if hardware.accelerators:
        yield _accelerators(hardware)
    for line in _links(hardware):
        yield Text(line)
    yield _software(hardware)


def _table(title: str, show_header: bool) -> Table:
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold underline",
        header_style="dim",
        show_header=show_header,
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )


def _facts(title: str, rows: list[tuple[str, str]]) -> Table:
    table = _table(title, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    return table


def _host(hardware: Hardware) -> Table:
    cpu, memory = hardware.cpu, hardware.memory
    special = [name for name, there in (("bf16", cpu.bf16), ("AMX", cpu.amx), ("AVX-512", cpu.avx512)) if there]
    cores = f"{cpu.physical_cores} cores, {cpu.logical_cores} logical" if cpu.physical_cores else f"{cpu.logical_cores}"
    rows = [
        ("processor", f"{cpu.model} ({cpu.architecture})" + (f", {', '.join(special)}" if special else "")),
        ("CPUs", cores),
        ("usable CPUs", f"{cpu.usable_cpus:g}, limited by {cpu.limited_by}"),
        ("NUMA nodes", str(max(1, len(cpu.numa_nodes)))),
        ("memory", f"{size(memory.total_bytes)}, {size(memory.available_bytes)} available"),
        ("usable memory", f"{size(memory.usable_bytes)}, limited by {memory.limited_by}"),
    ]
    if memory.shm_total_bytes is not None:
        rows.append(("/dev/shm", f"{size(memory.shm_total_bytes)}, {size(memory.shm_free_bytes)} free"))
    if hardware.note:
        rows.append(("note", hardware.note))
    return _facts(f"Host {hardware.hostname or ''} ({hardware.platform})", rows)


def _accelerators(hardware: Hardware) -> Table:
    table = _table("Accelerators", show_header=True)
    for heading in ("", "name", "free of memory", "arch", "precisions", "NUMA", "visible"):
        table.add_column(heading, overflow="fold")
    for device in hardware.accelerators:
        seen = [one for one in hardware.environment.visible if (one.kind, one.index) == (device.kind, device.index)]
        parts = sum(one.part is not None for one in seen)
        unit = "MIG slice" if device.mig_slices else "tile"
        memory = size(device.memory_total_bytes)
        if device.memory_free_bytes is not None:
            memory = f"{size(device.memory_free_bytes)} of {memory}"
        capability = ".".join(map(str, device.compute_capability)) if device.compute_capability else device.architecture
        precisions = [name for name in ("bf16", "fp16", "fp8") if getattr(device, name)]
        name = device.name + (f" ({len(device.mig_slices)} MIG slices)" if device.mig_slices else "")
        table.add_row(
            f"{device.kind} {device.index}",
            name,
            "shared with host" if device.unified_memory else memory,
            capability or "",
            " ".join(precisions),
            "" if device.numa_node is None else str(device.numa_node),
            (f"{parts} {unit}{'s' * (parts > 1)}" if parts else "yes") if seen else "no",
        )
    return table


def _links(hardware: Hardware) -> Iterator[str]:
    """Yield a line for each kind of link with its pairs of devices: eight GPUs have 28 pairs."""
    groups: dict[str, list[str]] = {}
    for link in hardware.links:
        p2p = {True: "P2P", False: "no P2P", None: "P2P not known"}[link.p2p]
        lanes = f" x{link.lanes}" if link.lanes else ""
        through = f" through {link.topology}" if link.topology and link.type == "pcie" else ""
        reason = f" ({link.p2p_reason})" if link.p2p_reason else ""
        groups.setdefault(f"{link.type}{lanes}{through}, {p2p}{reason}", []).append(f"{link.first}-{link.second}")
    for description, pairs in groups.items():
        listed = " ".join(pairs) if len(pairs) <= 6 else f"{len(pairs)} pairs"
        yield f"links {listed}: {description}"


def _software(hardware: Hardware) -> Table:
    torch = hardware.torch
    build = f"{torch.kind} {torch.toolkit_version or ''}".strip()
    rows = [("torch", f"{torch.version} ({build})" if torch.version else "not installed")]
    for driver in hardware.drivers:
        serves = f", CUDA up to {driver.cuda_version}" if driver.cuda_version else ""
        rows.append((f"{driver.kind} driver", driver.version + serves))
    for mask in hardware.environment.masks:
        rows.append((mask.variable, repr(mask.value) + ("" if mask.applied else " (applies to no device here)")))
    rows.extend((name, value) for name, value in hardware.environment.variables.items())
    scheduler = hardware.scheduler
    if scheduler.slurm:
        nodes = f", {scheduler.slurm.node_count} nodes" if scheduler.slurm.node_count else ""
        rows.append(("SLURM", f"{scheduler.slurm.place} of job {scheduler.slurm.job_id}{nodes}"))
    if scheduler.torchrun:
        rows.append(("torchrun", f"rank {scheduler.torchrun.rank} of {scheduler.torchrun.world_size}"))
    if scheduler.kubernetes:
        rows.append(("Kubernetes", f"pod {scheduler.kubernetes.pod or 'unknown'}"))
    for interface in hardware.network:
        state = "loopback" if interface.loopback else "up" if interface.up else "down"
        rows.append((interface.name, ", ".join((state, *interface.addresses))))
    return _facts("Software, environment and network", rows)

"""What the host gives each process: threads, data-loader workers, CPUs, environment variables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...training.common.plan_file import Device
from ..hardware.probes.sources import cpu_list
from ..hardware.record import Hardware, NetworkInterface
from .devices import Slot
from .records import Intent, Reasoned, default, fixed

_MOST_WORKERS = 8
_P2P_DRIVER = (550, 40, 7)  # the first with which Accelerate lets GPUs of the RTX 40 series talk by P2P
_VISIBLE = {"cuda": "CUDA_VISIBLE_DEVICES", "rocm": "HIP_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}
_OF_CONTAINERS = ("docker", "br-", "veth", "virbr", "cni", "flannel", "cali", "lxc", "lxd", "podman")
_OF_THE_LINK = ("fe80:", "169.254.")
_MOST_CPUS = 1 << 20  # beyond what a kernel counts; keeps a broken record from planning absurd numbers


def cores_of(hardware: Hardware) -> tuple[int, str]:
    """Return the cores that compute, at least 1, and why: hyper-threads share the units that multiply."""
    cpu = hardware.cpu
    usable = min(max(cpu.usable_cpus, 0.0), float(_MOST_CPUS))
    physical = cpu.physical_cores if cpu.physical_cores and cpu.physical_cores > 0 else usable
    fact = f"{cpu.usable_cpus:g} usable CPUs, limited by {cpu.limited_by}"
    if physical < usable:
        return max(1, int(physical)), f"{physical} physical cores"
    return max(1, int(usable)), fact


def process_cores(hardware: Hardware, local_processes: int, bound: Sequence[str]) -> tuple[int, str]:
    """Return the cores of each process and why: its part of the host's, or of the CPUs that the plan binds it to."""
    cores, fact = cores_of(hardware)
    share = cores // max(1, local_processes)
    if not bound:
        return share, fact
    cpu = hardware.cpu
    threads_per_core = max(1.0, cpu.logical_cores / cpu.physical_cores) if cpu.physical_cores else 1.0
    fewest = max(1, int(min(len(cpu_list(one)) for one in bound) / threads_per_core))
    return (fewest, f"{fewest} cores that a process is bound to") if fewest < share else (share, fact)


def choose_workers(
    hardware: Hardware, intent: Intent, device: Device, local_processes: int, bound: Sequence[str]
) -> Reasoned[int]:
    """Return the threads of a process that prepare batches: half of its cores, at most 8; none on the CPU."""
    if intent.num_workers is not None:
        return fixed(intent.num_workers)
    if device == "cpu":
        return default(0, "loading would take cores from computing")
    cores, fact = process_cores(hardware, local_processes, bound)
    return Reasoned(
        value=min(_MOST_WORKERS, cores // 2), reason=f"half of a process's cores, at most {_MOST_WORKERS}", fact=fact
    )


def choose_threads(
    hardware: Hardware, intent: Intent, workers: Reasoned[int], local_processes: int, bound: Sequence[str]
) -> Reasoned[int]:
    """Return threads of a process: the cores that are left, from the environment where it says.

    On a hybrid CPU no more than its performance cores: threads that meet after each operation wait for the slowest.
    """
    cores, fact = cores_of(hardware)
    if intent.threads_per_process is not None:
        total = intent.threads_per_process * local_processes
        note = (f"{total} threads on {cores} cores: they take turns",) if total > cores else ()
        return fixed(intent.threads_per_process, fact, note)
    said = hardware.environment.variables.get("OMP_NUM_THREADS", "")
    if said.isascii() and said.isdigit() and len(said) < 8 and int(said) > 0:
        return Reasoned(
            value=int(said), reason="the environment says so", fact=f"OMP_NUM_THREADS={said}", origin="environment"
        )
    share, fact = process_cores(hardware, local_processes, bound)
    value = max(1, share - workers.value)
    fast = hardware.cpu.performance_cores
    if fast and max(1, fast // max(1, local_processes)) < value:
        reason = "the performance cores: a thread on another core would hold them up"
        return Reasoned(value=max(1, fast // max(1, local_processes)), reason=reason, fact=f"{fast} performance cores")
    return Reasoned(value=value, reason="a process's cores less its workers", fact=fact)


def choose_affinity(
    hardware: Hardware, device: Device, used: Sequence[Slot], local_processes: int
) -> Reasoned[tuple[str, ...]]:
    """Return a CPU list for each local process: those next to its device, split among the processes there."""
    nodes = {node.index: node for node in hardware.cpu.numa_nodes}
    if len(nodes) < 2:
        return default((), "the host has one NUMA node")
    if hardware.cpu.affinity is None:
        return default((), "the system does not say which CPUs may be used")
    allowed = set(hardware.cpu.affinity)
    near = {index: tuple(cpu for cpu in sorted(set(node.cpus)) if cpu in allowed) for index, node in nodes.items()}
    if device == "cpu":
        if local_processes < 2:
            return default((), "one process uses all NUMA nodes")
        places = [list(near)[rank * len(near) // local_processes] for rank in range(local_processes)]
        fact = f"{len(near)} NUMA nodes"
    else:
        given = [slot.accelerator.numa_node for slot in used]
        places = [place for place in given if place is not None and near.get(place)]
        if len(places) < len(given) or not places:
            return default((), "the NUMA node of a device is not known")
        fact = f"NUMA nodes of the devices: {' '.join(map(str, places))}"
    lists = []
    for rank, place in enumerate(places):
        sharing = places.count(place)
        turn = places[:rank].count(place)
        mine = _part(near[place], turn, sharing)
        if not mine:
            return default((), "fewer CPUs than processes on a NUMA node")
        lists.append(cpu_ranges(mine))
    return Reasoned(value=tuple(lists), reason="memory and device of a process are next to its CPUs", fact=fact)


def _part(cpus: Sequence[int], turn: int, sharing: int) -> list[int]:
    """Return one process's CPUs of a node: its part of each run of numbers.

    Most kernels number all first threads of a node's cores and then all second ones (0-55,112-167): splitting the
    list as one would give the two threads of a core to two processes.
    """
    mine: list[int] = []
    for start, stop in _runs(cpus):
        count = stop - start + 1
        mine.extend(range(start + turn * count // sharing, start + (turn + 1) * count // sharing))
    return mine


def _runs(cpus: Sequence[int]) -> list[tuple[int, int]]:
    """Return runs of increasing numbers as (first, last)."""
    runs: list[tuple[int, int]] = []
    for cpu in cpus:
        if runs and cpu == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], cpu)
        else:
            runs.append((cpu, cpu))
    return runs


def cpu_ranges(cpus: Sequence[int]) -> str:
    """Return increasing CPU numbers as the kernel writes them: 0, 1, 2, 8 gives `0-2,8`."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in _runs(cpus))


def choose_environment(
    hardware: Hardware,
    device: Device,
    used: Sequence[Slot],
    local_processes: int,
    machines: int,
    threads: Reasoned[int],
) -> dict[str, Reasoned[str]]:
    """Return the variables the processes need, by name. What the environment sets already is kept, with that as its reason."""
    wanted: dict[str, Reasoned[str]] = {
        "OMP_NUM_THREADS": Reasoned(
            value=str(threads.value), reason="torchrun would set 1", fact=threads.reason, origin=threads.origin
        )
    }
    if device == "cpu":
        reason = "without it several CPU processes are a world of one each, and one may find an accelerator"
        wanted["ACCELERATE_USE_CPU"] = default("true", reason)
    if device == "cuda":
        wanted.update(_cuda_variables(hardware, used))
    wanted.update(_visible_variables(hardware, device, used))
    if device in ("cuda", "rocm"):
        wanted.update(_p2p_variables(hardware, device, used))
    if machines > 1:
        wanted.update(_interface_variables(hardware, device))
    said = hardware.environment.variables
    kept = {"OMP_NUM_THREADS", "ACCELERATE_USE_CPU"}  # decided above, and a wrong one breaks the plan
    if device == "xpu" or (used and not used[0].device.part):
        kept |= {*_VISIBLE.values(), "CUDA_DEVICE_ORDER"}  # a subset of what the environment leaves visible
    return {
        name: Reasoned(value=said[name], reason="the environment sets it", fact=decision.reason, origin="environment")
        if name in said and name not in kept
        else decision
        for name, decision in wanted.items()
    }


def _cuda_variables(hardware: Hardware, used: Sequence[Slot]) -> dict[str, Reasoned[str]]:
    found: dict[str, Reasoned[str]] = {}
    if len({slot.device.name for slot in used}) > 1:
        reason = "CUDA would count the fastest GPU first, and shares belong to GPUs"
        found["CUDA_DEVICE_ORDER"] = Reasoned(value="PCI_BUS_ID", reason=reason, fact="the GPUs differ")
    if hardware.platform == "linux":
        reason = "less memory is lost where batches differ in length"
        found["PYTORCH_CUDA_ALLOC_CONF"] = default("expandable_segments:True", reason)
    return found


def _visible_variables(hardware: Hardware, device: Device, used: Sequence[Slot]) -> dict[str, Reasoned[str]]:
    """Return the variables that hide what is not used; none where a process counts the used ones first anyway."""
    if device not in _VISIBLE or not used:
        return {}
    places = [(one.index, one.part) for one in hardware.environment.visible if one.kind == device]
    mine = [(slot.device.index, slot.device.part) for slot in used]
    first = used[0].device
    if device == "cuda" and first.part:
        if any(mask.applied for mask in hardware.environment.masks):
            return {}
        reason = "names the MIG slice that is planned"
        return {_VISIBLE[device]: Reasoned(value=first.part, reason=reason, fact=first.name)}
    names = {one.name for one in hardware.accelerators if one.kind == device}
    is_partitioned = any(one.mig_slices for one in hardware.accelerators) and not hardware.environment.masks
    if not is_partitioned and mine == (places if len(names) > 1 else places[: len(mine)]):  # unequal: counted by speed
        return {}
    numbers = [str(places.index(place) if device == "xpu" else place[0]) for place in mine]
    if device == "cuda":
        numbers = [slot.device.uuid or number for slot, number in zip(used, numbers, strict=True)]
    fact = f"{device} {[index for index, _ in mine]} of {[index for index, _ in places]}"
    found = {_VISIBLE[device]: Reasoned(value=",".join(numbers), reason="leaves out what is not used", fact=fact)}
    if device == "cuda":
        found["CUDA_DEVICE_ORDER"] = Reasoned(value="PCI_BUS_ID", reason="numbers of GPUs are of this order", fact=fact)
    return found


def _p2p_variables(hardware: Hardware, device: Device, used: Sequence[Slot]) -> dict[str, Reasoned[str]]:
    refused = [one.name for one in hardware.accelerators if one.kind == device == "cuda" and "RTX 40" in one.name]
    driver = next((one.version for one in hardware.drivers if one.kind == "cuda"), None)
    if refused and len(hardware.accelerators) > 1 and driver is not None and _numbers(driver) < _P2P_DRIVER:
        reason = "Accelerate refuses to start without it, even one process"
        decision = Reasoned(value="1", reason=reason, fact=f"{refused[0]} beside another GPU, driver {driver}")
        return dict.fromkeys(("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"), decision)
    indices = {slot.device.index for slot in used}
    for link in hardware.links:
        if link.kind == device and link.p2p is False and len(used) > 1 and {link.first, link.second} <= indices:
            fact = f"{link.first} and {link.second}: {link.p2p_reason or 'no P2P'}"
            return {"NCCL_P2P_DISABLE": Reasoned(value="1", reason="collectives can hang without P2P", fact=fact)}
    return {}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _interface_variables(hardware: Hardware, device: Device) -> dict[str, Reasoned[str]]:
    usable = [one for one in hardware.network if one.up and not one.loopback and _routed(one) and _plain(one.name)]
    if not usable:
        return {}

    def speed(interface: NetworkInterface) -> int:
        return interface.speed_megabits_per_second or 0

    best = max(usable, key=speed)
    fact = f"{best.name}: {_routed(best)[0]}, {speed(best) or 'unknown'} Mbit/s"
    decision = Reasoned(
        value=best.name, reason="the fastest interface that is up; a hostname may be 127.0.0.1", fact=fact
    )
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if device in ("cuda", "rocm") else ("GLOO_SOCKET_IFNAME",)
    return dict.fromkeys(names, decision)


def _routed(interface: NetworkInterface) -> list[str]:
    """Return the addresses of an interface by which others reach it: none of a network of containers, none of a link."""
    if of_containers(interface.name):
        return []
    return [address for address in interface.addresses if not of_the_link(address)]


def of_containers(interface: str) -> bool:
    """Return whether an interface is of a network of containers of its host, as far as its name tells."""
    return interface.startswith(_OF_CONTAINERS)


def of_the_link(address: str) -> bool:
    """Return whether an address means something on one link only."""
    return address.lower().startswith(_OF_THE_LINK)


def _plain(name: str) -> bool:
    return name.isascii() and name.isprintable() and name != "" and " " not in name

"""The `Hardware` record: what a machine has and what limits it, to and from JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...training.common.json_records import from_json, to_json

SCHEMA_VERSION = 1
Kind = Literal["cuda", "rocm", "xpu", "mps", "npu", "hpu"]


@dataclass(frozen=True, kw_only=True)
class NumaNode:
    """A group of CPUs and the memory next to it."""

    index: int
    cpus: tuple[int, ...]
    memory_total_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """The processor, the limits on its use, and the CPUs that are left (`usable_cpus`, which may be 0.5)."""

    model: str
    architecture: str
    physical_cores: int | None
    logical_cores: int
    affinity: tuple[int, ...] | None  # None: the system does not say
    cgroup_quota_cpus: float | None  # the smallest of this cgroup and its ancestors
    slurm_cpus_per_task: int | None
    usable_cpus: float
    limited_by: Literal["logical cores", "affinity", "cgroup quota", "SLURM_CPUS_PER_TASK"]
    numa_nodes: tuple[NumaNode, ...]
    bf16: bool
    amx: bool
    avx512: bool
    performance_cores: int | None = None  # the fast ones of a hybrid CPU; None: all are alike


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Host memory, the smallest cgroup limit on it, and shared memory (`/dev/shm`)."""

    total_bytes: int
    available_bytes: int
    cgroup_limit_bytes: int | None
    cgroup_used_bytes: int | None  # by the cgroup with that limit, without file cache that can be dropped
    usable_bytes: int  # the smaller of the total and the cgroup limit
    limited_by: Literal["host", "cgroup limit"]
    shm_total_bytes: int | None
    shm_free_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class MigSlice:
    """One slice of a partitioned NVIDIA GPU; a process can use one slice at a time."""

    uuid: str
    name: str
    memory_total_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class DeviceProcess:
    """A process that holds memory on an accelerator."""

    pid: int
    memory_used_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One device; `index` counts within its kind. Precisions are those of the hardware, without emulation."""

    kind: Kind
    index: int
    name: str
    uuid: str | None
    pci_address: str | None
    memory_total_bytes: int | None  # None: not known, or shared with the host
    memory_free_bytes: int | None
    unified_memory: bool
    compute_capability: tuple[int, int] | None  # NVIDIA
    architecture: str | None  # AMD: gfx942
    bf16: bool
    fp16: bool
    fp8: bool
    tiles: int  # 2 where one card is two devices to torch (Intel Max 1550)
    mig_slices: tuple[MigSlice, ...]
    processes: tuple[DeviceProcess, ...]
    numa_node: int | None
    cores: int | None = None  # that compute float32: CUDA cores, stream processors
    clock_megahertz: int | None = None  # the fastest of these cores
    memory_gigabytes_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class Link:
    """The link between two accelerators of one kind, given by their indices."""

    kind: Kind
    first: int
    second: int
    type: Literal["nvlink", "xgmi", "pcie", "other"]
    topology: str | None  # nearest common ancestor: board, one switch, switches, host bridge, NUMA node, system
    lanes: int | None  # NVLink links between the GPUs, where the driver counts them
    p2p: bool | None  # None: not known
    p2p_reason: str | None  # why not


@dataclass(frozen=True, kw_only=True)
class Driver:
    """The driver of a kind of accelerators and, for NVIDIA, the newest CUDA that it supports."""

    kind: Kind
    version: str
    cuda_version: str | None


@dataclass(frozen=True, kw_only=True)
class TorchBuild:
    """The installed torch, and whether it can use this hardware; `problem` and `remedy` say why not and what to do."""

    version: str | None  # None: not installed
    kind: Literal["cuda", "rocm", "xpu", "mps", "cpu"] | None
    toolkit_version: str | None  # of CUDA, HIP or SYCL
    extensions: tuple[str, ...]  # torch_npu, habana_frameworks
    fits: bool
    problem: str | None
    remedy: str | None
    architectures: tuple[str, ...] = ()  # that it has code for (sm_90), where it was asked


@dataclass(frozen=True, kw_only=True)
class VisibleDevice:
    """A device that a process sees: an accelerator or a part of it (`part`: a MIG UUID, or `tile 1`)."""

    kind: Kind
    index: int
    part: str | None


@dataclass(frozen=True, kw_only=True)
class Mask:
    """An environment variable that hides devices; `note` says what is doubtful about it."""

    variable: str
    value: str
    applied: bool  # false where it applies to no device here
    note: str | None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Masks, the devices that they leave visible, and other variables that change a launch."""

    masks: tuple[Mask, ...]
    visible: tuple[VisibleDevice, ...]
    variables: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """A SLURM job; `place` is `allocation` in a shell of salloc, `batch` in a script of sbatch, `step` in a task of srun."""

    place: Literal["allocation", "batch", "step"]
    job_id: str
    node_list: str | None
    node_count: int | None
    node_rank: int | None
    task_count: int | None
    process_id: int | None
    local_id: int | None
    restart_count: int | None


@dataclass(frozen=True, kw_only=True)
class Torchrun:
    """The torchrun that started this process as a worker."""

    run_id: str
    rank: int | None
    local_rank: int | None
    world_size: int | None


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """The pod of this process; `completion_index` is its number in an indexed Job."""

    pod: str | None
    completion_index: int | None


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """What started this process, as far as the environment says; there can be several."""

    slurm: Slurm | None
    torchrun: Torchrun | None
    kubernetes: Kubernetes | None


@dataclass(frozen=True, kw_only=True)
class NetworkInterface:
    """A network interface with its IPv4 and IPv6 addresses."""

    name: str
    addresses: tuple[str, ...]
    up: bool
    loopback: bool
    speed_megabits_per_second: int | None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A probe that could not answer, and why. What it looks for is missing from the record."""

    probe: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A machine, as a process on it sees it."""

    schema_version: int
    hostname: str | None
    platform: str  # as `sys.platform`: linux, darwin, win32
    cpu: Cpu
    memory: Memory
    accelerators: tuple[Accelerator, ...]
    links: tuple[Link, ...]
    drivers: tuple[Driver, ...]
    torch: TorchBuild
    environment: Environment
    scheduler: Scheduler
    network: tuple[NetworkInterface, ...]
    faults: tuple[Fault, ...]
    note: str = ""  # of the person who wrote the record

    def to_json(self) -> str:
        """Return the record as JSON text that `from_json` turns into an equal record."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str, where: str = "hardware") -> Hardware:
        """Return the record written in `text`; `where` (a file) begins the message of a `UserError`."""
        return from_json(cls, SCHEMA_VERSION, text, where, remake="slipway detect --json")

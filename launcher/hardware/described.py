"""A machine in words, `4 x L40S, 64 cores, 512 GB`, as a `Hardware` record: for a plan of what one does not have yet."""

from __future__ import annotations

import re

from ...training.common.errors import UserError, nearest
from .record import (
    SCHEMA_VERSION,
    Accelerator,
    Cpu,
    Environment,
    Hardware,
    Kind,
    Memory,
    Scheduler,
    TorchBuild,
    VisibleDevice,
)

_GIB = 1 << 30
_MOST_DEVICES, _MOST_CORES, _MOST_GIB = 64, 4096, 1 << 17
_NVIDIA: dict[str, tuple[float, tuple[int, int]]] = {  # what of the memory a driver leaves in GiB, compute capability
    "B300": (268, (10, 3)),
    "B200": (179, (10, 0)),
    "H200": (139.8, (9, 0)),
    "H100": (79.6, (9, 0)),
    "A100": (79.2, (8, 0)),
    "A30": (23.6, (8, 0)),
    "A40": (44.4, (8, 6)),
    "A10": (22.5, (8, 6)),
    "A10G": (22.5, (8, 6)),
    "L40S": (44.4, (8, 9)),
    "L40": (44.4, (8, 9)),
    "L4": (22.5, (8, 9)),
    "T4": (14.6, (7, 5)),
    "V100": (15.8, (7, 0)),
    "P100": (15.9, (6, 0)),
    "RTX A6000": (47.5, (8, 6)),
    "RTX 6000 Ada": (47.5, (8, 9)),
    "RTX 5090": (31.8, (12, 0)),
    "RTX 5080": (15.9, (12, 0)),
    "RTX 5070 Ti": (15.9, (12, 0)),
    "RTX 4090": (24, (8, 9)),
    "RTX 4080": (16, (8, 9)),
    "RTX 4070": (12, (8, 9)),
    "RTX 4060": (8, (8, 9)),
    "RTX 3090": (24, (8, 6)),
    "RTX 3080": (10, (8, 6)),
    "RTX 3070": (8, (8, 6)),
    "RTX 3060": (12, (8, 6)),
    "RTX 2080 Ti": (11, (7, 5)),
    "GTX 1660": (6, (7, 5)),
    "GTX 1080 Ti": (11, (6, 1)),
}
_OTHERS: dict[str, tuple[Kind, float, bool]] = {  # kind, GiB, fp8
    "MI325X": ("rocm", 256, True),
    "MI300X": ("rocm", 192, True),
    "RX 7900 XTX": ("rocm", 24, False),
    "Gaudi 2": ("hpu", 96, True),
    "Gaudi 3": ("hpu", 128, True),
    "Arc A770": ("xpu", 16, False),
}
_MAKERS = r"(?:nvidia|amd|intel|geforce|radeon|tesla|instinct|quadro)\s+"
_NAMES = {re.sub(r"\W", "", name).lower(): name for name in (*_NVIDIA, *_OTHERS)}
_NAMES |= {key.removeprefix("rtx").removeprefix("gtx"): name for key, name in _NAMES.items()}
_EXAMPLE = '"4 x L40S, 64 cores, 512 GB"'


def described(words: str) -> Hardware:
    """Return the machine that `words` describe: devices, physical cores and host memory, each between commas.

    What words do not tell is taken as harmless: one NUMA node, no limits, no links, a torch that serves the devices.
    Raises `UserError` with all faults at once.
    """
    faults: list[str] = []
    devices: list[Accelerator] = []
    amounts: dict[str, float] = {}
    for part in filter(None, (one.strip() for one in words.split(","))):
        if found := re.fullmatch(r"(\d{1,9})\s*cores?", part, re.IGNORECASE):
            _set(amounts, "cores", float(found[1]), part, faults)
        elif found := re.fullmatch(
            r"(\d{1,9}(?:\.\d{1,3})?)\s*(g|t)i?b(?:\s+(?:of\s+)?(?:ram|memory))?", part, re.IGNORECASE
        ):
            _set(amounts, "GB", float(found[1]) * (1024 if found[2].lower() == "t" else 1), part, faults)
        else:
            devices += _devices(part, devices, faults)
    for name, most in (("cores", _MOST_CORES), ("GB", _MOST_GIB)):
        if name not in amounts:
            faults.append(
                f"{'the cores' if name == 'cores' else 'the memory of the host'} are missing: add `, 64 {name}`"
            )
        elif not 1 <= amounts[name] <= most:
            faults.append(f"{amounts[name]:g} {name}: must be from 1 to {most:,}")
    if len(devices) > _MOST_DEVICES:
        faults.append(f"{len(devices)} devices: a machine has at most {_MOST_DEVICES}; --num-machines is for several")
    if faults:
        raise UserError(f"--machine: {'; '.join(faults)}; as in {_EXAMPLE}")
    return _machine(tuple(devices), int(amounts["cores"]), int(amounts["GB"] * _GIB))


def _set(amounts: dict[str, float], name: str, value: float, part: str, faults: list[str]) -> None:
    if name in amounts:
        faults.append(f"{part}: {name} are there twice")
    amounts[name] = value


def _devices(part: str, before: list[Accelerator], faults: list[str]) -> list[Accelerator]:
    """Return the devices of one part, `4 x A100 40GB`, numbered after those `before`; a fault where it is none."""
    found = re.fullmatch(r"(?:(\d{1,4})\s*(?:x|\u00d7|\*)\s*)?(.*?)(?:[\s-]+(\d{1,4})\s*gi?b)?", part, re.IGNORECASE)
    count = int(found[1] or 1) if found else 1
    said = re.sub(_MAKERS, "", found[2] if found else part, flags=re.IGNORECASE)
    name = _NAMES.get(re.sub(r"\W", "", said).lower())
    if name is None or found is None:
        faults.append(f"{part!r} is no device that is known here{nearest(said, (*_NVIDIA, *_OTHERS))}")
        return []
    if not 1 <= count <= _MOST_DEVICES:
        faults.append(f"{part}: must be from 1 to {_MOST_DEVICES} devices")
        return []
    kind, capability, memory, has_fp8 = _facts(name)
    total = int((float(found[3]) if found[3] else memory) * _GIB)
    first = sum(one.kind == kind for one in before)
    return [
        Accelerator(
            kind=kind,
            index=first + number,
            name=name,
            uuid=None,
            pci_address=None,
            memory_total_bytes=total,
            memory_free_bytes=total,
            unified_memory=False,
            compute_capability=capability,
            architecture=None,
            bf16=capability is None or capability >= (8, 0),
            fp16=True,
            fp8=has_fp8,
            tiles=1,
            mig_slices=(),
            processes=(),
            numa_node=None,
        )
        for number in range(count)
    ]


def _facts(name: str) -> tuple[Kind, tuple[int, int] | None, float, bool]:
    if name in _NVIDIA:
        memory, capability = _NVIDIA[name]
        return "cuda", capability, memory, capability >= (8, 9)
    kind, memory, has_fp8 = _OTHERS[name]
    return kind, None, memory, has_fp8


def _machine(devices: tuple[Accelerator, ...], cores: int, memory: int) -> Hardware:
    kind = devices[0].kind if devices else None
    oldest = min((one.compute_capability for one in devices if one.compute_capability), default=(9, 0))
    toolkit = ("12.6" if oldest < (7, 5) else "13.0") if kind == "cuda" else None
    return Hardware(
        schema_version=SCHEMA_VERSION,
        hostname=None,
        platform="linux",
        cpu=Cpu(
            model=f"{cores} cores",
            architecture="x86_64",
            physical_cores=cores,
            logical_cores=cores,
            affinity=None,
            cgroup_quota_cpus=None,
            slurm_cpus_per_task=None,
            usable_cpus=float(cores),
            limited_by="logical cores",
            numa_nodes=(),
            bf16=False,
            amx=False,
            avx512=False,
        ),
        memory=Memory(
            total_bytes=memory,
            available_bytes=memory,
            cgroup_limit_bytes=None,
            cgroup_used_bytes=None,
            usable_bytes=memory,
            limited_by="host",
            shm_total_bytes=None,
            shm_free_bytes=None,
        ),
        accelerators=devices,
        links=(),
        drivers=(),
        torch=TorchBuild(
            version="for these devices",
            kind=kind if kind in ("cuda", "rocm", "xpu") else "cpu",
            toolkit_version=toolkit,
            extensions=("habana_frameworks",) if kind == "hpu" else (),
            fits=True,
            problem=None,
            remedy=None,
        ),
        environment=Environment(
            masks=(),
            visible=tuple(VisibleDevice(kind=one.kind, index=one.index, part=None) for one in devices),
            variables={},
        ),
        scheduler=Scheduler(slurm=None, torchrun=None, kubernetes=None),
        network=(),
        faults=(),
    )

"""A machine in words, `4 x L40S, 64 cores, 512 GB`, as a `Hardware` record: for a plan of what one does not have yet."""

from __future__ import annotations

import re

from ...training.common.errors import UserError, nearest
from ...training.common.known_devices import KNOWN_DEVICES
from .record import (
    SCHEMA_VERSION,
    Accelerator,
    Cpu,
    Environment,
    Hardware,
    Memory,
    Scheduler,
    TorchBuild,
    VisibleDevice,
)

_GIB = 1 << 30
_MOST_DEVICES, _MOST_CORES, _MOST_GIB = 64, 4096, 1 << 17
_MAKERS = r"(?:nvidia|amd|intel|geforce|radeon|tesla|instinct|quadro)\s+"
_NAMES = {re.sub(r"\W", "", row.name).lower(): row for row in KNOWN_DEVICES}
_NAMES |= {key.removeprefix("rtx").removeprefix("gtx"): row for key, row in _NAMES.items()}
_FP8 = {"MI300X", "MI300A", "MI325X", "MI355X", "RX 9070", "RX 9070 XT", "Gaudi 2", "Gaudi 3"}
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
    words = re.sub(r"\W", "", said).lower()
    row = _NAMES.get(f"{words}{found[3]}gb" if found and found[3] else words) or _NAMES.get(words)
    if row is None or found is None:
        faults.append(f"{part!r} is no device that is known here{nearest(said, (row.name for row in KNOWN_DEVICES))}")
        return []
    if not 1 <= count <= _MOST_DEVICES:
        faults.append(f"{part}: must be from 1 to {_MOST_DEVICES} devices")
        return []
    capability = row.architecture if isinstance(row.architecture, tuple) else None
    total = int((float(found[3]) if found[3] else row.memory) * _GIB)
    first = sum(one.kind == row.kind for one in before)
    return [
        Accelerator(
            kind=row.kind,
            index=first + number,
            name=row.name,
            uuid=None,
            pci_address=None,
            memory_total_bytes=total,
            memory_free_bytes=total,
            unified_memory=False,
            compute_capability=capability,
            architecture=row.architecture if isinstance(row.architecture, str) else None,
            bf16=capability is None or capability >= (8, 0),
            fp16=True,
            fp8=capability >= (8, 9) if capability else row.name in _FP8,
            tiles=1,
            mig_slices=(),
            processes=(),
            numa_node=None,
        )
        for number in range(count)
    ]


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

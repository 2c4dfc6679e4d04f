"""Probe the environment variables: masks that hide devices, the devices left visible, others that change a launch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..record import Accelerator, Environment, Kind, Mask, VisibleDevice
from .accelerators import gaudi
from .sources import Sources, to_integer

# SLURM sets the masks of all vendors at once, so a mask does not tell which devices are here.
_MASKS = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
    "ASCEND_RT_VISIBLE_DEVICES",
    "HABANA_VISIBLE_DEVICES",
    "HABANA_VISIBLE_MODULES",
)
# Variables that change a launch. No others are recorded, since an environment can hold secrets.
_VARIABLES = (
    "ACCELERATE_CONFIG_FILE",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    "ACCELERATE_MIXED_PRECISION",
    "ACCELERATE_USE_CPU",
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_USE_FSDP",
    "CUDA_DEVICE_ORDER",
    "CUDA_LAUNCH_BLOCKING",
    "GLOO_SOCKET_IFNAME",
    "GROUP_RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "MKL_NUM_THREADS",
    "NCCL_DEBUG",
    "NCCL_IB_DISABLE",
    "NCCL_P2P_DISABLE",
    "NCCL_P2P_LEVEL",
    "NCCL_SHM_DISABLE",
    "NCCL_SOCKET_IFNAME",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PET_NNODES",
    "PET_NPROC_PER_NODE",
    "PET_RDZV_ENDPOINT",
    "PET_RDZV_ID",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ENABLE_MPS_FALLBACK",
    "RANK",
    "TORCHELASTIC_RUN_ID",
    "TORCH_DEVICE_BACKEND_AUTOLOAD",
    "WORLD_SIZE",
    "ZE_FLAT_DEVICE_HIERARCHY",
)

_Resolved = tuple[tuple[VisibleDevice, ...], dict[str, str | None]]  # devices; notes by variable


def detect(sources: Sources, accelerators: Sequence[Accelerator]) -> Environment:
    """Return the masks in a fixed order, and the visible devices in the order in which a process counts them."""
    visible: list[VisibleDevice] = []
    notes: dict[str, str | None] = {}
    for kind in dict.fromkeys(accelerator.kind for accelerator in accelerators):
        devices = tuple(accelerator for accelerator in accelerators if accelerator.kind == kind)
        resolved, applied = _RESOLVERS[kind](sources, devices)
        visible.extend(resolved)
        notes.update(applied)
    masks = tuple(
        Mask(variable=name, value=sources.environ[name], applied=name in notes, note=notes.get(name))
        for name in _MASKS
        if name in sources.environ
    )
    variables = {name: sources.environ[name] for name in _VARIABLES if name in sources.environ}
    return Environment(masks=masks, visible=tuple(visible), variables=variables)


def _whole_device(accelerator: Accelerator) -> VisibleDevice:
    return VisibleDevice(kind=accelerator.kind, index=accelerator.index, part=None)


def _cuda(sources: Sources, devices: Sequence[Accelerator]) -> _Resolved:
    value = sources.environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return _without_second_slice(devices), {}
    chosen, note = _choose(value, devices)
    unequal = len({device.name for device in devices}) > 1
    if unequal and _has_ordinals(value) and sources.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        note = (
            "the GPUs differ, and CUDA counts the fastest first while this list is in PCI order: "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID or name UUIDs"
        )
    return chosen, {"CUDA_VISIBLE_DEVICES": note}


def _without_second_slice(devices: Sequence[Accelerator]) -> tuple[VisibleDevice, ...]:
    """Return the whole GPUs; where all have MIG the first slice, since a process sees no more (NVIDIA's MIG guide)."""
    whole = tuple(_whole_device(device) for device in devices if not device.mig_slices)
    return whole or tuple(
        VisibleDevice(kind="cuda", index=device.index, part=device.mig_slices[0].uuid) for device in devices[:1]
    )


def _has_ordinals(value: str) -> bool:
    return value.strip()[:1].isdigit()


def _choose(value: str, devices: Sequence[Accelerator]) -> tuple[tuple[VisibleDevice, ...], str | None]:
    """Return the devices that a list of ordinals or UUIDs leaves visible, as CUDA reads it, and what is wrong with it.

    Entries after one that names no device do not count, and a device named twice leaves none visible. A UUID can be
    shortened while it is unique. `0,2` leaves devices 0 and 2, `1,7,0` of two devices leaves 1, `-1` leaves none.
    """
    chosen: list[VisibleDevice] = []
    for entry in (part.strip() for part in value.split(",")) if value.strip() else ():
        device = _named(entry, devices)
        if device is None:
            wrong = None if entry == "-1" else f"{entry!r} names no device here; it and what follows are not visible"
            return tuple(chosen), wrong
        if device in chosen:
            return (), f"{entry!r} comes twice, which leaves no device at all"
        chosen.append(device)
    slices = [device for device in chosen if device.part]
    if slices and len(chosen) > 1:
        return (slices[0],), "a process sees one MIG slice only, here the first"
    return tuple(chosen), None


def _named(entry: str, devices: Sequence[Accelerator]) -> VisibleDevice | None:
    if entry.startswith("MIG-"):
        slices = [(device, part) for device in devices for part in device.mig_slices if part.uuid.startswith(entry)]
        if len(slices) != 1:
            return None
        device, part = slices[0]
        return VisibleDevice(kind=device.kind, index=device.index, part=part.uuid)
    if entry.startswith("GPU-"):
        named = [device for device in devices if device.uuid and device.uuid.lower().startswith(entry.lower())]
        return _whole_device(named[0]) if len(named) == 1 else None
    digits = re.match(r"\d+", entry)  # as C's strtoul: `1gpu` is 1
    ordinal = int(digits[0]) if digits else -1
    if not 0 <= ordinal < len(devices):
        return None
    device = devices[ordinal]
    part_uuid = device.mig_slices[0].uuid if device.mig_slices else None
    return VisibleDevice(kind=device.kind, index=device.index, part=part_uuid)


def _rocm(sources: Sources, devices: Sequence[Accelerator]) -> _Resolved:
    """Apply ROCR's list, then HIP's (else CUDA's, which HIP reads too) to the devices that are left."""
    left = tuple(devices)
    notes: dict[str, str | None] = {}
    hip = "HIP_VISIBLE_DEVICES" if sources.environ.get("HIP_VISIBLE_DEVICES") else "CUDA_VISIBLE_DEVICES"
    for variable in ("ROCR_VISIBLE_DEVICES", hip):
        value = sources.environ.get(variable)
        if value is not None:
            chosen, notes[variable] = _choose(value, left)
            left = tuple(next(device for device in left if device.index == one.index) for one in chosen)
    return tuple(map(_whole_device, left)), notes


def _xpu(sources: Sources, devices: Sequence[Accelerator]) -> _Resolved:
    """Apply Level Zero's mask. It counts tiles (FLAT, the default) or cards (COMPOSITE; `1.0` is tile 0 of card 1)."""
    flat = sources.environ.get("ZE_FLAT_DEVICE_HIERARCHY", "FLAT").upper() != "COMPOSITE"
    units = [
        VisibleDevice(kind="xpu", index=device.index, part=f"tile {tile}" if flat and device.tiles > 1 else None)
        for device in devices
        for tile in range(device.tiles if flat else 1)
    ]
    value = sources.environ.get("ZE_AFFINITY_MASK")
    if not value:
        return tuple(units), {}
    chosen: list[VisibleDevice] = []
    note = None
    for entry in filter(None, (part.strip() for part in value.split(","))):
        number, _, tile = entry.partition(".")
        ordinal = to_integer(number)
        if ordinal is None or not 0 <= ordinal < len(units):
            note = f"{entry!r} names no device here"
        elif tile and not flat:
            chosen.append(VisibleDevice(kind="xpu", index=units[ordinal].index, part=f"tile {tile}"))
        else:
            chosen.append(units[ordinal])
    # Level Zero keeps its order, whatever the order of the list.
    return tuple(sorted(set(chosen), key=lambda one: (one.index, one.part or ""))), {"ZE_AFFINITY_MASK": note}


def _listed(variable: str) -> Callable[..., _Resolved]:
    """Return the function for a vendor whose one variable is a list of ordinals, or `all`."""

    def resolve(sources: Sources, devices: Sequence[Accelerator]) -> _Resolved:
        value = sources.environ.get(variable)
        if value is None:
            return tuple(map(_whole_device, devices)), {}
        chosen, note = (tuple(map(_whole_device, devices)), None) if value == "all" else _choose(value, devices)
        return chosen, {variable: note}

    return resolve


def _hpu(sources: Sources, devices: Sequence[Accelerator]) -> _Resolved:
    """Apply what the container runtime has mounted, by the driver's numbers, then what a process may take, by module ids."""
    mounted, notes = _listed("HABANA_VISIBLE_DEVICES")(sources, devices)
    value = sources.environ.get("HABANA_VISIBLE_MODULES")
    if not value:
        return mounted, notes
    ids = dict(enumerate(gaudi.module_ids(sources)))
    by_module = {}
    for seen in mounted:
        module = ids.get(seen.index)
        by_module[str(seen.index if module is None else module)] = seen
    entries = [entry.strip() for entry in value.split(",")]
    wrong = [repr(entry) for entry in entries if entry not in by_module]
    note = f"{', '.join(wrong)} names no module here" if wrong else None
    chosen = dict.fromkeys(by_module[entry] for entry in entries if entry in by_module)
    return tuple(chosen), {**notes, "HABANA_VISIBLE_MODULES": note}


_RESOLVERS: dict[Kind, Callable[..., _Resolved]] = {
    "cuda": _cuda,
    "rocm": _rocm,
    "xpu": _xpu,
    "mps": lambda _, devices: (tuple(map(_whole_device, devices)), {}),
    "npu": _listed("ASCEND_RT_VISIBLE_DEVICES"),
    "hpu": _hpu,
}

"""What follows from the known parts of a machine's record: from a name, a number of cores, a size. Pure."""

from __future__ import annotations

import dataclasses
import math
import re
from itertools import combinations
from pathlib import Path
from typing import Any, get_args, get_origin

from ...training.common.conversion import field_types
from ...training.common.known_devices import KnownDevice, known_device, words_of
from .precisions import native_precisions
from .probes import environment
from .probes.accelerators.nvidia import NO_P2P_NAME
from .probes.cpu import usable_cpus
from .probes.sources import Sources
from .record import Accelerator, Kind

_GIB = 1 << 30
_NOWHERE = Path("/nonexistent")  # files of this machine say nothing about another
_BUILDS = {"cu": "cuda", "rocm": "rocm", "xpu": "xpu", "cpu": "cpu"}
_EXTENSIONS = {"npu": "torch_npu", "hpu": "habana_frameworks"}
_MADE_BY: tuple[tuple[str, Kind], ...] = (
    ("apple", "mps"),
    ("ascend", "npu"),
    ("gaudi", "hpu"),
    ("nvidia", "cuda"),
    ("geforce", "cuda"),
    ("amd", "rocm"),
)
_UNIFIED = (("GB10", (12, 1)), ("THOR", (11, 0)), ("ORIN", (8, 7)), ("XAVIER", (7, 2)))  # their memory is the host's
Part = dict[str, Any]


def complete_accelerator(one: Part, kinds: dict[str, int]) -> None:
    """Add what follows from the name of a device; `kinds` counts those before it."""
    name = one["name"]
    known = known_device(name)
    kind: Kind = one.get("kind") or kind_of(one) or "cuda"
    one["kind"] = kind
    one.setdefault("index", kinds.get(kind, 0))
    kinds[kind] = kinds.get(kind, 0) + 1
    architecture = known.architecture if known else None
    one.setdefault("compute_capability", capability_of(one))
    one.setdefault("architecture", architecture if isinstance(architecture, str) else None)
    is_hosts = kind == "mps" or (known is None and _unified(name) is not None)
    one.setdefault("unified_memory", is_hosts and one.get("memory_total_bytes") is None)
    own = None if one["unified_memory"] else _memory_of(name, known)
    one.setdefault("memory_total_bytes", own)
    used = [process.get("memory_used_bytes") or 0 for process in one.get("processes", [])]
    total = one["memory_total_bytes"]
    one.setdefault("memory_free_bytes", None if total is None else max(0, total - sum(used)))
    capability = one["compute_capability"]
    native = native_precisions(kind, name, tuple(capability) if capability else None, one["architecture"])
    for precision, has in native._asdict().items():
        one.setdefault(precision, has)
    one.setdefault("tiles", 2 if known and known.name == "Max 1550" else 1)
    for place, piece in enumerate(one.get("mig_slices", [])):
        piece.setdefault("name", f"{name} MIG")
        piece.setdefault("uuid", f"MIG-UUID-{one['index']}-{place}")
        profile = re.search(r"\.(\d{1,4})gb", piece["name"], re.IGNORECASE)
        piece.setdefault("memory_total_bytes", int(profile[1]) * _GIB if profile else None)


def _unified(name: str) -> tuple[int, int] | None:
    """Return the compute capability of an NVIDIA GPU that has the memory of its host; None for others."""
    return next((capability for word, capability in _UNIFIED if word in words_of(name)), None)


def capability_of(one: Part) -> list[int] | None:
    """Return the compute capability of an accelerator: what is written, if it is one, else that of the device of its name."""
    if isinstance(one.get("compute_capability"), list | tuple):
        return list(one["compute_capability"])
    known = known_device(one["name"])
    found = known.architecture if known else _unified(one["name"])
    return list(found) if isinstance(found, tuple) else None


def kind_of(one: Part) -> Kind | None:
    """Return the kind of an accelerator by its name and architecture; None where they do not tell."""
    known = known_device(one["name"])
    if known is not None:
        return known.kind
    if capability_of(one) is not None:
        return "cuda"
    if str(one.get("architecture")).startswith("gfx"):
        return "rocm"
    return next((kind for maker, kind in _MADE_BY if maker in one["name"].lower()), None)


def _memory_of(name: str, known: KnownDevice | None) -> int | None:
    """Return the memory that a name tells, as `V100-SXM2-32GB`, else that of the table. A GH200 is named by its host's."""
    said = re.search(r"\b(\d{1,4})GB\b", name)
    if said and "GH200" not in name:
        return int(said[1]) * _GIB
    return int(known.memory * _GIB) if known else None


def complete_cpu(cpu: Part, platform: str, num_nodes: int | None) -> None:
    """Add what follows from the cores, with as many NUMA nodes of equal size where `num_nodes` says so."""
    nodes = cpu.get("numa_nodes", [])
    counted = [*(one for node in nodes for one in node.get("cpus", [])), *(cpu.get("affinity") or [])]
    known = [cpu.get("logical_cores"), max(counted) + 1 if counted else None, cpu.get("physical_cores")]
    least = max(1, math.ceil(cpu.get("usable_cpus", 1)))
    logical = cpu.setdefault("logical_cores", next(filter(None, known), least))
    cpu.setdefault("physical_cores", None)
    if num_nodes is not None:
        cpu["numa_nodes"] = _equal_nodes(logical, cpu["physical_cores"] or logical, num_nodes)
    for index, node in enumerate(nodes):
        node.setdefault("index", index)
    cpu.setdefault("model", f"{cpu['physical_cores'] or logical} cores")
    cpu.setdefault("architecture", "arm64" if platform == "darwin" else "x86_64")
    cpu.setdefault("affinity", None if platform == "darwin" else list(range(logical)))
    affinity = cpu["affinity"]
    usable, limited_by = usable_cpus(
        logical,
        None if affinity is None else frozenset(affinity),
        cpu.get("cgroup_quota_cpus"),
        cpu.get("slurm_cpus_per_task"),
    )
    if cpu.setdefault("usable_cpus", usable) < usable:
        limited_by = "cgroup quota"
    cpu.setdefault("limited_by", limited_by)


def _equal_nodes(logical: int, physical: int, count: int) -> list[Part]:
    """Return NUMA nodes of as many cores each; Linux numbers first the first threads of all cores, then the second ones."""
    threads = max(1, logical // physical)
    return [
        {
            "index": node,
            "cpus": [
                thread * physical + core
                for thread in range(threads)
                for core in range(node * physical // count, (node + 1) * physical // count)
            ],
            "memory_total_bytes": None,
        }
        for node in range(count)
    ]


def complete_memory(memory: Part) -> None:
    """Add what follows from the size of the memory and a limit on it."""
    total = memory["total_bytes"]
    limit = memory.get("cgroup_limit_bytes")
    is_limited = limit is not None and limit < total
    memory.setdefault("available_bytes", total)
    memory.setdefault("usable_bytes", limit if is_limited else total)
    memory.setdefault("limited_by", "cgroup limit" if is_limited else "host")


def complete_software(data: Part, devices: list[Part], faults: list[str]) -> None:
    """Add drivers, the torch that serves the devices or that a version names, scheduler and network."""
    for part in ("torch", "scheduler"):
        data.setdefault(part, {})
    for driver in data.setdefault("drivers", []):
        driver.setdefault("kind", devices[0]["kind"] if devices else "cuda")
    torch = data["torch"]
    if "version" not in torch:
        for key, value in build_for([(one["kind"], one["compute_capability"]) for one in devices]).items():
            torch.setdefault(key, value)
    elif torch["version"] is not None:
        found = re.search(r"\+(cu|rocm|xpu|cpu)([\d.]*)", torch["version"])
        toolkit = None if found is None or not found[2] else found[2]
        if found and found[1] == "cu" and toolkit:
            toolkit = f"{toolkit[:-1]}.{toolkit[-1]}"
        kind = _BUILDS[found[1]] if found else "mps" if data["platform"] == "darwin" else None
        if torch.setdefault("kind", kind) is None:
            faults.append(f"torch.kind is missing: nothing in {torch['version']!r:.40} tells it, as +cu128 would")
        torch.setdefault("toolkit_version", toolkit)
    for key in ("fits", "problem", "remedy"):
        torch.setdefault(key, True if key == "fits" else None)
    if (slurm := data["scheduler"].get("slurm")) is not None:
        slurm.setdefault("place", "step")
        slurm.setdefault("job_id", "unknown")
    for interface in data.get("network", []):
        interface.setdefault("up", True)


def build_for(devices: list[tuple[str, Any]]) -> Part:
    """Return a torch that serves devices, given as kinds and compute capabilities."""
    kind = devices[0][0] if devices else "cpu"
    capabilities = [tuple(capability) for _, capability in devices if capability] or [(9, 0)]
    old = "12.8" if max(capabilities) >= (10, 0) else "12.6"  # CUDA 13 begins with Turing
    return {
        "version": "for these devices",
        "kind": kind if kind in ("cuda", "rocm", "xpu", "mps") else "cpu",
        "toolkit_version": (old if min(capabilities) < (7, 5) else "13.0") if kind == "cuda" else None,
        "extensions": [_EXTENSIONS[kind]] if kind in _EXTENSIONS else [],
    }


def fill(cls: type, data: Part, path: str, faults: list[str]) -> None:
    """Give each missing key the value that says nothing: null, false, an empty list; a key that has none is a fault."""
    for field in dataclasses.fields(cls):
        annotation = field_types(cls)[field.name]
        place = f"{path}.{field.name}" if path else field.name
        arguments = get_args(annotation)
        if field.name not in data:
            if field.name == "links":
                continue
            if type(None) in arguments or annotation is bool:
                data[field.name] = None if type(None) in arguments else False
            elif get_origin(annotation) in (tuple, dict):
                data[field.name] = [] if get_origin(annotation) is tuple else {}
            elif field.default is dataclasses.MISSING:
                faults.append(f"{place} is missing")
            continue
        value = data[field.name]
        inner = next((one for one in (annotation, *arguments) if dataclasses.is_dataclass(one)), None)
        for number, one in enumerate(value if isinstance(value, list) else [value]):
            if inner is not None and isinstance(one, dict) and field.name != "links":
                fill(inner, one, f"{place}[{number}]" if isinstance(value, list) else place, faults)  # type: ignore[arg-type]


def complete_links(given: list[Part], accelerators: tuple[Accelerator, ...]) -> list[Part]:
    """Return links with all their keys; one without ends is that of every two devices of its kind."""
    found = []
    for link in given:
        kind = link.get("kind") or (accelerators[0].kind if accelerators else "cuda")
        pairs = (
            [(link["first"], link["second"])] if "first" in link and "second" in link else _pairs(accelerators, kind)
        )
        joined = link.get("type") in ("nvlink", "xgmi")
        p2p = {"type": "pcie", "topology": None, "lanes": None, "p2p": joined or None, "p2p_reason": None}
        found += [{**p2p, **link, "kind": kind, "first": first, "second": second} for first, second in pairs]
    return found


def _pairs(accelerators: tuple[Accelerator, ...], kind: str) -> list[tuple[int, int]]:
    return list(combinations([one.index for one in accelerators if one.kind == kind], 2))


def links_by_name(accelerators: tuple[Accelerator, ...]) -> list[Part]:
    """Return the links that the names of devices tell: none of GeForce RTX 40 and 50 has P2P."""
    without = {one.index: one.name for one in accelerators if one.kind == "cuda" and NO_P2P_NAME.search(one.name)}
    return [
        link
        for pair in _pairs(accelerators, "cuda")
        if (name := without.get(pair[0]) or without.get(pair[1]))
        for link in complete_links(
            [{"first": pair[0], "second": pair[1], "p2p": False, "p2p_reason": f"{name} has no P2P"}], accelerators
        )
    ]


def complete_environment(data: Part, platform: str, accelerators: tuple[Accelerator, ...]) -> None:
    """Work out which devices the variables leave visible."""
    variables = {**data["variables"], **{mask["variable"]: mask.get("value") or "" for mask in data["masks"]}}
    found = environment.detect(Sources(root=_NOWHERE, environ=variables, platform=platform), accelerators)
    masked = {mask.variable for mask in found.masks}
    data["masks"] = [dataclasses.asdict(mask) for mask in found.masks]
    data["visible"] = [dataclasses.asdict(one) for one in found.visible]
    data["variables"] = {name: value for name, value in variables.items() if name not in masked}

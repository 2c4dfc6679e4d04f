"""A machine's record as a person writes it: with what is known, from which the rest follows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from ...training.common.conversion import from_mapping
from ...training.common.errors import UserError
from ...training.common.json_records import read_record
from .derived import (
    Part,
    capability_of,
    complete_accelerator,
    complete_cpu,
    complete_environment,
    complete_links,
    complete_memory,
    complete_software,
    fill,
    kind_of,
    links_by_name,
)
from .probes.sources import cpu_list
from .probes.torch_build import find_problem
from .record import SCHEMA_VERSION, Accelerator, Hardware
from .record_faults import contradictions, wrong_parts

_MOST_SHOWN = 20
_MOST_DEVICES = 1024
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?)i?b", re.IGNORECASE)
_CPUS = re.compile(r"\d{1,5}(-\d{1,5})?(\s*,\s*\d{1,5}(-\d{1,5})?)*")
_NUMBERS = (
    "physical_cores",
    "logical_cores",
    "performance_cores",
    "usable_cpus",
    "numa_nodes",
    "numa_node",
    "count",
    "tiles",
)
"""Keys of whole numbers, which people also write in quotes."""
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def read_hardware(text: str, where: str) -> Hardware:
    """Return the record that `text` holds, with all that follows from it; `where` (a file) begins the message of an error.

    Raises `UserError` that names all faults at once: unknown keys, wrong values, and what nothing tells.
    """
    data = read_record(SCHEMA_VERSION, text, where, remake="slipway detect --json")
    faults: list[str] = []
    plain = _plain(data, "")
    shorthand = _taken_out(plain, faults) if isinstance(plain, dict) else _Shorthand()
    faults += wrong_parts(Hardware, plain)
    if isinstance(plain, dict):
        faults += _missing(plain)
    if not faults:
        _complete(plain, shorthand, faults)
    if not faults:
        hardware = from_mapping(Hardware, plain, where)
        faults += contradictions(hardware)
    if faults:
        more = f"; and {len(faults) - _MOST_SHOWN} more" if len(faults) > _MOST_SHOWN else ""
        raise UserError(f"{where}: {'; '.join(faults[:_MOST_SHOWN])}{more}")
    return _judged(hardware, is_judged="fits" in data.get("torch", {}))


def complete(data: Part) -> Hardware:
    """Return the record of a machine of which the parts in `data` are known, all of them right."""
    shorthand = _taken_out(data, [])
    _complete(data, shorthand, [])
    return _judged(from_mapping(Hardware, data, "machine"), is_judged=False)


@dataclasses.dataclass
class _Shorthand:
    """What stands in a written record and in no other."""

    counts: list[int] = dataclasses.field(default_factory=list)
    num_numa_nodes: int | None = None


def _plain(value: Any, name: str) -> Any:
    """Return a part with sizes (`64 GB`), lists of CPUs (`0-27`) and capabilities (`8.9`) as the record has them."""
    if isinstance(value, dict):
        return {key: _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, "") for item in value]
    text = str(value).strip() if isinstance(value, (str, float)) else ""
    if name.endswith("_bytes") and (found := _SIZE.fullmatch(text)):
        return int(float(found[1]) * _UNITS[found[2].lower()])
    if name in ("cpus", "affinity") and _CPUS.fullmatch(text):
        return list(cpu_list(text))
    if isinstance(value, str) and name in _NUMBERS and re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    if name == "compute_capability" and re.fullmatch(r"\d\d?\.\d", text):
        return [int(part) for part in text.split(".")]
    return value


def _missing(data: Part) -> Iterator[str]:
    """Yield what a person has to write, and did not, of parts that are of the right type."""
    cpu, memory = data.get("cpu", {}), data.get("memory", {})
    cores = ("physical_cores", "logical_cores", "usable_cpus", "affinity", "numa_nodes")
    if isinstance(cpu, dict) and not any(cpu.get(name) for name in cores):
        yield "the cores are missing: cpu.physical_cores, or cpu.logical_cores where there are more threads"
    if isinstance(memory, dict) and "total_bytes" not in memory:
        yield "the memory of the host is missing: memory.total_bytes, such as 64 GB"
    devices = data.get("accelerators")
    for number, one in enumerate(devices if isinstance(devices, list) else []):
        name = one.get("name") if isinstance(one, dict) else ""
        place = f"accelerators[{number}]"
        if isinstance(one, dict) and not name:
            yield f"{place}.name is missing"
        elif isinstance(name, str) and name and (one.get("kind") or kind_of(one)) is None:
            yield f"{place}.kind is missing: {name} is not known here; write cuda, rocm, xpu, npu or hpu"
        elif isinstance(name, str) and name and one.get("kind") == "cuda" and capability_of(one) is None:
            yield f"{place}.compute_capability is missing: {name} is not known here; write such as 8.9"


def _taken_out(data: Part, faults: list[str]) -> _Shorthand:
    """Return `count` of accelerators and a number of NUMA nodes, which the record itself does not have, and take them out."""
    found = _Shorthand()
    for number, one in enumerate(data["accelerators"] if isinstance(data.get("accelerators"), list) else []):
        count = one.pop("count", 1) if isinstance(one, dict) else 1
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_DEVICES:
            faults.append(f"accelerators[{number}].count: must be from 1 to {_MOST_DEVICES}, got {count!r:.40}")
            count = 1
        found.counts.append(count)
    cpu = data["cpu"] if isinstance(data.get("cpu"), dict) else {}
    nodes = cpu.get("numa_nodes")
    if isinstance(nodes, int) and not isinstance(nodes, bool):
        del cpu["numa_nodes"]
        if 1 <= nodes <= _MOST_DEVICES:
            found.num_numa_nodes = nodes
        else:
            faults.append(f"cpu.numa_nodes: must be from 1 to {_MOST_DEVICES}, got {nodes}")
    return found


def _complete(data: Part, shorthand: _Shorthand, faults: list[str]) -> None:
    """Add to a record all that follows from what is in it; add to `faults` what nothing tells."""
    devices = [
        {**one} for one, count in zip(data.get("accelerators", []), shorthand.counts, strict=True) for _ in range(count)
    ]
    data["accelerators"] = devices
    kinds: dict[str, int] = {}
    for one in devices:
        complete_accelerator(one, kinds)
    data.setdefault("schema_version", SCHEMA_VERSION)
    data.setdefault("platform", "darwin" if "mps" in kinds else "linux")
    data.setdefault("cpu", {})
    data.setdefault("memory", {})
    complete_cpu(data["cpu"], data["platform"], shorthand.num_numa_nodes)
    complete_memory(data["memory"])
    complete_software(data, devices, faults)
    is_seen = "visible" in data.setdefault("environment", {})
    fill(Hardware, data, "", faults)
    if faults:
        return
    accelerators = tuple(from_mapping(Accelerator, one, "accelerators") for one in devices)
    data["links"] = complete_links(data["links"], accelerators) if "links" in data else links_by_name(accelerators)
    if not is_seen:
        complete_environment(data["environment"], data["platform"], accelerators)


def _judged(hardware: Hardware, is_judged: bool) -> Hardware:
    """Return a record that says whether its torch can use its devices."""
    problem = None if is_judged else find_problem(hardware.torch, hardware.accelerators, hardware.drivers)
    if problem is None:
        return hardware
    torch = dataclasses.replace(hardware.torch, fits=False, problem=problem[0], remedy=problem[1])
    return dataclasses.replace(hardware, torch=torch)

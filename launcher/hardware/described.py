"""A machine in words, `4 x L40S, 64 cores, 512 GB`, as a `Hardware` record: for a plan of what one does not have yet."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ...training.common.errors import UserError, nearest
from ...training.common.known_devices import KNOWN_DEVICES, known_device, words_of
from .record import Hardware
from .written import complete

_GIB = 1 << 30
_MOST_DEVICES, _MOST_CORES, _MOST_GIB, _MOST_NODES = 64, 4096, 1 << 17, 16
_MAKERS = r"(?:nvidia|amd|intel|geforce|radeon|tesla|instinct|quadro)\s+"
_FORMS = re.compile(
    r"PCIE|SXM\d?|OAM|HBM\d?E?|BLACKWELL|WORKSTATION|SERVER|EDITION|TENSOR|CORE|GPUS?|GRAPHICS|CARDS?|GDDR\dX?|\d+GB"
)
"""Words of a name beside that of the device, which say how it is built."""
_COUNTS = {
    "one": 1,
    "single": 1,
    "two": 2,
    "dual": 2,
    "three": 3,
    "four": 4,
    "quad": 4,
    "six": 6,
    "eight": 8,
    "sixteen": 16,
}
_LABEL = re.compile(
    r"(?:gpus?|cpus?|ram|memory|devices?|chip|macbook\s+(?:pro|air)|mac\s+(?:studio|mini|pro)|imac)\s*[:=\s]\s*",
    re.IGNORECASE,
)
_PROCESSOR = re.compile(
    r"(?:(\d)\s*x?\s+)?(?:(?:intel|amd)\s+)?(?:xeon|epyc|ryzen|threadripper|core|opteron)\b.*", re.IGNORECASE
)
_NAMES = {re.sub(r"\W", "", row.name).lower(): row for row in KNOWN_DEVICES}
_NAMES |= {key.removeprefix("rtx").removeprefix("gtx"): row for key, row in _NAMES.items()}
_TWO_IN_ONE = ("MI250X", "MI250")  # a card is two devices
_APPLE = {  # cores, and how many of them are the fast ones, of the largest version (apple.com)
    "M1": (8, 4),
    "M1 PRO": (10, 8),
    "M1 MAX": (10, 8),
    "M1 ULTRA": (20, 16),
    "M2": (8, 4),
    "M2 PRO": (12, 8),
    "M2 MAX": (12, 8),
    "M2 ULTRA": (24, 16),
    "M3": (8, 4),
    "M3 PRO": (12, 6),
    "M3 MAX": (16, 12),
    "M3 ULTRA": (32, 24),
    "M4": (10, 4),
    "M4 PRO": (14, 10),
    "M4 MAX": (16, 12),
    "M5": (10, 4),
}
_BETWEEN = re.compile(r"[,;+&]|\s/\s|\s(?:and|with)\s", re.IGNORECASE)
_CORES = re.compile(
    r"(\d{1,9}(?:\.\d{1,3})?)[\s-]*(?:physical\s+)?(?:(?:cpu\s+)?cores?|cpus?|(vcpus?|threads?))(?:\s+cpu)?",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"(\d{1,9}(?:\.\d{1,3})?)\s*(m|g|t)i?b?(?:\s+(?:of\s+)?(?:system\s+|host\s+)?(?:ecc\s+)?(?:ram|memory|ddr\d)(?:\s+ram)?)?",
    re.IGNORECASE,
)
_NODES = re.compile(r"(\d{1,4})\s*(?:sockets?|numa[\s-]*nodes?)", re.IGNORECASE)
_NO_DEVICE = re.compile(r"(?:no|without(?:\s+an?y?)?)\s+(?:gpus?|accelerators?)|cpus?[\s-]+only", re.IGNORECASE)
_COUNTED = re.compile(r"(\d{1,4})\s*[x\u00d7*]\s*(.*)|(\d{1,3})\s+([a-z].*)", re.IGNORECASE)
_COUNTED_AFTER = re.compile(r"(.*\S)\s+[x\u00d7*]\s*(\d{1,4})", re.IGNORECASE)
_FORM = (
    'write devices, cores and the memory of the host, as in "4 x L40S, 64 cores, 512 GB", '
    '"2 x RTX 5090 + RTX 3060, 32 cores, 128 GB" or "M3 Max, 64 GB"; a record by hand (--hardware FILE) takes other devices'
)


@dataclass
class _Reading:
    """What was read so far, and what is wrong with it."""

    devices: list[dict[str, Any]] = field(default_factory=list)
    amounts: dict[str, float] = field(default_factory=dict)
    chip: str | None = None
    threads_per_core: int = 1
    faults: list[str] = field(default_factory=list)

    def read(self, part: str) -> None:
        """Take one part of the words."""
        part = part if _NO_DEVICE.fullmatch(part) else _LABEL.sub("", part, count=1)
        first, _, others = part.partition(" ")
        part = f"{_COUNTS[first.lower()]} x {others}" if first.lower() in _COUNTS else part
        if found := _CORES.fullmatch(part):
            self._set("cores", float(found[1]), part)
            self.threads_per_core = 2 if found[2] and float(found[1]) % 2 == 0 else 1
        elif found := _MEMORY.fullmatch(part):
            self._set("GB", float(found[1]) * {"m": 1 / 1024, "g": 1, "t": 1024}[found[2].lower()], part)
        elif found := _NODES.fullmatch(part):
            self._set("sockets", float(found[1]), part)
        elif found := _PROCESSOR.fullmatch(part):
            if found[1]:
                self._set("sockets", float(found[1]), part)
        elif not _NO_DEVICE.fullmatch(part):
            self._devices(part)

    def _set(self, name: str, value: float, part: str) -> None:
        if name in self.amounts:
            self.faults.append(f"{part}: {name} are there twice")
        self.amounts[name] = value

    def _devices(self, part: str) -> None:
        """Take devices, `4 x A100 40GB`, or the chip of an Apple."""
        before, after = _COUNTED.fullmatch(part), _COUNTED_AFTER.fullmatch(part)
        count, rest = 1, part
        if before:
            count, rest = int(before[1] or before[3]), before[2] or before[4] or ""
        elif after:
            count, rest = int(after[2]), after[1]
        sized = re.fullmatch(r"(.*?)[\s-]+\(?(\d{1,4})\s*gi?b?\)?((?:[\s-].*)?)", rest, re.IGNORECASE)
        name, memory = (sized[1] + sized[3], int(sized[2])) if sized else (rest, None)
        said = re.sub(_MAKERS, "", name, flags=re.IGNORECASE).strip()
        chip = re.sub(r"\s+", " ", said.upper().removeprefix("APPLE")).strip()
        if chip in _APPLE:
            self._apple(chip, count, memory, part)
            return
        words = re.sub(r"\W", "", said).lower()
        row = _NAMES.get(f"{words}{memory}gb") or _NAMES.get(words)
        near = known_device(f"{said} {memory}GB" if memory else said)
        if row is None and near and all(map(_FORMS.fullmatch, words_of(said) - words_of(near.name))):
            row = near
        if row is None:
            known = (*(row.name for row in KNOWN_DEVICES), *_APPLE)
            hint = nearest(near.name if near else said, known)
            self.faults.append(f"{part!r:.60} is no device that is known here{hint}")
        elif not 1 <= count <= _MOST_DEVICES:
            self.faults.append(f"{part}: must be from 1 to {_MOST_DEVICES} devices")
        elif memory is not None and not row.memory / 4 <= memory <= 4 * row.memory:
            self.faults.append(f"{part}: {row.name} has {row.memory:g} GB, not {memory}")
        else:
            size = {} if memory is None else {"memory_total_bytes": memory * _GIB}
            count *= 2 if row.name in _TWO_IN_ONE else 1
            self.devices.append({"name": row.name, "count": count, "kind": row.kind, **size})

    def _apple(self, chip: str, count: int, memory: int | None, part: str) -> None:
        if count != 1 or self.chip is not None:
            self.faults.append(f"{part}: a machine has one Apple chip")
        self.chip = chip
        if memory is not None:
            self._set("GB", float(memory), part)

    def check(self) -> None:
        """Add what is missing and what no machine has to the faults."""
        if self.chip is not None and self.devices:
            self.faults.append("an Apple chip has no other devices beside it")
        most = {"cores": _MOST_CORES, "GB": _MOST_GIB, "sockets": _MOST_NODES}
        if self.amounts.get("cores", 0) % 1:
            self.faults.append("cores are whole ones")
        for name, value in self.amounts.items():
            if not 1 <= value <= most[name]:
                self.faults.append(f"{value:g} {name}: must be from 1 to {most[name]:,}")
        if "cores" not in self.amounts and self.chip is None:
            self.faults.append("the cores are missing: add `, 64 cores`")
        if "GB" not in self.amounts:
            self.faults.append("the memory of the host is missing: add `, 64 GB`")
        if sum(one["count"] for one in self.devices) > _MOST_DEVICES:
            self.faults.append(f"a machine has at most {_MOST_DEVICES} devices; --num-machines is for several")


def described(words: str) -> Hardware:
    """Return the machine that `words` describe: devices, physical cores and host memory, between commas or `+`.

    What words do not tell is taken as harmless: one NUMA node, no limits, a torch that serves the devices; the cores of an
    Apple chip are known. Raises `UserError` with all faults at once.
    """
    reading = _Reading()
    for part in filter(None, (one.strip() for one in _BETWEEN.split(words))):
        reading.read(part)
    reading.check()
    if reading.faults:
        raise UserError(f"--machine: {'; '.join(reading.faults)}; {_FORM}")
    amounts = reading.amounts
    cpu: dict[str, Any] = {"numa_nodes": int(amounts.get("sockets", 1))}
    devices = reading.devices
    if reading.chip is None:
        cpu["physical_cores"] = int(amounts["cores"]) // reading.threads_per_core
        cpu["logical_cores"] = int(amounts["cores"])
    else:
        name = f"Apple {reading.chip.title()}"
        cores, fast = _APPLE[reading.chip]
        said = int(amounts.get("cores", cores))
        cpu = {"model": name, "physical_cores": said, "performance_cores": max(1, said - (cores - fast)), "bf16": True}
        devices = [{"name": name}]
    return complete({"cpu": cpu, "memory": {"total_bytes": int(amounts["GB"] * _GIB)}, "accelerators": devices})

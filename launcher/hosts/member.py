"""What the launcher of a machine says of itself to the others, and what of it must be equal on all of them."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from ...training.common.errors import flag_of
from ...training.common.plan_file import LaunchPlan
from ...training.common.program.redaction import command_without_secrets
from ..common.paths import IMPORT_ROOT

MEMBER_VERSION = 1
_PACKAGES = ("torch", "accelerate")
_AGREED = (
    "num_processes",
    "num_machines",
    "processes_per_host",
    "device",
    "mixed_precision",
    "sharding",
    "compile",
    "share_weights",
    "gradient_accumulation",
    "global_batch_size",
    "rdzv_backend",
)


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The software of a machine: `slipway` is the version and the first digits of a digest of its source."""

    slipway: str
    python: str
    torch: str
    accelerate: str


@dataclass(frozen=True, kw_only=True)
class Member:
    """A machine of a launch. `agreed` holds, by option, what must be equal on all machines."""

    schema_version: int
    machine_rank: int
    host: str
    ticket: str  # of this launcher alone
    versions: Versions
    agreed: dict[str, str]
    script: str  # a digest, empty for a module
    command: str
    clock: float  # seconds since 1970
    address: str  # of this machine on the way to machine 0; empty for machine 0
    port: int  # where others connect to see whether they can


def member_of(plan: LaunchPlan, command: Sequence[str], max_restarts: int, *, port: int) -> Member:
    """Return what this machine says of itself; its address is known once it has connected."""
    agreed = {flag_of(name): _text(getattr(plan, name)) for name in _AGREED}
    agreed["sections of the Accelerate config"] = _text(sorted(plan.accelerate.items()))
    agreed["--max-restarts"] = str(max_restarts)
    return Member(
        schema_version=MEMBER_VERSION,
        machine_rank=plan.machine_rank,
        host=socket.gethostname(),
        ticket=secrets.token_hex(8),
        versions=versions(),
        agreed=agreed,
        script=digest_of_script(command),
        command=shlex.join(command_without_secrets(command)),
        clock=0.0,
        address="",
        port=port,
    )


def differences(member: Member, first: Member) -> list[str]:
    """Return in words how a machine differs from machine 0 where they must be equal."""
    # Without weights that were given, their number is that of the processes.
    same_world = member.agreed.get("--num-processes") == first.agreed.get("--num-processes")
    found = [
        f"{name} {value or '(none)'}, there {first.agreed.get(name) or '(none)'}"
        for name, value in member.agreed.items()
        if value != first.agreed.get(name) and (name != "--share-weights" or same_world)
    ]
    found += differing_versions(member.versions, first.versions)
    if member.script and first.script and member.script != first.script:
        found.append("another version of the script")
    return found


def differing_versions(mine: Versions, others: Versions) -> list[str]:
    """Return in words which software differs so that two machines cannot train together."""
    pairs = {
        "slipway": (mine.slipway, others.slipway),
        # Builds for other devices have the same source.
        "torch": (mine.torch.partition("+")[0], others.torch.partition("+")[0]),
        "accelerate": (mine.accelerate, others.accelerate),
        "Python": (mine.python.rpartition(".")[0], others.python.rpartition(".")[0]),
    }
    return [
        f"{name} {own or '(none)'}, there {other or '(none)'}" for name, (own, other) in pairs.items() if own != other
    ]


def versions() -> Versions:
    """Return the software of this machine."""
    from slipway import __version__

    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    python = ".".join(map(str, sys.version_info[:3]))
    return Versions(slipway=f"{__version__} ({_digest_of_source()})", python=python, **found)


@cache
def _digest_of_source() -> str:
    """Return the first digits of a digest of what computes: a version number stays the same between two commits."""
    digest = hashlib.sha256()
    package = IMPORT_ROOT / "slipway"
    for room in ("launcher", "training"):
        for path in sorted((package / room).resolve().rglob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def digest_of_script(command: Sequence[str]) -> str:
    """Return a digest of the script of a command; empty for a module, and where it cannot be read."""
    try:
        return "" if command[0] == "-m" else hashlib.sha256(Path(command[0]).read_bytes()).hexdigest()
    except OSError:
        return ""


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return "" if value is None else os.fspath(value) if isinstance(value, str) else str(value)

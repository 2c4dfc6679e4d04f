"""What the probes read, in one record, so that a test can describe another machine."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from platform import machine, node
from typing import Any

from ...common.paths import python_path


class ProbeError(Exception):
    """A probe cannot answer; the message says why in one line."""


def ask_subprocess(module: str, arguments: tuple[str, ...], time_limit_seconds: float) -> Any:
    """Run `python -m module` and return the JSON of its last line of output. Raises `ProbeError`.

    After the time limit the process is killed but not waited for, since a driver that hangs can keep it alive. Masks are
    removed from its environment: the probes see every device and apply the masks themselves.
    """
    environ = {
        key: value for key, value in os.environ.items() if not key.endswith(("VISIBLE_DEVICES", "AFFINITY_MASK"))
    }
    environ["PYTHONPATH"] = python_path(environ)
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    try:
        output, errors = child.communicate(timeout=time_limit_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        # Neither wait nor close the pipes of a stuck process: `Popen` reaps it later, if it ever ends.
        raise ProbeError(f"no answer within {time_limit_seconds:g} s; the driver may hang") from None
    if child.returncode:
        lines = errors.strip().splitlines() or [f"exit code {child.returncode}"]
        raise ProbeError(lines[-1][:300])
    try:
        return json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise ProbeError(f"{module} printed no JSON") from None


def _package(name: str) -> Path | None:
    """Return the folder of an installed package without importing it, or None."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _affinity() -> frozenset[int] | None:
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _sysctl(name: str) -> str | None:
    """Return a value of macOS's `sysctl`, or None."""
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@dataclass(frozen=True, kw_only=True)
class Sources:
    """A machine to read: its file system, its environment, and calls of the system. The default is this machine."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    platform: str = sys.platform
    architecture: str = field(default_factory=machine)
    hostname: str | None = field(default_factory=node)
    affinity: Callable[[], frozenset[int] | None] = _affinity
    psutil: Any = field(default_factory=lambda: importlib.import_module("psutil"))  # importing it takes 15 ms
    sysctl: Callable[[str], str | None] = _sysctl
    package: Callable[[str], Path | None] = _package
    ask: Callable[[str, tuple[str, ...], float], Any] = ask_subprocess

    def path(self, *parts: str) -> Path:
        """Return a path below the root; leading slashes of the parts are dropped."""
        return self.root.joinpath(*(part.lstrip("/") for part in parts))

    def text(self, *parts: str) -> str | None:
        """Return a file's stripped text, or None where it cannot be read."""
        return read_text(self.path(*parts))

    def folder(self, *parts: str) -> list[Path]:
        """Return the entries of a folder, numbers in natural order; none where there is no such folder."""
        return list_folder(self.path(*parts))

    def integer(self, variable: str) -> int | None:
        """Return an environment variable as an integer, or None where it is unset or something else."""
        return to_integer(self.environ.get(variable))


def read_text(path: Path) -> str | None:
    """Return a file's stripped text, or None where it cannot be read (sysfs refuses some files when read)."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def list_folder(folder: Path) -> list[Path]:
    """Return the entries of a folder, `card2` before `card10`; an empty list where it cannot be listed."""
    try:
        return sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name))
    except OSError:
        return []


def to_integer(text: str | None, base: int = 10) -> int | None:
    """Return `text` as an integer, or None."""
    try:
        return int(text, base) if text else None
    except ValueError:
        return None


def cpu_list(text: str) -> tuple[int, ...]:
    """Return the numbers of the kernel's list `0-2,8`."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return tuple(numbers)


def numa_node(device: Path) -> int | None:
    """Return the NUMA node of a sysfs device; None where the system has none (the kernel writes -1)."""
    node = to_integer(read_text(device / "numa_node"))
    return node if node is not None and node >= 0 else None

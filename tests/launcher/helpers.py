"""Machines to detect: a folder that looks like `/`, and an NVML that says what a test tells it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.launcher import cli
from slipway.launcher.hardware.probes.sources import ProbeError, Sources


def tree(root: Path, files: Mapping[str, object]) -> Path:
    """Write files below a root; return the root."""
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="utf-8")
    return root


def refuse(module: str, arguments: tuple[str, ...], time_limit_seconds: float) -> Any:
    raise AssertionError(f"{module} must not be asked")


def psutil(**facts: Any) -> SimpleNamespace:
    """Return what stands in for psutil: a machine with 1000 KiB of memory and no network, but for these facts."""
    memory = SimpleNamespace(total=1000 << 10, available=600 << 10)
    nothing: dict[str, Any] = {"cpu_count": lambda logical: None, "net_if_addrs": dict, "net_if_stats": dict}
    return SimpleNamespace(**{"virtual_memory": lambda: memory, **nothing, **facts})


def machine(root: Path, files: Mapping[str, object] | None = None, **facts: Any) -> Sources:
    """Return the sources of a machine that has only these files and these facts, and asks no subprocess."""
    defaults: dict[str, Any] = {
        "environ": {},
        "platform": "linux",
        "architecture": "x86_64",
        "hostname": "host",
        "affinity": lambda: None,
        "psutil": psutil(),
        "sysctl": lambda name: None,
        "package": lambda name: None,
        "ask": refuse,
    }
    return Sources(root=tree(root, files or {}), **{**defaults, **facts})


def cpus(count: int, flags: str = "") -> dict[str, object]:
    """Return the files of a CPU with `count` cores."""
    blocks = (
        f"processor\t: {i}\nmodel name\t: Test CPU\nphysical id\t: 0\ncore id\t\t: {i}\nflags\t\t: {flags}\n"
        for i in range(count)
    )
    return {"proc/cpuinfo": "\n".join(blocks), "sys/devices/system/cpu/online": f"0-{count - 1}"}


class NVMLError(Exception):
    """As NVML's: an error with a number."""

    def __init__(self, value: int = 3) -> None:
        super().__init__({3: "Not Supported", 15: "GPU is lost"}[value])
        self.value = value


class FakeNvml:
    """NVML of GPUs given as dictionaries: name, uuid, memory, capability, slices, processes, p2p, nvlink, lost."""

    NVMLError = NVMLError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_DEVICE_MIG_ENABLE = 1
    NVML_P2P_CAPS_INDEX_READ = 0
    NVML_P2P_CAPS_INDEX_NVLINK = 2
    NVML_P2P_STATUS_OK = 0
    NVML_NVLINK_MAX_LINKS = 18
    NVML_FEATURE_ENABLED = 1
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self, *gpus: dict[str, Any]) -> None:
        self.gpus = gpus

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        if self.gpus[index].get("lost"):
            raise NVMLError(15)
        return {"index": index, **self.gpus[index]}

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.95.05"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        return 13000

    def nvmlDeviceGetMemoryInfo(self, handle: dict[str, Any]) -> SimpleNamespace:  # noqa: N802
        if "memory" not in handle:
            raise NVMLError
        if isinstance(handle["memory"], Exception):
            raise handle["memory"]
        return SimpleNamespace(total=handle["memory"], free=handle["memory"] - 1)

    def nvmlDeviceGetCudaComputeCapability(self, handle: dict[str, Any]) -> list[int]:  # noqa: N802
        return list(handle["capability"])

    def nvmlDeviceGetNumGpuCores(self, handle: dict[str, Any]) -> int:  # noqa: N802
        return self._fact(handle, "cores")

    def nvmlDeviceGetMaxClockInfo(self, handle: dict[str, Any], clock: int) -> int:  # noqa: N802
        return self._fact(handle, {1: "clock", 2: "memory_clock"}[clock])

    def nvmlDeviceGetMemoryBusWidth(self, handle: dict[str, Any]) -> int:  # noqa: N802
        return self._fact(handle, "bus")

    @staticmethod
    def _fact(handle: dict[str, Any], name: str) -> int:
        if name not in handle:
            raise NVMLError
        return int(handle[name])

    def nvmlDeviceGetPciInfo(self, handle: dict[str, Any]) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(busId=f"00000000:{handle['index'] + 0x4A:02X}:00.0")

    def nvmlDeviceGetName(self, handle: dict[str, Any]) -> str:  # noqa: N802
        return handle["name"]

    def nvmlDeviceGetUUID(self, handle: dict[str, Any]) -> str:  # noqa: N802
        return handle.get("uuid", f"GPU-{handle.get('index')}")

    def nvmlDeviceGetMigMode(self, handle: dict[str, Any]) -> list[int]:  # noqa: N802
        if "slices" not in handle:
            raise NVMLError
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: dict[str, Any]) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: dict[str, Any], position: int) -> dict[str, Any]:  # noqa: N802
        if position >= len(handle["slices"]):
            raise NVMLError
        return handle["slices"][position]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: dict[str, Any]) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in handle.get("processes", ())]

    def nvmlDeviceGetP2PStatus(self, one: dict[str, Any], other: dict[str, Any], capability: int) -> int:  # noqa: N802
        return one.get("nvlink" if capability == self.NVML_P2P_CAPS_INDEX_NVLINK else "p2p", 1)

    def nvmlDeviceGetTopologyCommonAncestor(self, one: dict[str, Any], other: dict[str, Any]) -> int:  # noqa: N802
        return 30

    def nvmlDeviceGetNvLinkState(self, handle: dict[str, Any], link: int) -> int:  # noqa: N802
        if link >= handle.get("lanes", 0):
            raise NVMLError
        return 1


def answer(nvml: FakeNvml) -> Any:
    """Return an `ask` that says what the real one would print for this NVML."""
    from dataclasses import asdict

    from slipway.launcher.hardware.probes.accelerators.nvidia import query

    def ask(module: str, arguments: tuple[str, ...], time_limit_seconds: float) -> Any:
        import json

        assert module == "slipway.launcher.hardware.probes.accelerators.nvidia"
        return json.loads(json.dumps(asdict(query(nvml))))

    return ask


def fail(message: str) -> Any:
    """Return an `ask` that cannot answer."""

    def ask(module: str, arguments: tuple[str, ...], time_limit_seconds: float) -> Any:
        raise ProbeError(message)

    return ask


def assert_one_line_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Assert that `slipway` with these arguments says what is wrong in one line on stderr, with exit code 2."""
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1

"""Ask torch about devices that nothing else describes. It imports torch only when it runs as a process."""

from __future__ import annotations

from typing import Any

from ...record import Accelerator, Kind

TIME_LIMIT_SECONDS = 60.0  # an import of torch and a vendor's extension


def describe_npus(
    kind: Kind, count: int, answers: list[dict[str, Any]] | None, fallback_name: str
) -> tuple[Accelerator, ...]:
    """Return `count` accelerators with torch's answers; `answers` is None where the vendor's extension is missing."""
    known: list[dict[str, Any]] = list(answers or []) + [{}] * count
    return tuple(
        Accelerator(
            kind=kind,
            index=index,
            name=str(known[index].get("name", fallback_name)),
            uuid=None,
            pci_address=None,
            memory_total_bytes=known[index].get("memory_total_bytes"),
            memory_free_bytes=known[index].get("memory_free_bytes"),
            unified_memory=False,
            compute_capability=None,
            architecture=None,
            bf16=bool(known[index].get("bf16", False)),
            fp16=True,
            fp8=False,
            tiles=1,
            mig_slices=(),
            processes=(),
            numa_node=None,
        )
        for index in range(count)
    )


def _main() -> None:
    import importlib
    import importlib.util
    import json
    import sys

    kind = sys.argv[1]
    extension = {"npu": "torch_npu"}[kind]
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec(extension) is None:
        print("null")
        return
    torch = importlib.import_module("torch")
    importlib.import_module(extension)
    backend = getattr(torch, kind)
    devices = []
    for index in range(backend.device_count()):
        free_bytes, total_bytes = backend.mem_get_info(index)
        devices.append(
            {
                "name": backend.get_device_name(index),
                "memory_total_bytes": total_bytes,
                "memory_free_bytes": free_bytes,
                "bf16": bool(backend.is_bf16_supported()),
            }
        )
    print(json.dumps(devices))


if __name__ == "__main__":
    _main()

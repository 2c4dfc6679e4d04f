"""The kinds of device that torch can use here: which are present, how many, their name and memory."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from types import ModuleType
from typing import Any, cast

import torch

from ..common.errors import UserError, nearest
from .host import cpu_name
from .world import launched_world

DEVICE_KINDS = ("cuda", "xpu", "npu", "hpu", "mps", "cpu")  # in order of preference; a ROCm device is "cuda"


_PLUGIN_PACKAGES = {"npu": "torch_npu", "hpu": "habana_frameworks.torch"}


def torch_build() -> str:
    """Return what this torch was built for: `cuda 12.6`, `rocm 6.3`, `xpu 2025`, `mps` or `cpu`."""
    for name, version in (("cuda", torch.version.cuda), ("rocm", torch.version.hip)):
        if version:
            return f"{name} {version}"
    if xpu := getattr(torch.version, "xpu", None):
        return f"xpu {xpu}"
    return "mps" if torch.backends.mps.is_built() else "cpu"


def choose_kind(requested: str) -> str:
    """Return the kind of device for `requested`, a kind or `auto`: the best one. Raises `UserError` if it is not here."""
    choices = ("auto", *DEVICE_KINDS)
    if requested not in choices:
        hint = " (ROCm is 'cuda')" if requested == "rocm" else nearest(requested, choices)
        raise UserError(f"--device {requested}: unknown{hint}; choose from {', '.join(choices)}", option="device")
    size = launched_world().size
    if requested == "auto":
        if launcher_wants_cpu():
            return "cpu"
        # MPS is one device without collectives: several processes on a Mac are a group on its CPU.
        candidates = [kind for kind in DEVICE_KINDS if kind != "mps" or size == 1]
        return next(kind for kind in candidates if device_count(kind))
    if device_count(requested) == 0:
        raise UserError(f"--device {requested}: {_why_absent(requested)} or pass --device auto", option="device")
    if requested == "mps" and size > 1:
        raise UserError(
            f"--device mps: one device cannot serve {size} processes; start one, or pass --device cpu", option="device"
        )
    if requested != "cpu" and launcher_wants_cpu():
        raise UserError(
            f"--device {requested}: the launcher chose the CPU (ACCELERATE_USE_CPU); drop one of the two",
            option="device",
        )
    return requested


def launcher_wants_cpu() -> bool:
    """Return whether the launcher of Accelerate chose the CPU."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "t", "on")


def describe_build() -> str:
    """Return what this torch was built for, as a part of a sentence."""
    build = torch_build()
    return f"this torch is a {'CPU-only' if build == 'cpu' else build} build ({torch.__version__})"


def _why_absent(kind: str) -> str:
    """Return why torch sees no device of `kind` and what to do, as the middle of a sentence."""
    if kind in _PLUGIN_PACKAGES and backend_of(kind) is None:
        return f"torch has no {kind} backend ({_PLUGIN_PACKAGES[kind]} is not installed); install it"
    built_for = {"cuda": ("cuda", "rocm"), "xpu": ("xpu",), "mps": ("mps",)}.get(kind)
    if built_for and torch_build().split()[0] not in built_for:
        return f"{describe_build()}; install a {'CUDA' if kind == 'cuda' else kind.upper()} build"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = f" and CUDA_VISIBLE_DEVICES={visible!r}" if kind == "cuda" and visible is not None else ""
    return f"{describe_build()}, but it sees no {kind} device{hidden}; check the driver"


def backend_of(kind: str) -> ModuleType | None:
    """Return `torch.<kind>`, or `None`; for NPU and HPU the vendor's package is imported first."""
    package = _PLUGIN_PACKAGES.get(kind)
    if package and not hasattr(torch, kind) and importlib.util.find_spec(package.split(".")[0]):
        with contextlib.suppress(ImportError, OSError, RuntimeError):  # installed, but no driver
            importlib.import_module(package)
    return getattr(torch, kind, None)


def describe(device: torch.device) -> str:
    """Return the device's name, with a CUDA device's compute capability."""
    capability = compute_capability(device)
    return accelerator_name(device) + (f" (compute capability {capability})" if capability else "")


def compute_capability(device: torch.device) -> str | None:
    """Return a CUDA device's compute capability, such as `9.0`; `None` for others."""
    return ".".join(map(str, torch.cuda.get_device_capability(device.index or 0))) if device.type == "cuda" else None


def has_tf32(device: torch.device) -> bool:
    """Return whether a device computes in TF32: an NVIDIA GPU since Ampere."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return not torch.cuda.is_available() or torch.cuda.get_device_capability(device.index or 0) >= (8, 0)


def accelerator_name(device: torch.device) -> str:
    """Return the device's name as the driver gives it."""
    if device.type == "mps":
        return cpu_name()
    with contextlib.suppress(AttributeError, RuntimeError):
        return str(cast(Any, backend_of(device.type)).get_device_name(device.index or 0))
    return device.type


def accelerator_memory_bytes(device: torch.device) -> tuple[int | None, int | None]:
    """Return (total, free), `None` if the backend does not tell: not every release of every vendor does."""
    if device.type == "mps":
        total = torch.mps.recommended_max_memory()
        return total, total - torch.mps.driver_allocated_memory()
    with contextlib.suppress(AttributeError, RuntimeError):
        free, total = cast(Any, backend_of(device.type)).mem_get_info(device.index or 0)
        return total, free
    return None, None


def device_count(kind: str) -> int:
    """Return how many devices of `kind` this process sees; the CPU is one. Starts no device context."""
    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    backend = backend_of(kind)
    try:
        return int(backend.device_count()) if backend is not None and backend.is_available() else 0
    except RuntimeError:  # torch_npu raises where its driver is missing
        return 0

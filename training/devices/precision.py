"""Choose the precision that a device trains in: what was asked for, or what suits it."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any

import torch

from ..common.errors import UserError, nearest
from .backends import backend_of, describe
from .world import log_once

PRECISIONS = ("auto", "no", "fp16", "bf16")


def has_native_bf16(device: torch.device) -> bool:
    """Return whether the hardware computes in bf16; emulation does not count."""
    if device.type == "cpu":
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    if device.type == "hpu":
        return True
    backend: Any = backend_of(device.type)
    if device.type not in ("cuda", "xpu"):
        return bool(backend.is_bf16_supported())
    # The query is about the current device, and counts emulation unless told not to.
    with backend.device(device.index) if device.index is not None else contextlib.nullcontext():
        return bool(backend.is_bf16_supported(including_emulation=False))


def resolve_precision(requested: str, device: torch.device) -> tuple[str, str]:
    """Return (precision, reason): `no`, `fp16` or `bf16` from `auto` or an explicit choice.

    `auto` takes what accelerate launch set in ACCELERATE_MIXED_PRECISION unless that is `no`; else bf16 where an
    accelerator has it natively, fp16 on cuda and xpu, full precision elsewhere. An explicit choice wins over the
    launcher's. Raises `UserError` for a precision that the device does not have.
    """
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    name, reason = f"--mixed-precision {requested}", "asked for"
    if requested == "auto" and launcher != "no":
        requested, name = launcher, f"ACCELERATE_MIXED_PRECISION={launcher}"
        reason = "set by accelerate launch"
    elif requested != "auto" and launcher not in ("no", requested):
        log_once(logging.WARNING, f"{name} wins over ACCELERATE_MIXED_PRECISION={launcher} of the launcher")
    if requested not in PRECISIONS:
        raise UserError(f"{name}: unknown{nearest(requested, PRECISIONS)}; choose from {', '.join(PRECISIONS)}")
    if requested == "auto":
        return _automatic(device)
    if requested == "fp16" and device.type == "cpu":
        raise UserError(f"{name}: a CPU does not train in fp16 (it would silently be fp32); use no or bf16")
    if requested == "bf16" and not has_native_bf16(device):
        if device.type != "cpu":
            raise UserError(f"{name}: {describe(device)} has no native bf16; use fp16 or auto")
        reason += "; emulated on this CPU, so slow"
    return requested, reason


def _automatic(device: torch.device) -> tuple[str, str]:
    if device.type in ("cpu", "mps"):
        return "no", f"auto: {device.type} gains little from 16 bits"
    if has_native_bf16(device):
        return "bf16", f"auto: {describe(device)} has native bf16"
    if device.type in ("cuda", "xpu"):
        return "fp16", f"auto: {describe(device)} has no native bf16"
    return "no", f"auto: {describe(device)} has no native bf16"

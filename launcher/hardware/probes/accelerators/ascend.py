"""Huawei Ascend NPUs: device files say how many, torch_npu (asked in a subprocess) says what they are."""

from __future__ import annotations

from ...record import Accelerator
from ..sources import ProbeError, Sources, whole
from .ask_torch import TIME_LIMIT_SECONDS, described


def detect(sources: Sources) -> tuple[tuple[Accelerator, ...], str | None]:
    """Return the NPUs, and why torch_npu did not say more of them, if it should have."""
    numbers = [whole(path.name.removeprefix("davinci")) for path in sources.folder("/dev") if "davinci" in path.name]
    count = sum(number is not None for number in numbers)
    if not count:
        return (), None
    answers, fault = None, None
    try:
        answers = sources.ask("slipway.launcher.hardware.probes.accelerators.ask_torch", ("npu",), TIME_LIMIT_SECONDS)
    except ProbeError as error:
        fault = str(error)
    return described("npu", count, answers, fallback_name="Ascend NPU"), fault

"""Probe Huawei Ascend NPUs: device files give the number, torch_npu (in a subprocess) names and memory."""

from __future__ import annotations

from ...record import Accelerator
from ..sources import ProbeError, Sources, to_integer
from .ask_torch import TIME_LIMIT_SECONDS, describe_npus


def detect(sources: Sources) -> tuple[tuple[Accelerator, ...], str | None]:
    """Return the NPUs, and why torch_npu did not answer, or None."""
    numbers = [
        to_integer(path.name.removeprefix("davinci")) for path in sources.folder("/dev") if "davinci" in path.name
    ]
    count = sum(number is not None for number in numbers)
    if not count:
        return (), None
    answers, fault = None, None
    try:
        answers = sources.ask("slipway.launcher.hardware.probes.accelerators.ask_torch", ("npu",), TIME_LIMIT_SECONDS)
    except ProbeError as error:
        fault = str(error)
    return describe_npus("npu", count, answers, fallback_name="Ascend NPU"), fault

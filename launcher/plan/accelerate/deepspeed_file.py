"""What DeepSpeed's own file, which a config names, says of a plan: the ZeRO stage and the precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....training.common.small_files import UnreadableError, read_json, reason_of

_SAID_THERE = (
    *("gradient_accumulation_steps", "gradient_clipping", "zero_stage", "offload_optimizer_device"),
    *("offload_param_device", "offload_optimizer_nvme_path", "offload_param_nvme_path", "zero3_save_16bit_model"),
)
"""Keys that Accelerate refuses beside the file."""


@dataclass(frozen=True, kw_only=True)
class DeepSpeedFile:
    """The ZeRO stage, the precision (None: the file leaves it to Accelerate), and what is wrong, by key."""

    stage: int = 2
    precision: str | None = None
    problems: tuple[str, ...] = ()


def read_deepspeed_file(values: Mapping[str, Any], precision: str | None) -> DeepSpeedFile:
    """Return what the file of `deepspeed_config_file` says; `precision` is that of the config beside it."""
    name = values["deepspeed_config_file"]
    where = f"deepspeed_config_file: {name}"
    twice = [key for key in _SAID_THERE if key in values]
    problems = [f"{key}: stands in {name}: leave it out here" for key in twice]
    try:
        data = read_json(name)
    except (OSError, UnreadableError) as error:
        return DeepSpeedFile(problems=(*problems, f"{where}: {reason_of(error)}"))
    if not isinstance(data, dict):
        return DeepSpeedFile(problems=(*problems, f"{where}: expected keys and values"))
    zero = data.get("zero_optimization")
    stage = zero.get("stage", 0) if isinstance(zero, dict) else 0
    if str(stage) not in ("0", "1", "2", "3", "auto"):
        problems.append(f"{where}: zero_optimization.stage: {str(stage)[:40]!r} is none of 0, 1, 2, 3")
    found = [one for one in ("bf16", "fp16") if isinstance(data.get(one), dict) and data[one].get("enabled") is True]
    is_left = any(isinstance(data.get(one), dict) and data[one].get("enabled") == "auto" for one in ("bf16", "fp16"))
    said = found[0] if found else None if is_left else "no"
    if None not in (said, precision) and said != precision:
        problems.append(f"{where}: computes in {said}, and mixed_precision: {precision} contradicts it; leave that out")
    return DeepSpeedFile(
        stage=int(stage) if str(stage) in ("0", "1", "2", "3") else 2, precision=said, problems=tuple(problems)
    )

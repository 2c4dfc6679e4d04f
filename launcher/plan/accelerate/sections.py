"""The sections of an Accelerate config: the keys that each has, of any year, and the values that they take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....training.common.errors import nearest

Kind = str | tuple[str, ...]
"""`bool`, `int`, `float`, `text`, a number or `auto`, or words of which one is meant."""

STRATEGIES = ("FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2")
_DEVICES = ("none", "cpu", "nvme")
_LAUNCHERS = ("standard", "pdsh", "openmpi", "mvapich", "mpich", "slurm", "nossh")
_FSDP: dict[str, Kind] = {
    "fsdp_version": ("1", "2"),
    "fsdp_sharding_strategy": STRATEGIES,
    "fsdp_reshard_after_forward": ("true", "false", *STRATEGIES),
    "fsdp_auto_wrap_policy": ("TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP"),
    "fsdp_transformer_layer_cls_to_wrap": "text",
    "fsdp_min_num_params": "int",
    "fsdp_backward_prefetch": ("BACKWARD_PRE", "BACKWARD_POST", "NO_PREFETCH"),
    "fsdp_state_dict_type": ("FULL_STATE_DICT", "LOCAL_STATE_DICT", "SHARDED_STATE_DICT"),
    "fsdp_ignored_modules": "text",
    **dict.fromkeys(
        (
            *("fsdp_offload_params", "fsdp_forward_prefetch", "fsdp_use_orig_params", "fsdp_sync_module_states"),
            *("fsdp_cpu_ram_efficient_loading", "fsdp_activation_checkpointing"),
            "fsdp_activation_checkpointing_offload",
        ),
        "bool",
    ),
}
_DEEPSPEED: dict[str, Kind] = {
    "zero_stage": ("0", "1", "2", "3"),
    "gradient_accumulation_steps": "int or auto",
    "gradient_clipping": "float or auto",
    "offload_optimizer_device": _DEVICES,
    "offload_param_device": _DEVICES,
    "offload_optimizer_nvme_path": "text",
    "offload_param_nvme_path": "text",
    "zero3_init_flag": "bool",
    "zero3_save_16bit_model": "bool",
    "deepspeed_config_file": "text",
    "deepspeed_moe_layer_cls_names": "text",
    "deepspeed_multinode_launcher": _LAUNCHERS,
    "deepspeed_hostfile": "text",
    "deepspeed_exclusion_filter": "text",
    "deepspeed_inclusion_filter": "text",
}
BACKENDS = (
    *("NO", "EAGER", "AOT_EAGER", "INDUCTOR", "AOT_TS_NVFUSER", "NVPRIMS_NVFUSER", "CUDAGRAPHS", "OFI", "FX2TRT"),
    *("ONNXRT", "TENSORRT", "AOT_TORCHXLA_TRACE_ONCE", "TORCHXLA_TRACE_ONCE", "TVM", "HPU_BACKEND"),
)
_DYNAMO: dict[str, Kind] = {
    "dynamo_backend": BACKENDS,
    "dynamo_mode": ("default", "reduce-overhead", "max-autotune"),
    **dict.fromkeys(
        ("dynamo_use_fullgraph", "dynamo_use_dynamic", "dynamo_use_regional_compilation"),
        "bool",
    ),
}
_FP8: dict[str, Kind] = {
    "fp8_backend": ("TE", "MSAMP", "AO"),
    "fp8_format": ("HYBRID", "E4M3", "E5M2"),
    "fp8_margin": "int",
    "fp8_interval": "int",
    "fp8_amax_history_len": "int",
    "fp8_amax_compute_algo": ("most_recent", "max"),
    "fp8_opt_level": ("O1", "O2"),
    **dict.fromkeys(
        ("fp8_use_autocast_during_eval", "fp8_enable_fsdp_float8_all_gather", "fp8_pad_inner_dim"),
        "bool",
    ),
}
_PARALLELISM: dict[str, Kind] = {
    **dict.fromkeys(
        (f"parallelism_config_{name}_size" for name in ("dp_replicate", "dp_shard", "tp", "cp", "sp")),
        "int",
    ),
    "parallelism_config_cp_comm_strategy": ("allgather", "alltoall"),
    "parallelism_config_cp_backend": "text",
    "parallelism_config_sp_backend": "text",
    "parallelism_config_sp_seq_length": "int",
    "parallelism_config_sp_seq_length_is_variable": "bool",
    "parallelism_config_sp_attn_implementation": "text",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """The keys of a section; one without the prefix, or by an older name, is the one with it."""

    keys: Mapping[str, Kind]
    prefix: str = ""
    older: Mapping[str, str]


SECTIONS = {
    "fsdp_config": Section(
        keys=_FSDP,
        prefix="fsdp_",
        older={"fsdp_backward_prefetch_policy": "fsdp_backward_prefetch"},
    ),
    "deepspeed_config": Section(
        keys=_DEEPSPEED,
        older={"zero3_save_fp16_model": "zero3_save_16bit_model", "deepspeed_config": "deepspeed_config_file"},
    ),
    "dynamo_config": Section(keys=_DYNAMO, prefix="dynamo_", older={}),
    "fp8_config": Section(
        keys=_FP8,
        prefix="fp8_",
        older={"fp8_fp8_format": "fp8_format", "fp8_amax_history_length": "fp8_amax_history_len"},
    ),
    "parallelism_config": Section(keys=_PARALLELISM, prefix="parallelism_config_", older={}),
}
"""The sections whose settings are carried on."""

_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def sections_of(sharding: str, *, compiles: bool = False, device: str = "") -> dict[str, dict[str, Any]]:
    """Return the sections of a config that a plan writes where nobody fixed others."""
    found: dict[str, dict[str, Any]] = {}
    if sharding == "fsdp":
        found["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_reshard_after_forward": True,
            # By size, because only models of `transformers` name the classes that the other policy wraps.
            "fsdp_auto_wrap_policy": "SIZE_BASED_WRAP",
            "fsdp_min_num_params": 1_000_000,
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
            "fsdp_cpu_ram_efficient_loading": False,
            "fsdp_offload_params": False,
            "fsdp_activation_checkpointing": False,
        }
    if sharding in ("zero2", "zero3"):
        stage = int(sharding[-1])
        found["deepspeed_config"] = {
            "zero_stage": stage,
            "gradient_accumulation_steps": 1,  # the loop cuts micro-batches itself, and this would override it
            "offload_optimizer_device": "none",
            "offload_param_device": "none",
            "zero3_init_flag": stage == 3,
            "zero3_save_16bit_model": stage == 3,
            "deepspeed_multinode_launcher": "standard",  # torchrun's agent on each machine, not pdsh
        }
    if compiles:
        backend = "HPU_BACKEND" if device == "hpu" else "INDUCTOR"
        found["dynamo_config"] = {"dynamo_backend": backend, "dynamo_mode": "default"}
    return found


@dataclass(kw_only=True)
class Read:
    """A section as Accelerate names it today: its `values`, the keys that were `renamed`, what is wrong with it."""

    values: dict[str, Any]
    renamed: list[str]
    empty: list[str]
    problems: list[str]


def read_section(name: str, found: Mapping[str, Any]) -> Read:
    """Return a section by the keys that Accelerate knows today; a key without a value is left out."""
    section = SECTIONS[name]
    read = Read(values={}, renamed=[], empty=[], problems=[])
    for key, value in found.items():
        named = key if key.startswith(section.prefix) else section.prefix + key
        named = section.older.get(named, named)
        if named not in section.keys:
            read.problems.append(f"unknown key {f'{name}.{key}'[:80]!r}{nearest(named, section.keys)}")
            continue
        if named in read.values and key != named:
            continue  # the key of today says it
        if value is None or (str(value).strip().lower() in ("none", "null", "") and "none" not in section.keys[named]):
            read.empty.append(f"{name}.{key}")
            continue
        try:
            read.values[named] = _value(value, section.keys[named])
        except ValueError as error:
            read.problems.append(f"{name}.{key}: {error}")
            continue
        if key != named:
            read.renamed.append(f"{name}.{key} is {named}")
    return read


def _value(value: Any, kind: Kind) -> Any:
    """Return a value as Accelerate takes it. Raises `ValueError` that says what was expected."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value).strip()
    if isinstance(kind, tuple):
        return _word(text, kind)
    if kind == "text":
        return text
    if kind == "bool":
        if text.lower() not in _TRUTH:
            raise ValueError(f"expected true or false, got {text[:40]!r}")
        return _TRUTH[text.lower()]
    plain = kind.removesuffix(" or auto")
    if plain != kind and text.lower() == "auto":
        return "auto"
    expected = f"{'a whole number' if plain == 'int' else 'a number'}{' or auto' if plain != kind else ''}"
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or (plain == "int" and number != int(number)):
        raise ValueError(f"expected {expected}, got {text[:40]!r}")
    return int(number) if plain == "int" else number


def _word(text: str, words: tuple[str, ...]) -> Any:
    if words is STRATEGIES and text in ("1", "2", "3", "4", "5"):
        return STRATEGIES[int(text) - 1]
    found = next((word for word in words if word.lower() == text.lower().replace("-", "_")), None) or next(
        (word for word in words if word.lower() == text.lower()), None
    )
    if found is None:
        raise ValueError(f"{text[:40]!r} is none of {', '.join(words)}{nearest(text.upper(), words)}")
    if found in ("true", "false"):
        return found == "true"
    return int(found) if found.isdecimal() else found

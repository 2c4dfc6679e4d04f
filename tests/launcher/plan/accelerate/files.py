"""Accelerate configs of all years and kinds, and the table of what becomes of each key.

`python -m tests.launcher.plan.accelerate.files` writes the table again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slipway.launcher.plan.accelerate.keys import read_keys
from slipway.launcher.plan.settings import intent_types
from slipway.training.common.small_files import parse_yaml
from tests.conftest import ROOT

TABLE = ROOT / "docs" / "accelerate-files.md"
DEEPSPEED_FILE = "ds_config.json"
DEEPSPEED_TEXT = json.dumps({"bf16": {"enabled": True}, "zero_optimization": {"stage": 3}, "gradient_clipping": "auto"})

_OF_2021 = (
    "compute_environment: LOCAL_MACHINE\n{}machine_rank: 0\nmain_process_ip: null\nmain_process_port: null\n"
    "main_training_function: main\nnum_machines: 1\n"
)
_OF_2023 = (
    "compute_environment: LOCAL_MACHINE\n{}downcast_bf16: 'no'\nmachine_rank: 0\nmain_training_function: main\n"
    "num_machines: 1\nrdzv_backend: static\nsame_network: true\ntpu_env: []\ntpu_use_cluster: false\ntpu_use_sudo: false\n"
    "use_cpu: false\n"
)
_OF_TODAY = _OF_2023.replace("{}", "debug: false\nenable_cpu_affinity: false\n{}")
_FSDP1 = (
    "distributed_type: FSDP\nmixed_precision: bf16\nnum_processes: 4\nfsdp_config:\n"
    "  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n  fsdp_backward_prefetch: BACKWARD_PRE\n"
    "  fsdp_cpu_ram_efficient_loading: true\n  fsdp_forward_prefetch: false\n  fsdp_offload_params: {offload}\n"
    "  fsdp_sharding_strategy: {strategy}\n  fsdp_state_dict_type: SHARDED_STATE_DICT\n  fsdp_sync_module_states: true\n"
    "  fsdp_use_orig_params: true\n"
)
_FSDP2 = (
    "distributed_type: FSDP\nmixed_precision: bf16\nnum_processes: 8\nfsdp_config:\n  fsdp_version: 2\n"
    "  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n  fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer\n"
    "  fsdp_reshard_after_forward: true\n  fsdp_offload_params: false\n  fsdp_state_dict_type: FULL_STATE_DICT\n"
    "  fsdp_cpu_ram_efficient_loading: true\n  fsdp_activation_checkpointing: true\n"
)

FILES = {
    "2021_fp16_false": _OF_2021.format("distributed_type: MULTI_GPU\nfp16: false\n") + "num_processes: 2\n",
    "2021_cpu": _OF_2021.format("cpu: true\ndistributed_type: 'NO'\nfp16: false\n") + "num_processes: 1\n",
    "2022_unquoted_no": _OF_2021.format("distributed_type: NO\nmixed_precision: no\nuse_cpu: false\n")
    + "num_processes: 1\ndeepspeed_config: {}\nfsdp_config: {}\n",
    "2022_mps": _OF_2021.format("distributed_type: MPS\nmixed_precision: 'no'\nuse_mps_device: true\n")
    + "num_processes: 1\n",
    "2022_fsdp": _OF_2021.format(
        "distributed_type: FSDP\nmixed_precision: fp16\nfsdp_config:\n  fsdp_auto_wrap_policy: SIZE_BASED_WRAP\n"
        "  fsdp_backward_prefetch_policy: BACKWARD_PRE\n  fsdp_min_num_params: 2000\n  fsdp_offload_params: false\n"
        "  fsdp_sharding_strategy: 1\n  fsdp_state_dict_type: FULL_STATE_DICT\n"
    )
    + "num_processes: 2\n",
    "2022_fsdp_without_prefix": _OF_2021.format(
        "distributed_type: FSDP\nmixed_precision: 'no'\nfsdp_config:\n  min_num_params: 2000\n  offload_params: true\n"
        "  sharding_strategy: 2\n"
    )
    + "num_processes: 2\n",
    "2022_dynamo_no": _OF_2023.format(
        "deepspeed_config: {}\ndistributed_type: MULTI_GPU\ndynamo_backend: 'NO'\nfsdp_config: {}\ngpu_ids: all\n"
        "main_process_ip: null\nmain_process_port: null\nmegatron_lm_config: {}\nmixed_precision: 'no'\n"
        "num_processes: 2\ncommand_file: null\ncommands: null\ntpu_name: null\ntpu_zone: null\n"
    ),
    "2022_megatron": _OF_2023.format(
        "distributed_type: MEGATRON_LM\nmixed_precision: bf16\nnum_processes: 4\nmegatron_lm_config:\n"
        "  megatron_lm_tp_degree: 2\n  megatron_lm_pp_degree: 1\n"
    ),
    "2023_tpu": _OF_2023.format("distributed_type: TPU\nmixed_precision: bf16\nnum_processes: 8\n"),
    "2023_dynamo": _OF_2023.format(
        "distributed_type: MULTI_GPU\nmixed_precision: fp16\nnum_processes: 2\ndynamo_config:\n"
        "  dynamo_backend: INDUCTOR\n  dynamo_mode: max-autotune\n  dynamo_use_dynamic: true\n"
        "  dynamo_use_fullgraph: false\n"
    ),
    "2023_ipex": _OF_2023.format(
        "distributed_type: MULTI_CPU\nmixed_precision: bf16\nnum_processes: 2\nipex_config:\n  ipex: true\n"
    ).replace("use_cpu: false", "use_cpu: true"),
    "2023_one_gpu": _OF_2023.format("distributed_type: 'NO'\ngpu_ids: '0'\nmixed_precision: fp16\nnum_processes: 1\n"),
    "2023_two_machines": _OF_2023.format(
        "distributed_type: MULTI_GPU\ngpu_ids: all\nmain_process_ip: 10.0.0.1\nmain_process_port: 29500\n"
        "mixed_precision: bf16\nnum_processes: 16\n"
    )
    .replace("num_machines: 1", "num_machines: 2")
    .replace("machine_rank: 0", "machine_rank: 1"),
    "2023_zero2_offload": _OF_2023.format(
        "distributed_type: DEEPSPEED\nmixed_precision: bf16\nnum_processes: 4\ndeepspeed_config:\n"
        "  gradient_accumulation_steps: 4\n  gradient_clipping: 1.0\n  offload_optimizer_device: cpu\n"
        "  offload_param_device: none\n  zero3_init_flag: false\n  zero_stage: 2\n"
    ),
    "2023_zero3": _OF_2023.format(
        "distributed_type: DEEPSPEED\nmixed_precision: bf16\nnum_processes: 8\ndeepspeed_config:\n"
        "  deepspeed_multinode_launcher: pdsh\n  deepspeed_hostfile: hosts\n  gradient_accumulation_steps: auto\n"
        "  offload_optimizer_device: none\n  offload_param_device: none\n  zero3_init_flag: true\n"
        "  zero3_save_16bit_model: true\n  zero_stage: 3\n"
    ),
    "2023_zero1_one_process": _OF_2023.format(
        "distributed_type: DEEPSPEED\nmixed_precision: fp16\nnum_processes: 1\ndeepspeed_config:\n"
        "  gradient_accumulation_steps: 1\n  zero_stage: 1\n"
    ),
    "2023_deepspeed_file": _OF_2023.format(
        f"distributed_type: DEEPSPEED\nnum_processes: 4\ndeepspeed_config:\n  deepspeed_config_file: {DEEPSPEED_FILE}\n"
        "  zero3_init_flag: true\n"
    ),
    "2023_deepspeed_file_twice": _OF_2023.format(
        f"distributed_type: DEEPSPEED\nmixed_precision: fp16\nnum_processes: 4\ndeepspeed_config:\n"
        f"  deepspeed_config_file: {DEEPSPEED_FILE}\n  zero_stage: 3\n"
    ),
    "2023_sagemaker": (
        "base_job_name: accelerate-sagemaker-1\ncompute_environment: AMAZON_SAGEMAKER\ndistributed_type: 'NO'\n"
        "ec2_instance_type: ml.p3.2xlarge\niam_role_name: role\nmixed_precision: 'no'\nnum_machines: 1\n"
    ),
    "2024_fsdp": _OF_TODAY.format(_FSDP1.format(offload="false", strategy="FULL_SHARD")),
    "2024_fsdp_offload_grad_op": _OF_TODAY.format(_FSDP1.format(offload="true", strategy="SHARD_GRAD_OP")),
    "2024_fsdp_no_shard": _OF_TODAY.format(_FSDP1.format(offload="false", strategy="NO_SHARD")),
    "2024_mpirun": _OF_TODAY.format(
        "distributed_type: MULTI_CPU\nmixed_precision: 'no'\nnum_processes: 2\nmpirun_config:\n"
        "  mpirun_ccl: '1'\n  mpirun_hostfile: /home/me/hostfile\n"
    ).replace("use_cpu: false", "use_cpu: true"),
    "2024_fp8": _OF_TODAY.format(
        "distributed_type: MULTI_GPU\nmixed_precision: fp8\nnum_processes: 8\nfp8_config:\n  backend: TE\n"
        "  fp8_format: E4M3\n  amax_history_length: 1024\n  margin: 0\n  use_autocast_during_eval: false\n"
    ),
    "2024_mlu": _OF_TODAY.format("distributed_type: MULTI_MLU\nmixed_precision: 'no'\nnum_processes: 2\n"),
    "2024_gpus_two_and_three": _OF_TODAY.format(
        "distributed_type: MULTI_GPU\ngpu_ids: 2,3\nmixed_precision: bf16\nnum_processes: 2\n"
    ),
    "2025_fsdp2": _OF_TODAY.format(_FSDP2),
    "2025_tensor_parallel": _OF_TODAY.format(
        "distributed_type: TP\nmixed_precision: bf16\nnum_processes: 4\ntp_config:\n  tp_size: 4\n"
    ),
    "2025_parallelism": _OF_TODAY.format(
        _FSDP2 + "parallelism_config:\n  parallelism_config_dp_replicate_size: 2\n"
        "  parallelism_config_dp_shard_size: 4\n  parallelism_config_tp_size: 1\n  parallelism_config_cp_size: 1\n"
    ),
    "2025_xpu": _OF_TODAY.format("distributed_type: MULTI_XPU\nmixed_precision: bf16\nnum_processes: 8\n"),
    "2026_nothing_said": "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nmixed_precision: null\n"
    "dynamo_config: {}\nfsdp_config: null\ngpu_ids: null\nnum_processes: -1\n",
    "2026_wrong_words": (
        "compute_environment: LOCAL_MACHIN\ndistributed_type: NONSENSE\nmixed_precision: fp61\ndynamo_backend: NONSENSE\n"
        "num_processes: two\nzero_stage: 2\nuse_cpu: maybe\nfsdp_config:\n  fsdp_sharding_strategy: HALF\n  fsdp_wrap: x\n"
    ),
}
"""Configs as `accelerate config` of these years wrote them, or as people post them."""


def fates(text: str) -> list[tuple[str, str]]:
    """Return what becomes of the keys of a config, in pairs of fate and words; DeepSpeed's file is in the working folder."""
    data: Any = parse_yaml(text)
    found = read_keys(data, intent_types(), {}).fates
    return list(dict.fromkeys((fate, words) for fate, words in found))


def table() -> str:
    """Return the page: file, fate, keys."""
    lines = [
        "# What becomes of the keys of Accelerate configs",
        "",
        "Configs of five years, as `accelerate config` wrote them or people post them, read by `slipway plan --config FILE`. "
        "[plan.md](plan.md) says what",
        "each word means. This page is written by `python -m tests.launcher.plan.accelerate.files` and held by a test.",
        "",
        "| config | | keys |",
        "|---|---|---|",
    ]
    for name, text in FILES.items():
        found = fates(text)
        kinds = ("refused",) if any(fate == "refused" for fate, _ in found) else ("used", "renamed", "carried", "void")
        for position, fate in enumerate(kind for kind in kinds if any(one == kind for one, _ in found)):
            words = "; ".join(words.replace("|", "\\|") for one, words in found if one == fate)
            lines.append(f"| {name if position == 0 else ''} | {fate} | {words} |")
    return "\n".join(lines) + "\n"


def write_files(folder: Path) -> dict[str, Path]:
    """Write the configs, and DeepSpeed's file beside them; return their paths by name."""
    (folder / DEEPSPEED_FILE).write_text(DEEPSPEED_TEXT, encoding="utf-8")
    paths = {name: folder / f"{name}.yaml" for name in FILES}
    for name, path in paths.items():
        path.write_text(FILES[name], encoding="utf-8")
    return paths


if __name__ == "__main__":
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        write_files(Path(place))
        os.chdir(place)
        page = table()
        os.chdir(ROOT)
    TABLE.write_text(page, encoding="utf-8")

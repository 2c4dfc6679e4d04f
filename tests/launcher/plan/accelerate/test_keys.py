"""Accelerate configs of all years: each key is used, renamed or void, or one message says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slipway.launcher.plan.settings import read_intent
from slipway.training.common.errors import UserError
from slipway.training.common.settings import SettingsReader

_OF_2023 = """\
command_file: null
commands: null
compute_environment: LOCAL_MACHINE
deepspeed_config: {}
distributed_type: MULTI_GPU
downcast_bf16: 'no'
dynamo_backend: 'NO'
fsdp_config: {}
gpu_ids: all
machine_rank: 0
main_process_ip: null
main_process_port: null
main_training_function: main
megatron_lm_config: {}
mixed_precision: no
num_machines: 1
num_processes: 2
rdzv_backend: static
same_network: true
tpu_name: null
tpu_zone: null
use_cpu: false
"""


def read(folder: Path, text: str, environment: dict[str, str] | None = None) -> tuple[dict[str, Any], str]:
    """Return what a config fixes, and the note about its keys."""
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    intent = read_intent({}, str(folder / "c.yaml"), environment or {}, folder)
    return {name: one.value for name, one in intent.settings.items()}, intent.note


def test_every_key_of_a_config_of_2023_is_accounted_for(tmp_path: Path) -> None:
    values, note = read(tmp_path, _OF_2023)
    wanted = {"num_processes": 2, "num_machines": 1, "mixed_precision": "no", "sharding": "replicate"}
    assert values == wanted
    assert [line.split(":")[0] for line in _OF_2023.splitlines() if line.split(":")[0] not in note] == []
    assert "\n" not in note


@pytest.mark.parametrize(
    ("text", "wanted", "told"),
    [
        ("distributed_type: MULTI_GPU\nfp16: false", {"mixed_precision": "no"}, "fp16: false is mixed_precision no"),
        ("distributed_type: MULTI_GPU\nfp16: true", {"mixed_precision": "fp16"}, "fp16: true is mixed_precision fp16"),
        ("distributed_type: NO\nmixed_precision: false", {"mixed_precision": "no", "num_processes": 1}, ""),
        (
            "distributed_type: false\nnum_processes: 8",
            {"num_processes": 1},
            "void: num_processes: 8 (distributed_type: NO",
        ),
        ("distributed_type: MULTI_CPU\nnum_processes: 2", {"device": "cpu", "num_processes": 2}, ""),
        ("distributed_type: MULTI_GPU\ncpu: yes", {"device": "cpu"}, "cpu: yes is device cpu"),
        ("distributed_type: MULTI_GPU\ngpu_ids: 0,1", {"num_processes": 2}, "void: gpu_ids"),
        ("distributed_type: MULTI_GPU\ngpu_ids: 4,5", {"gpu_ids": (4, 5)}, ""),
        ("distributed_type: MULTI_GPU\nnum_cpu_threads_per_process: 4", {"threads_per_process": 4}, "renamed: num_cpu"),
        (
            "distributed_type: MULTI_GPU\ndynamo_config: {dynamo_backend: 'NO'}",
            {},
            "void: dynamo_config.dynamo_backend",
        ),
        ("distributed_type: MULTI_GPU\ndynamo_backend: inductor", {"compile": True}, ""),
        (
            "distributed_type: MULTI_GPU\ndynamo_backend: EAGER",
            {"compile": True},
            "carried: dynamo_config.dynamo_backend: EAGER",
        ),
        (
            "distributed_type: FSDP\nfsdp_config: {fsdp_sharding_strategy: 1}",
            {"sharding": "fsdp"},
            "carried: fsdp_config.fsdp_sharding_strategy: FULL_SHARD",
        ),
        (
            "distributed_type: FSDP\nfsdp_config: {sharding_strategy: NO_SHARD}",
            {"sharding": "replicate"},
            "is sharding rep",
        ),
        (
            "distributed_type: FSDP\nfsdp_config: {fsdp_offload_params: true}",
            {"sharding": "fsdp"},
            "carried: fsdp_config.fsdp_offload_params: true",
        ),
        ("distributed_type: FSDP\nnum_processes: 1", {"sharding": "replicate"}, "of one process is sharding replicate"),
        ("distributed_type: DEEPSPEED", {"sharding": "zero2"}, ""),
        (
            "distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 3}",
            {"sharding": "zero3"},
            "carried: deepspeed_config.zero_stage: 3",
        ),
        (
            "distributed_type: DEEPSPEED\ndeepspeed_config: {gradient_clipping: 1.0}",
            {},
            "carried: deepspeed_config.gradient_clipping: 1.0",
        ),
        ("downcast_bf16: 'no'\nnum_processes: 2", {"num_processes": 2}, "void: downcast_bf16"),
    ],
)
def test_a_key_is_used_renamed_or_void(tmp_path: Path, text: str, wanted: dict[str, Any], told: str) -> None:
    values, note = read(tmp_path, text)
    assert {name: values[name] for name in wanted} == wanted
    assert told in note
    assert told or not note


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("compute_environment: AMAZON_SAGEMAKER\niam_role_name: x", ["AMAZON_SAGEMAKER is not planned"]),
        (
            "distributed_type: MEGATRON_LM",
            ["MEGATRON_LM cuts the model by Megatron-LM, which is not planned; start it with `accelerate launch`"],
        ),
        ("distributed_type: MULTI_GPU\ngpu_ids: 4,five", ["gpu_ids[1]: expected a whole number, got 'five'"]),
        ("distributed_type: NO\nfp16: true\nmixed_precision: bf16", ["contradict each other; leave fp16 out"]),
        (
            "distributed_type: DEEPSPEED\ndeepspeed_config: {deepspeed_config_file: a.json}",
            ["deepspeed_config.deepspeed_config_file: a.json: No such file"],
        ),
        (
            "distributed_type: MULTI_GPUS\nnum_processes: abc\nuse_cpu: maybe\nzz: 1\nfsdp_config: 3",
            [
                "MULTI_GPUS",
                "did you mean 'MULTI_GPU'",
                "num_processes: expected",
                "use_cpu: expected",
                "'zz'",
                "fsdp_config:",
            ],
        ),
    ],
)
def test_all_that_cannot_be_used_is_one_message(tmp_path: Path, text: str, told: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        read(tmp_path, text)
    assert [words for words in told if words not in str(raised.value)] == []


def test_devices_that_the_environment_names_make_gpu_ids_void(tmp_path: Path) -> None:
    _, note = read(tmp_path, "distributed_type: MULTI_GPU\ngpu_ids: 4,5", {"CUDA_VISIBLE_DEVICES": "4,5"})
    assert "void: gpu_ids" in note


def test_the_training_says_which_command_reads_an_accelerate_config(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(_OF_2023, encoding="utf-8")
    with pytest.raises(UserError, match="slipway launch --config"):
        SettingsReader(section="train", types={"seed": int}).read_config(str(tmp_path / "c.yaml"))

"""What an Accelerate config of any year says of a plan: each key is used, renamed or void, or refused with what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...training.common.conversion import convert
from ...training.common.errors import UserError, nearest

_ACCUMULATION = "gradient_accumulation_steps"
_PLANNED = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU", "MULTI_NPU", "MULTI_HPU", "MPS", "FSDP", "DEEPSPEED")
_NOT_PLANNED = ("TPU", "XLA", "MEGATRON_LM", "TP", "MULTI_MLU", "MULTI_SDAA", "MULTI_MUSA", "MULTI_NEURON")
_AS_OPTIONS = ("num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port", "rdzv_backend")
_OF_SEVERAL_MACHINES = ("machine_rank", "main_process_ip", "rdzv_backend")
_SECTIONS = (
    *("deepspeed_config", "fsdp_config", "megatron_lm_config", "dynamo_config", "ipex_config", "mpirun_config"),
    *("fp8_config", "parallelism_config", "tp_config"),
)
_VOID = (
    *("debug", "same_network", "main_training_function", "downcast_bf16", "enable_cpu_affinity", "use_xpu"),
    *("tpu_name", "tpu_zone", "tpu_use_cluster", "tpu_use_sudo", "tpu_env", "tpu_vm", "command_file", "commands"),
)
_KEYS = (
    *("compute_environment", "distributed_type", "mixed_precision", "fp16", "use_cpu", "cpu", "gpu_ids"),
    *("dynamo_backend", "num_cpu_threads_per_process", _ACCUMULATION),
    *(*_AS_OPTIONS, *_SECTIONS, *_VOID),
)
_AS_PLANNED: dict[str, tuple[Any, ...]] = {
    "deepspeed_config.gradient_accumulation_steps": (1, "1", "auto"),
    "deepspeed_config.offload_optimizer_device": ("none",),
    "deepspeed_config.offload_param_device": ("none",),
    "deepspeed_config.deepspeed_multinode_launcher": ("standard",),
    "fsdp_config.fsdp_version": (2, "2"),
    "fsdp_config.fsdp_reshard_after_forward": (True,),
    "fsdp_config.fsdp_auto_wrap_policy": ("SIZE_BASED_WRAP",),
    "fsdp_config.fsdp_min_num_params": (1_000_000,),
    "fsdp_config.fsdp_state_dict_type": ("SHARDED_STATE_DICT",),
    "fsdp_config.fsdp_cpu_ram_efficient_loading": (False,),
    "fsdp_config.fsdp_offload_params": (False,),
    "fsdp_config.fsdp_activation_checkpointing": (False,),
    "dynamo_config.dynamo_mode": ("default",),
}
"""Values of sections that are those of every plan."""
_INSTEAD = {
    _ACCUMULATION: "the training counts all samples of a step: --batch-size",
    "gradient_clipping": "the training has --clip-norm {value}",
    "offload_optimizer_device": "nothing is offloaded",
    "offload_param_device": "nothing is offloaded",
    "offload_params": "nothing is offloaded",
    "activation_checkpointing": "the training has --gradient-checkpointing",
}
"""What to do about a void key whose value changes something."""
_STRATEGIES = ("FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2")
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a config fixes, by option of a plan, and what became of its keys, in one line; no line where all are used."""

    values: dict[str, Any]
    note: str


def is_accelerate(data: Mapping[Any, Any], options: Mapping[str, Any]) -> bool:
    """Return whether keys are those of an Accelerate config, and not options of a plan alone."""
    return any(key in _KEYS and key not in options for key in data)


def read_accelerate(
    data: Mapping[Any, Any], where: str, options: Mapping[str, Any], environment: Mapping[str, str]
) -> Reading:
    """Return what an Accelerate config says; `options` are the types of a plan's options.

    Raises `UserError` with all that cannot be used.
    """
    if str(data.get("compute_environment", "LOCAL_MACHINE")).upper() == "AMAZON_SAGEMAKER":
        raise UserError(f"{where}: compute_environment: AMAZON_SAGEMAKER is not planned; start on the machine itself")
    keys = _Keys(data=data, options=options, environment=environment)
    keys.read()
    if keys.problems:
        raise UserError(f"{where}: {'; '.join(keys.problems)}")
    parts = [
        f"{name} {', '.join(found)}" for name, found in (("renamed:", keys.renamed), ("void:", keys.void)) if found
    ]
    note = (
        f"{where}: an Accelerate config; used: {', '.join(keys.used) or 'nothing'}; {'; '.join(parts)}" if parts else ""
    )
    return Reading(values=keys.values, note=note)


@dataclass(kw_only=True)
class _Keys:
    data: Mapping[Any, Any]
    options: Mapping[str, Any]
    environment: Mapping[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def read(self) -> None:
        for key in self.data:
            if key not in _KEYS:
                self.problems.append(f"unknown key {str(key)[:40]!r}{nearest(str(key), _KEYS)}")
        if "compute_environment" in self.data:
            self.used.append("compute_environment")
        kind = self._distributed_type()
        self._device(kind)
        self._processes(kind)
        self._precision()
        self._sharding(kind)
        self._compile()
        self._fix("threads_per_process", "num_cpu_threads_per_process", is_renamed=True)
        if _ACCUMULATION in self.data:
            self._leave(_ACCUMULATION, self.data[_ACCUMULATION])
        self.void += [key for key in _VOID if key in self.data]
        for name in (
            "megatron_lm_config",
            "ipex_config",
            "mpirun_config",
            "fp8_config",
            "parallelism_config",
            "tp_config",
        ):
            self._leave_section(name)

    def _has(self, key: str) -> bool:
        return self.data.get(key) is not None

    def _fix(self, option: str, key: str, value: Any = None, *, is_renamed: bool = False) -> None:
        """Fix an option by the value of a key, or by what that means."""
        value = self.data.get(key) if value is None else value
        if value is None:
            return
        try:
            self.values[option] = convert(value, self.options[option], key)
        except UserError as error:
            self.problems.append(str(error))
            return
        if is_renamed:
            self.renamed.append(f"{key}: {_text(self.data.get(key))} is {option} {_text(value)}")
        else:
            self.used.append(key)

    def _leave(self, key: str, value: Any) -> None:
        """Note that a key is void, with what to do where that changes something."""
        plain = key.rpartition(".")[2].removeprefix("fsdp_")
        is_off = str(value).lower() in ("none", "false", "auto") or (plain, str(value)) == (_ACCUMULATION, "1")
        instead = "" if is_off else _INSTEAD.get(plain, "").format(value=_text(value))
        self.void.append(f"{key}: {_text(value)} ({instead})" if instead else key)

    def _leave_section(self, name: str, without: tuple[str, ...] = ()) -> None:
        for key, value in self._section(name).items():
            if value in _AS_PLANNED.get(f"{name}.{key}", ()):
                continue
            if key not in without:
                self._leave(f"{name}.{key}", value)
        if name in self.data and not self.data[name]:
            self.void.append(name)

    def _section(self, name: str) -> dict[str, Any]:
        found = self.data.get(name) or {}
        return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}

    def _distributed_type(self) -> str | None:
        for name in _SECTIONS:
            if self.data.get(name) and not isinstance(self.data[name], dict):
                self.problems.append(f"{name}: expected keys and values, got {_text(self.data[name])!r}")
        value = self.data.get("distributed_type")
        if value is None:
            return None
        kind = "NO" if value is False else str(value).strip().upper()
        if kind in _PLANNED:
            self.used.append("distributed_type")
            return kind
        why = "is not planned" if kind in _NOT_PLANNED else f"is no kind that Accelerate has{nearest(kind, _PLANNED)}"
        self.problems.append(f"distributed_type: {_text(value)} {why}; write one of {', '.join(_PLANNED)}")
        return None

    def _device(self, kind: str | None) -> None:
        for key in ("use_cpu", "cpu"):
            if self._has(key) and self._truth(key):
                self._fix("device", key, "cpu", is_renamed=key == "cpu")
            elif key in self.data:
                self.used.append(key)
        named = {"MPS": "mps", "MULTI_CPU": "cpu"}.get(kind or "", (kind or "").removeprefix("MULTI_").lower())
        if "device" not in self.values and named in ("cpu", "mps", "xpu", "npu", "hpu"):
            self.values["device"] = named
        if "gpu_ids" in self.data:
            self._gpu_ids()

    def _gpu_ids(self) -> None:
        value = self.data["gpu_ids"]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        ids = sorted(one.strip() for one in text.split(","))
        if value is None or text == "all" or "device" in self.values or self.environment.get("CUDA_VISIBLE_DEVICES"):
            self.void.append("gpu_ids")
        elif ids == [str(number) for number in range(len(ids))]:  # those that a plan takes first
            self.void.append("gpu_ids")
            if not self._has("num_processes"):
                self.values["num_processes"] = len(ids)
        else:
            self.problems.append(f"gpu_ids: {text[:40]}: write CUDA_VISIBLE_DEVICES={text[:40]} before the command")

    def _processes(self, kind: str | None) -> None:
        several = str(self.data.get("num_machines") or 1) != "1"
        for key in _AS_OPTIONS:
            if key not in self.data:
                continue
            if self.data[key] is None or (key in _OF_SEVERAL_MACHINES and not several):
                self.void.append(key)
            else:
                self._fix(key, key)
        if kind in ("NO", "MPS"):
            if self.values.get("num_processes", 1) != 1:
                self.used.remove("num_processes")
                self.void.append(f"num_processes: {self.values['num_processes']} (distributed_type: {kind} starts one)")
            self.values["num_processes"] = 1

    def _precision(self) -> None:
        named = self.data.get("mixed_precision")
        if named is not None:
            self._fix("mixed_precision", "mixed_precision", "no" if named is False else str(named).lower())
        if not self._has("fp16"):
            return
        wanted = "fp16" if self._truth("fp16") else "no"
        if named is None:
            self._fix("mixed_precision", "fp16", wanted, is_renamed=True)
        elif wanted == "fp16" and self.values.get("mixed_precision") == "bf16":
            self.problems.append("fp16: true and mixed_precision: bf16 contradict each other; leave fp16 out")
        else:
            self.void.append("fp16")

    def _sharding(self, kind: str | None) -> None:
        if kind is not None:
            readers: dict[str, Callable[[], str]] = {"FSDP": self._fsdp, "DEEPSPEED": self._deepspeed}
            self.values["sharding"] = readers[kind]() if kind in readers else "replicate"
        if kind in ("FSDP", "DEEPSPEED") and self.values.get("num_processes") == 1:
            self.values["sharding"] = "replicate"
            self.renamed.append(f"distributed_type: {kind} of one process is sharding replicate")
        known = (
            "fsdp_sharding_strategy",
            "sharding_strategy",
            "zero_stage",
            "zero3_init_flag",
            "zero3_save_16bit_model",
        )
        self._leave_section("fsdp_config", without=known if kind == "FSDP" else ())
        self._leave_section("deepspeed_config", without=known if kind == "DEEPSPEED" else ())

    def _fsdp(self) -> str:
        section = self._section("fsdp_config")
        key = next((name for name in ("fsdp_sharding_strategy", "sharding_strategy") if name in section), None)
        if key is None or section[key] is None:
            return "fsdp"
        text = str(section[key]).upper()
        strategy = _STRATEGIES[int(text) - 1] if text in ("1", "2", "3", "4", "5") else text
        if strategy not in _STRATEGIES:
            self.problems.append(f"fsdp_config.{key}: {_text(text)} is none of {', '.join(_STRATEGIES)}, or 1 to 5")
        found = "replicate" if strategy == "NO_SHARD" else "fsdp"
        self.renamed.append(f"fsdp_config.{key}: {_text(section[key])} is sharding {found}")
        return found

    def _deepspeed(self) -> str:
        section = self._section("deepspeed_config")
        stage = str(section.get("zero_stage", "none" if "deepspeed_config_file" in section else "2"))
        found = {"0": "replicate", "1": "zero2", "2": "zero2", "3": "zero3"}.get(stage)
        if found is None:
            what = "is not in deepspeed_config, whose file is not read" if stage == "none" else f"{stage[:40]} is none"
            self.problems.append(f"deepspeed_config.zero_stage: {what}; write 2 or 3")
            return "replicate"
        if stage in ("0", "1"):
            self.renamed.append(f"deepspeed_config.zero_stage: {stage} is sharding {found}")
        else:
            self.used.append("deepspeed_config.zero_stage")
        return found

    def _compile(self) -> None:
        section = self._section("dynamo_config")
        names = [("dynamo_backend", self.data)] + [(name, section) for name in ("dynamo_backend", "backend")]
        key, value = next(((name, place[name]) for name, place in names if place.get(name) is not None), ("", None))
        backend = "NO" if value in (None, False) else str(value).upper()
        self.values["compile"] = backend != "NO"
        if backend not in ("NO", "INDUCTOR", "HPU_BACKEND"):
            self.renamed.append(f"{key}: {_text(value)} is compile with inductor")
        elif key:
            self.used.append(key if key in self.data else f"dynamo_config.{key}")
        self._leave_section("dynamo_config", without=("dynamo_backend", "backend"))

    def _truth(self, key: str) -> bool:
        found = _TRUTH.get(str(self.data[key]).strip().lower())
        if found is None:
            self.problems.append(f"{key}: expected true or false, got {_text(self.data[key])!r}")
        return bool(found)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)[:40]

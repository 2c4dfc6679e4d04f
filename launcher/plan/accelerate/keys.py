"""What an Accelerate config of any year says of a plan: a key is used, renamed, carried or void, or refused with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ....training.common.conversion import convert
from ....training.common.errors import UserError, nearest
from .deepspeed_file import read_deepspeed_file
from .sections import SECTIONS, Read, read_section, sections_of

Fate = Literal["used", "renamed", "carried", "void", "refused"]

_ACCUMULATION = "gradient_accumulation_steps"
_PLANNED = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU", "MULTI_NPU", "MULTI_HPU", "MPS", "FSDP", "DEEPSPEED")
_NOT_PLANNED = {
    "TPU": "trains on TPUs",
    "XLA": "trains on TPUs",
    "MEGATRON_LM": "cuts the model by Megatron-LM",
    "TP": "cuts the layers of the model (tensor parallelism)",
    "MULTI_MLU": "trains on Cambricon MLUs",
    "MULTI_SDAA": "trains on Tecorigin SDAAs",
    "MULTI_MUSA": "trains on Moore Threads GPUs",
    "MULTI_NEURON": "trains on AWS Trainium",
}
_AS_OPTIONS = ("num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port", "rdzv_backend")
_OF_SEVERAL_MACHINES = ("machine_rank", "main_process_ip", "rdzv_backend")
_VOID = {
    "debug": "ACCELERATE_DEBUG_MODE=true before the command",
    "enable_cpu_affinity": "the plan binds processes to CPUs itself",
    "ipex_config": "torch has these kernels itself",
    "mpirun_config": "start the command on each machine",
    **dict.fromkeys(("same_network", "main_training_function", "downcast_bf16", "use_xpu", "megatron_lm_config"), ""),
    **dict.fromkeys(("tpu_name", "tpu_zone", "tpu_use_cluster", "tpu_use_sudo", "tpu_env", "tpu_vm"), ""),
    **dict.fromkeys(("command_file", "commands", "tp_config"), ""),
}
"""Keys that change nothing here, with what to do where their value says that something is wanted."""
_KEYS = (
    *("compute_environment", "distributed_type", "mixed_precision", "fp16", "use_cpu", "cpu", "use_mps_device"),
    *("gpu_ids", "dynamo_backend", "num_cpu_threads_per_process", _ACCUMULATION, *_AS_OPTIONS, *SECTIONS, *_VOID),
)
_NOTHING = ("no", "none", "null", "false", "", "{}", "[]", "0")
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a config fixes, by option of a plan, and the sections that are carried on; `note` is a line about its keys."""

    values: dict[str, Any]
    sections: dict[str, dict[str, Any]]
    note: str


def is_accelerate(data: Mapping[Any, Any], options: Mapping[str, Any]) -> bool:
    """Return whether keys are those of an Accelerate config, and not options of a plan alone."""
    return any(key in _KEYS and (key not in options or value == "all") for key, value in data.items())


def read_accelerate(
    data: Mapping[Any, Any], where: str, options: Mapping[str, Any], environment: Mapping[str, str]
) -> Reading:
    """Return what an Accelerate config says; `options` are the types of a plan's options.

    Raises `UserError` with all that cannot be used.
    """
    keys = read_keys(data, options, environment)
    refused = [text for fate, text in keys.fates if fate == "refused"]
    if refused:
        raise UserError(f"{where}: {'; '.join(refused)}")
    parts = [
        f"{name}: {', '.join(dict.fromkeys(found))}"
        for name in ("renamed", "carried", "void")
        if (found := [text for fate, text in keys.fates if fate == name])
    ]
    used = ", ".join(dict.fromkeys(text for fate, text in keys.fates if fate == "used")) or "nothing"
    note = f"{where}: an Accelerate config; used: {used}; {'; '.join(parts)}" if parts else ""
    return Reading(values=keys.values, sections=keys.sections, note=note)


def read_keys(data: Mapping[Any, Any], options: Mapping[str, Any], environment: Mapping[str, str]) -> Keys:
    """Return what became of each key of an Accelerate config."""
    keys = Keys(data=data, options=options, environment=environment)
    keys.read()
    return keys


@dataclass(kw_only=True)
class Keys:
    """The keys of a config: what they fix, the sections that are carried on, and what became of each, with a text."""

    data: Mapping[Any, Any]
    options: Mapping[str, Any]
    environment: Mapping[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    fates: list[tuple[Fate, str]] = field(default_factory=list)

    def read(self) -> None:
        """Read all keys."""
        environment = str(self.data.get("compute_environment") or "LOCAL_MACHINE").upper()
        if environment == "AMAZON_SAGEMAKER":
            self._tell("refused", "compute_environment: AMAZON_SAGEMAKER is not planned; start on the machine itself")
            return
        if environment != "LOCAL_MACHINE":
            hint = nearest(environment, ("LOCAL_MACHINE", "AMAZON_SAGEMAKER"))
            self._tell("refused", f"compute_environment: {environment[:40]} is not planned{hint}; write LOCAL_MACHINE")
        elif "compute_environment" in self.data:
            self._tell("used", "compute_environment")
        for key in self.data:
            if key not in _KEYS:
                place = next((name for name, section in SECTIONS.items() if key in section.keys), None)
                hint = f" (it stands in {place})" if place else nearest(str(key), _KEYS)
                self._tell("refused", f"unknown key {str(key)[:40]!r}{hint}")
        found = {name: self._section(name) for name in SECTIONS}
        kind = self._distributed_type()
        self._device(kind)
        self._processes(kind)
        self._precision(found["fp8_config"])
        self._sharding(kind, found)
        self._compile(found["dynamo_config"])
        self._parallelism(kind, found["parallelism_config"], found["fsdp_config"])
        self._fix("threads_per_process", "num_cpu_threads_per_process", is_renamed=True)
        if _ACCUMULATION in self.data:
            self._void(
                _ACCUMULATION, self.data[_ACCUMULATION], "the training counts all samples of a step: --batch-size"
            )
        for key, instead in _VOID.items():
            if key in self.data:
                self._void(key, self.data[key], instead)

    def _tell(self, fate: Fate, text: str) -> None:
        self.fates.append((fate, text))

    def _void(self, key: str, value: Any, instead: str = "") -> None:
        is_off = str(value).lower() in _NOTHING or (key == _ACCUMULATION and str(value) in ("1", "auto"))
        shown = key if isinstance(value, Mapping) else f"{key}: {_text(value)}"
        self._tell("void", f"{shown} ({instead})" if instead and not is_off else key)

    def _has(self, key: str) -> bool:
        return self.data.get(key) is not None

    def _fix(self, option: str, key: str, value: Any = None, *, is_renamed: bool = False) -> None:
        """Fix an option by the value of a key, or by what that means."""
        value = self.data.get(key) if value is None else value
        if value is None:
            if key in self.data:
                self._tell("void", key)
            return
        try:
            self.values[option] = convert(value, self.options[option], key)
        except UserError as error:
            self._tell("refused", str(error))
            return
        if is_renamed:
            self._tell("renamed", f"{key}: {_text(self.data.get(key))} is {option} {_text(value)}")
        else:
            self._tell("used", key)

    def _section(self, name: str) -> Read:
        found = self.data.get(name) or {}
        if not isinstance(found, Mapping):
            if str(found).lower() not in _NOTHING:
                self._tell("refused", f"{name}: expected keys and values, got {_text(found)!r}")
            found = {}
        read = read_section(name, {str(key): value for key, value in found.items()})
        self.fates += [("refused", text) for text in read.problems]
        if name in self.data and not found:
            self._tell("void", name)
        self.fates += [("void", text) for text in read.empty]
        return read

    def _leave(self, name: str, read: Read, why: str = "") -> None:
        """Note that a section changes nothing."""
        if read.values:
            self._tell("void", f"{name}.{', '.join(read.values)}{f' ({why})' if why else ''}")

    def _carry(self, name: str, read: Read, ours: Mapping[str, Any] | None = None) -> None:
        """Carry a section on to Accelerate, word for word, unless it is the one that a plan writes."""
        self.fates += [("renamed", text) for text in read.renamed]
        if not read.values or read.values == ours:
            self.fates += [("used", f"{name}.{key}") for key in read.values]
            return
        self.sections[name] = dict(read.values)
        self.fates += [("carried", f"{name}.{key}: {_text(value)}") for key, value in read.values.items()]

    def _distributed_type(self) -> str | None:
        value = self.data.get("distributed_type")
        if value is None:
            if "distributed_type" in self.data:
                self._tell("void", "distributed_type")
            return None
        kind = "NO" if value is False else str(value).strip().upper()
        if kind in _PLANNED:
            self._tell("used", "distributed_type")
            return kind
        known = (*_PLANNED, *_NOT_PLANNED)
        why = (
            f"{_NOT_PLANNED[kind]}, which is not planned; start it with `accelerate launch`, or"
            if kind in _NOT_PLANNED
            else f"is no kind that Accelerate has{nearest(kind, known)};"
        )
        self._tell("refused", f"distributed_type: {_text(value)} {why} write one of {', '.join(_PLANNED)}")
        return None

    def _device(self, kind: str | None) -> None:
        for key in ("use_cpu", "cpu", "use_mps_device"):
            if self._has(key) and self._truth(key):
                self._fix("device", key, "mps" if key == "use_mps_device" else "cpu", is_renamed=key != "use_cpu")
            elif key in self.data:
                self._tell("used" if self._has(key) else "void", key)
        named = {"MPS": "mps", "MULTI_CPU": "cpu"}.get(kind or "", (kind or "").removeprefix("MULTI_").lower())
        if "device" not in self.values and named in ("cpu", "mps", "xpu", "npu", "hpu"):
            self.values["device"] = named
        if "gpu_ids" in self.data:
            self._gpu_ids()

    def _gpu_ids(self) -> None:
        value = self.data["gpu_ids"]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        ids = sorted(one.strip() for one in text.split(","))
        if (
            value is None
            or text in ("all", "")
            or "device" in self.values
            or self.environment.get("CUDA_VISIBLE_DEVICES")
        ):
            self._tell("void", "gpu_ids")
        elif ids == [str(number) for number in range(len(ids))]:  # those that a plan takes first
            self._tell("void", "gpu_ids")
            if not self._has("num_processes"):
                self.values["num_processes"] = len(ids)
        else:
            self._fix("gpu_ids", "gpu_ids", text)

    def _processes(self, kind: str | None) -> None:
        several = str(self.data.get("num_machines") or 1) != "1"
        is_one = kind in ("NO", "MPS")
        for key in _AS_OPTIONS:
            if key not in self.data:
                continue
            value = self.data[key]
            if value in (None, "") or (key in _OF_SEVERAL_MACHINES and not several):
                self._tell("void", key)
            elif key == "num_processes" and is_one and str(value).isdecimal() and str(value) != "1":
                self._tell("void", f"num_processes: {_text(value)} (distributed_type: {kind} starts one)")
            elif key == "num_processes" and str(value) == "-1":
                self._tell("void", "num_processes: -1 (the plan counts the devices, or give --num-processes)")
            else:
                self._fix(key, key)
        if is_one:
            self.values["num_processes"] = 1

    def _precision(self, fp8: Read) -> None:
        named = self.data.get("mixed_precision")
        if named is not None:
            self._fix("mixed_precision", "mixed_precision", "no" if named is False else str(named).strip().lower())
        elif "mixed_precision" in self.data:
            self._tell("void", "mixed_precision")
        if self._has("fp16"):
            wanted = "fp16" if self._truth("fp16") else "no"
            if named is None:
                self._fix("mixed_precision", "fp16", wanted, is_renamed=True)
            elif wanted == "fp16" and self.values.get("mixed_precision") == "bf16":
                self._tell("refused", "fp16: true and mixed_precision: bf16 contradict each other; leave fp16 out")
            else:
                self._tell("void", "fp16")
        elif "fp16" in self.data:
            self._tell("void", "fp16")
        if self.values.get("mixed_precision") == "fp8":
            self._carry("fp8_config", fp8)
        else:
            self._leave("fp8_config", fp8, "mixed_precision is not fp8")

    def _sharding(self, kind: str | None, found: Mapping[str, Read]) -> None:
        if kind is not None:
            self.values["sharding"] = "replicate"
        if kind == "FSDP":
            self._fsdp(found["fsdp_config"])
        else:
            self._leave("fsdp_config", found["fsdp_config"], "" if kind is None else f"distributed_type: {kind}")
        if kind == "DEEPSPEED":
            self._deepspeed(found["deepspeed_config"])
        else:
            self._leave(
                "deepspeed_config", found["deepspeed_config"], "" if kind is None else f"distributed_type: {kind}"
            )

    def _is_alone(self, kind: str) -> bool:
        if self.values.get("num_processes") != 1:
            return False
        self._tell("renamed", f"distributed_type: {kind} of one process is sharding replicate")
        return True

    def _fsdp(self, read: Read) -> None:
        values = read.values
        if values.get("fsdp_sharding_strategy") == "NO_SHARD":
            self._tell("renamed", "fsdp_config.fsdp_sharding_strategy: NO_SHARD is sharding replicate")
            values.pop("fsdp_sharding_strategy")
            self._leave("fsdp_config", read, "nothing is sharded")
            return
        if not values.get("fsdp_offload_params") and self._is_alone("FSDP"):
            self._leave("fsdp_config", read, "nothing is sharded")
            return
        self.values["sharding"] = "fsdp"
        if values.get("fsdp_cpu_ram_efficient_loading") and values.get("fsdp_sync_module_states") is False:
            self._tell(
                "refused",
                "fsdp_config: fsdp_cpu_ram_efficient_loading: true needs fsdp_sync_module_states: true",
            )
        self._carry("fsdp_config", read, sections_of("fsdp")["fsdp_config"])

    def _deepspeed(self, read: Read) -> None:
        values = read.values
        name = "deepspeed_config"
        for key in ("deepspeed_exclusion_filter", "deepspeed_inclusion_filter"):
            if values.pop(key, None):
                self._tell("refused", f"{name}.{key}: give num_machines and num_processes, and CUDA_VISIBLE_DEVICES")
        if values.pop("deepspeed_hostfile", None):
            self._tell("void", f"{name}.deepspeed_hostfile (start the command on each machine)")
        if (launcher := values.pop("deepspeed_multinode_launcher", "standard")) != "standard":
            self._tell(
                "renamed", f"{name}.deepspeed_multinode_launcher: {launcher} is standard: start it on each machine"
            )
        for device in ("optimizer", "param"):
            if values.get(f"offload_{device}_device") == "nvme" and f"offload_{device}_nvme_path" not in values:
                self._tell("refused", f"{name}.offload_{device}_device: nvme needs offload_{device}_nvme_path: FOLDER")
        stage = values.get("zero_stage", 2)
        if "deepspeed_config_file" in values:
            file = read_deepspeed_file(values, self.values.get("mixed_precision"))
            self.fates += [("refused", f"{name}.{text}") for text in file.problems]
            stage = file.stage
            if file.precision:
                self.values["mixed_precision"] = file.precision
                self._tell(
                    "renamed", f"what {values['deepspeed_config_file']} computes in is mixed_precision {file.precision}"
                )
        elif not (values.keys() - {"zero_stage"}) and self._is_alone("DEEPSPEED"):
            self._leave(name, read, "nothing is sharded")
            return
        self.values["sharding"] = "zero3" if stage == 3 else "zero2"
        ours = sections_of(self.values["sharding"])[name]
        ours.pop("deepspeed_multinode_launcher")
        self._carry(name, read, ours)
        if self.sections.get(name) and "deepspeed_config_file" not in values:
            self.sections[name].setdefault("zero_stage", 2)
        if name in self.sections:
            self.sections[name]["deepspeed_multinode_launcher"] = "standard"

    def _compile(self, read: Read) -> None:
        values = read.values
        if self._has("dynamo_backend"):
            value = self.data["dynamo_backend"]
            top = read_section("dynamo_config", {"dynamo_backend": "NO" if value is False else value})
            self.fates += [("refused", text.removeprefix("dynamo_config.")) for text in top.problems]
            values = {**top.values, **values}
        elif "dynamo_backend" in self.data:
            self._tell("void", "dynamo_backend")
        if values.get("dynamo_backend", "NO") == "NO":
            self._leave("dynamo_config", read)
            if self._has("dynamo_backend"):
                self._tell("void", "dynamo_backend")
            return
        self.values["compile"] = True
        if "dynamo_backend" not in read.values:
            self._tell("used", "dynamo_backend")
        ours = (
            {"dynamo_backend": backend, **mode}
            for backend in ("INDUCTOR", "HPU_BACKEND")
            for mode in ({}, {"dynamo_mode": "default"})
        )
        plain = {key: value for key, value in values.items() if value is not False}
        read = Read(values=plain, renamed=read.renamed, empty=[], problems=[])
        self._carry("dynamo_config", read, next((one for one in ours if one == plain), None))

    def _parallelism(self, kind: str | None, read: Read, fsdp: Read) -> None:
        sizes = {key: value for key, value in read.values.items() if key.endswith("_size") and value > 1}
        if not sizes:
            self._leave("parallelism_config", read)
        elif kind == "FSDP" and fsdp.values.get("fsdp_version") == 2:
            self._carry("parallelism_config", read)
        else:
            self._tell(
                "refused", f"parallelism_config: {', '.join(sizes)} need distributed_type: FSDP and fsdp_version: 2"
            )

    def _truth(self, key: str) -> bool:
        found = _TRUTH.get(str(self.data[key]).strip().lower())
        if found is None:
            self._tell("refused", f"{key}: expected true or false, got {_text(self.data[key])!r}")
        return bool(found)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)[:40]

"""LaunchPlan <-> Accelerate's YAML, the command that carries the rest, and the check by Accelerate's own loader."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ....training.common.errors import UserError, flag_of
from ....training.common.plan_file import LaunchPlan
from ....training.common.program.waiting import said_if_long
from ...common.paths import python_path
from .sections import sections_of

_CHECK_SECONDS = 120.0  # an import of torch and Accelerate on a slow disk
_SEVERAL = {"cpu": "MULTI_GPU", "cuda": "MULTI_GPU", "rocm": "MULTI_GPU"}  # MULTI_CPU starts one process without mpirun
# The name of a plan's choice behind a key, where it is another.
_CHOICES = {
    "distributed_type": "sharding",
    "use_cpu": "device",
    "gpu_ids": "CUDA_VISIBLE_DEVICES",
    "fsdp_config": "sharding",
    "deepspeed_config": "sharding",
    "dynamo_config": "compile",
}


def distributed_type(plan: LaunchPlan) -> str:
    """Return Accelerate's distributed type. There is none for MPS; several CPU processes are MULTI_GPU with use_cpu."""
    if plan.sharding == "fsdp":
        return "FSDP"
    if plan.sharding in ("zero2", "zero3"):
        return "DEEPSPEED"
    if plan.num_processes == 1:
        return "NO"
    return _SEVERAL.get(plan.device, f"MULTI_{plan.device.upper()}")


def accelerate_processes(plan: LaunchPlan) -> int:
    """Return the number that Accelerate divides by the machines for those of this one: the world only where all are equal."""
    return plan.local_processes * plan.num_machines


def to_yaml(plan: LaunchPlan) -> str:
    """Return the config as YAML text: keys that Accelerate reads, each with its reason, and what the command must carry."""
    values: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": distributed_type(plan),
        # Accelerate refuses it in the file beside DeepSpeed's own.
        "mixed_precision": None if _has_deepspeed_file(plan) else plan.mixed_precision,
        "use_cpu": plan.device == "cpu",
        "gpu_ids": _gpu_ids(plan),
        "num_machines": plan.num_machines,
        "num_processes": accelerate_processes(plan),
        "machine_rank": plan.machine_rank,
        "main_process_ip": plan.main_process_ip,
        "main_process_port": plan.main_process_port,
        "main_training_function": "main",
        **_sections(plan),
    }
    reasons = {choice.field: choice for choice in plan.choices}
    lines = [f"# {_one_line(_headline(plan))}"]
    lines += [f"# warning: {_one_line(warning)}" for warning in plan.warnings]
    carried = [*(f"{name}={value}" for name, value in plan.environment.items()), *_flags(plan)]
    lines += [f"# Not read from this file, so part of the command: {_one_line(' '.join(carried))}"]
    if flags := training_flags(plan):
        lines.append(f"# And of the arguments of Slipway's own training: {' '.join(flags)}")
    for key, value in values.items():
        if value is None:
            continue
        if key == "distributed_type" and plan.device == "cpu" and plan.num_processes > 1:
            lines.append("# MULTI_GPU with use_cpu starts them all; MULTI_CPU without mpirun starts one")
        choice = reasons.get(_CHOICES.get(key, key))
        if choice:
            fact = f" ({choice.fact})" if choice.fact else ""
            lines.append(f"# {_one_line(choice.reason + fact)}")
        if key in plan.accelerate:
            lines.append("# as the config that was given has it")
        # safe_dump quotes 'NO' and 'no', which YAML would read as false.
        lines.append(yaml.safe_dump({key: value}, sort_keys=False, width=1000).rstrip("\n"))
    return "\n".join(lines) + "\n"


def _gpu_ids(plan: LaunchPlan) -> str | None:
    """Return the numbers of the GPUs that a plan takes where they are not the first, else None."""
    is_subset = "CUDA_VISIBLE_DEVICES" in plan.environment and not any(device.part for device in plan.devices)
    return ",".join(str(device.index) for device in plan.devices) if plan.device == "cuda" and is_subset else None


def _headline(plan: LaunchPlan) -> str:
    count = f"{plan.num_processes} process{'es' if plan.num_processes > 1 else ''}"
    where = f" on {plan.num_machines} machines" if plan.num_machines > 1 else ""
    names = list(dict.fromkeys(device.name for device in plan.devices))
    return f"{count}{where}, {plan.device}{': ' if names else ''}{', '.join(names)}. Written by slipway."


def _one_line(text: str) -> str:
    """Return text fit for a YAML comment: no line break, nothing that a YAML reader refuses."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def _sections(plan: LaunchPlan) -> dict[str, dict[str, Any]]:
    """Return the sections: those that a person fixed word for word, else our own."""
    return {**sections_of(plan.sharding, compiles=plan.compile, device=plan.device), **plan.accelerate}


def _has_deepspeed_file(plan: LaunchPlan) -> bool:
    return "deepspeed_config_file" in plan.accelerate.get("deepspeed_config", {})


@dataclass(frozen=True, kw_only=True)
class Command:
    """What starts a plan: the arguments, and the variables that the environment gets beside its own."""

    argv: tuple[str, ...]
    environment: dict[str, str]

    def __str__(self) -> str:
        """Return the line that a shell runs."""
        variables = (f"{name}={shlex.quote(value)}" for name, value in self.environment.items())
        return " ".join((*variables, shlex.join(self.argv)))


def launch_command(plan: LaunchPlan, config: str | os.PathLike[str], script: Sequence[str]) -> Command:
    """Return the command that starts `script` (with its arguments) as planned.

    The config file is always named: without it Accelerate reads a default one from the user's cache.
    """
    argv = ("accelerate", "launch", "--config_file", os.fspath(config), *_flags(plan), *script)
    return Command(argv=argv, environment=dict(plan.environment))


def _flags(plan: LaunchPlan) -> tuple[str, ...]:
    """Return what Accelerate reads from flags only."""
    precision = ("--mixed_precision", plan.mixed_precision) if _has_deepspeed_file(plan) else ()
    if plan.num_machines == 1:
        return precision
    return (*precision, "--machine_rank", str(plan.machine_rank), "--rdzv_backend", plan.rdzv_backend)


def training_flags(plan: LaunchPlan, given: Sequence[str] = ()) -> list[str]:
    """Return the options that Slipway's own training needs where it gets no plan file: no Accelerate config holds them.

    Options among the `given` words are left out.
    """
    already = {word.split("=")[0] for word in given}
    flags: list[str] = []
    for name in ("micro_batch_size", "gradient_accumulation", "num_workers", "share_weights"):
        value, choice = getattr(plan, name), plan.choice(name)
        is_wanted = len(set(value)) > 1 if isinstance(value, tuple) else choice is not None and choice.fixed
        if is_wanted and value is not None and flag_of(name) not in already:
            text = ",".join(f"{one:g}" for one in value) if isinstance(value, tuple) else str(value)
            flags += [flag_of(name), text]
    return flags


def check_config(path: str | os.PathLike[str], plan: LaunchPlan) -> list[str]:
    """Return how Accelerate's own reading of a config differs from the plan; nothing where it agrees.

    Accelerate loads the file, writes it, loads that again and validates the launch command, in a subprocess: the
    launcher imports no torch. Raises `UserError` where it cannot be asked.
    """
    return check_configs({os.fspath(path): plan})[os.fspath(path)]


def check_configs(plans: dict[str, LaunchPlan]) -> dict[str, list[str]]:
    """Return the differences by path, for many files by one import of Accelerate; see `check_config`."""
    asked = [
        {"path": path, "argv": list(launch_command(plan, path, ["x.py"]).argv[2:])} for path, plan in plans.items()
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "PET_", "FSDP_"))
    }
    environment["PYTHONPATH"] = python_path(environment)
    command = [sys.executable, "-P", "-m", "slipway.launcher.plan.accelerate.reader"]
    try:
        with said_if_long(
            "waiting for Accelerate to read the config; it imports torch, which a slow disk makes long ..."
        ):
            done = subprocess.run(
                command,
                input=json.dumps(asked),
                capture_output=True,
                text=True,
                env=environment,
                timeout=_CHECK_SECONDS,
                check=True,
            )
        answers = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise UserError(f"Accelerate did not answer within {_CHECK_SECONDS:g} s; is it installed completely?") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise UserError(f"Accelerate cannot be asked: {last}; is it installed beside slipway?") from None
    return {path: _differences(plan, answer) for (path, plan), answer in zip(plans.items(), answers, strict=True)}


def _differences(plan: LaunchPlan, answer: dict[str, Any]) -> list[str]:
    if "error" in answer:
        return [f"Accelerate refuses the file: {_one_line(answer['error'])}"]
    expected = {
        "distributed_type": distributed_type(plan),
        "num_processes": accelerate_processes(plan),
        "num_machines": plan.num_machines,
        "mixed_precision": None if _has_deepspeed_file(plan) else plan.mixed_precision,
        "launch.num_processes": accelerate_processes(plan),
        "launch.mixed_precision": plan.mixed_precision,
        "launch.use_cpu": plan.device == "cpu",
        "launch.machine_rank": plan.machine_rank,
        "launch.launcher": _launcher(plan),
        "unknown_keys": [],
    }
    return [
        f"{key}: Accelerate reads {answer.get(key)!r}, the plan has {value!r}"
        for key, value in expected.items()
        if answer.get(key) != value
    ]


def _launcher(plan: LaunchPlan) -> str:
    kind = distributed_type(plan)
    return {"NO": "simple", "FSDP": "fsdp", "DEEPSPEED": "deepspeed"}.get(kind, "multi")

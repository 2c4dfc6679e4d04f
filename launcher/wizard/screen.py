"""The first screen: the machine, and the plan in six lines with what each needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..common.numbers import short_count
from ..hardware.record import Hardware
from ..hardware.show import size
from ..plan.devices import slots
from .estimate import batch_of, free_bytes, memory, memory_words, step_seconds, step_words
from .script import is_own_training, script_exists, script_name, training_arguments
from .state import WizardState

NAMES = ("script", "devices", "machines", "model", "precision", "batch")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the plan: its number, its name, what is planned, and what that needs."""

    number: int
    name: str
    text: str
    costs: str = ""


def machine_words(state: WizardState) -> str:
    """Return what a person should know of the machine, in one sentence."""
    hardware = state.machine.hardware
    cpu, host, torch = hardware.cpu, hardware.memory, hardware.torch
    limit = "" if cpu.limited_by == "logical cores" else f" ({cpu.limited_by})"
    parts = [
        f"{cpu.usable_cpus:g} usable CPUs{limit}",
        f"{size(min(host.available_bytes, host.usable_bytes))} of memory free",
        _accelerators(hardware),
        f"torch {torch.version}" if torch.version else "torch is not installed",
    ]
    slurm = hardware.scheduler.slurm
    if slurm:
        parts.append(f"SLURM job {slurm.job_id} of {slurm.node_count or 1} nodes")
    name = hardware.hostname or ""
    if state.machine.is_here:
        return f"This machine{name and f', {name}'}: {', '.join(parts)}."
    return f"Another machine{name and f', {name}'}: {', '.join(parts)}."


def _accelerators(hardware: Hardware) -> str:
    names = [one.name for one in hardware.accelerators]
    counted = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    hidden = " (hidden by the environment)" if names and not hardware.environment.visible else ""
    return f"{counted}{hidden}" if counted else "no accelerator"


def plan_lines(state: WizardState) -> list[Line]:
    """Return the six lines of a plan."""
    texts = (_script(state), _devices(state), _machines(state), _model(state), _precision(state), _batch(state))
    costs = ("", _free(state), "", memory_words(state), "", step_words(state))
    return [
        Line(number=number, name=name, text=text, costs=cost)
        for number, (name, text, cost) in enumerate(zip(NAMES, texts, costs, strict=True), 1)
    ]


def unknown_words(state: WizardState) -> Iterator[str]:
    """Yield why memory or the time of a step is not told."""
    seconds = step_seconds(state)
    problem = state.needs.problem
    if problem:
        yield f"the model was not asked completely: {problem}"
    if state.intent.parameters is None:
        how = "type `4 7B` for 7 billion parameters"
        if is_own_training(state.script):
            how += ", or `4 count` to have them counted"
        yield f"memory is not estimated: the size of the model is not known; {how}"
    if isinstance(seconds, str) and seconds != problem:
        yield f"the time of a step is not estimated: {seconds}"
    elif not isinstance(seconds, str) and state.plan.num_processes > 1:
        yield "the time of a step is that of computing alone: sums over processes come on top"


def _script(state: WizardState) -> str:
    if not is_own_training(state.script):
        gone = state.machine.is_here and not script_exists(state.script)
        return f"{state.script}" + (f" ({script_name(state.script)} is not in this folder)" if gone else "")
    arguments = " ".join(training_arguments(state.script))
    return f"Slipway's own training{arguments and f': {arguments}'}"


def _devices(state: WizardState) -> str:
    plan = state.plan
    local = plan.local_processes
    if plan.device == "cpu":
        threads = f"{plan.threads_per_process} thread{'s' * (plan.threads_per_process > 1)}"
        return f"the CPU, {local} process{'es' * (local > 1)} of {threads}"
    names = [device.name for device in plan.devices]
    counted = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    there = len(slots(state.machine.hardware, plan.device))
    which = f" (numbers {', '.join(str(one.index) for one in plan.devices)} of {there})" if local < there else ""
    return f"{counted}{which}" + (", a process each" if local > 1 else ", one process")


def _free(state: WizardState) -> str:
    free = free_bytes(state)
    each = " on each" if len(state.plan.devices) > 1 else ""
    return "" if free is None or state.plan.device == "cpu" else f"{memory(free)} free{each}"


def _machines(state: WizardState) -> str:
    plan = state.plan
    if plan.num_machines == 1:
        return "1, this one" if state.machine.is_here else "1"
    if not state.is_meeting_place_known:
        return f"{plan.num_machines}; where they meet is missing"
    where = f"{plan.main_process_ip}:{plan.main_process_port}"
    return f"{plan.num_machines}, this is number {plan.machine_rank}; they meet at {where}"


_LIES = {
    "replicate": "a copy each",
    "fsdp": "spread by FSDP2",
    "zero2": "spread by ZeRO-2",
    "zero3": "spread by ZeRO-3",
}


def _model(state: WizardState) -> str:
    plan, parameters = state.plan, state.intent.parameters
    lies = _LIES[plan.sharding] if plan.num_processes > 1 or plan.sharding != "replicate" else ""
    if parameters is None:
        return "size not known" + (f", {lies}" if lies else "")
    counted = " (counted)" if parameters == state.needs.parameters else ""
    return f"{short_count(parameters)} parameters{counted}{lies and f', {lies}'}"


def _precision(state: WizardState) -> str:
    plan = state.plan
    shown = "float32" if plan.mixed_precision == "no" else plan.mixed_precision
    return f"{shown}, {'compiled' if plan.compile else 'not compiled'}"


def _batch(state: WizardState) -> str:
    plan, batch = state.plan, batch_of(state)
    if batch is None:
        return "the script's own"
    words = f"{batch} sample{'s' * (batch > 1)}"
    if state.intent.global_batch_size is None:
        words += " (the training's own)"
    return words + (f", {plan.micro_batch_size} a pass" if plan.micro_batch_size else "")

"""What can be changed in each line of the plan: the choices with what each costs, and how a typed value is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ...training.common.errors import UserError, nearest
from ...training.common.plan_file import Device
from ..common.numbers import parse_parameters, short_count
from ..common.paths import train_script
from ..plan.devices import slots
from .addresses import check_address
from .estimate import free_bytes, memory, memory_words, step_words
from .script import check_script, is_own_training, script_exists, script_name
from .state import WizardState, new_warnings, reason_of

_MOST = 1 << 16
AUTOMATIC = "auto"
COUNT = "count"
"""The reply that has Slipway's own training count its model."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a reply changes: options of the plan by name, or the script; `note` is a line to show."""

    options: Mapping[str, Any] | None = None
    script: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A value that can be chosen: its name, what it means and costs, why it cannot be."""

    label: str
    meaning: str
    answer: Answer
    costs: Sequence[str] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about a line of the plan."""

    line: int
    term: str  # in `terms`
    fields: tuple[str, ...]  # the options that `auto` takes back
    title: str
    now: Callable[[WizardState], str]
    read: Callable[[WizardState, str], Answer]  # raises `UserError` for what is no answer
    choices: Callable[[WizardState], Sequence[Choice]] = lambda state: ()
    is_asked: Callable[[WizardState], bool] = lambda state: True
    is_open: Callable[[WizardState], bool] = lambda state: False  # an answer is needed before anything can start
    says_why: bool = True  # of a value that is typed where the question is not asked
    has_numbers: bool = False  # choices are chosen by number: not where the value itself is a number


def _fixed(**options: Any) -> Answer:
    return Answer(options=options)


def _choice(state: WizardState, label: str, meaning: str, **options: Any) -> Choice:
    """Return a choice with what it costs, or with why it cannot be."""
    try:
        after = state.with_options(**options)
    except UserError as error:
        return Choice(label=label, meaning=meaning, answer=_fixed(**options), problem=reason_of(error))
    costs = [one for one in (memory_words(after), step_words(after), *new_warnings(state, after)[:1]) if one]
    return Choice(label=label, meaning=meaning, answer=_fixed(**options), costs=costs)


def _whole(text: str, least: int = 1) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not least <= int(text) <= _MOST * _MOST:
        raise UserError(f"{text!r} is no whole number from {least}")
    return int(text)


def _word(text: str, choices: Sequence[Choice]) -> Answer:
    """Return the answer of a choice by its name. Raises `UserError` for one that is not there or cannot be."""
    found = next((one for one in choices if one.label.lower() == text.lower()), None)
    if found is None:
        names = [one.label for one in choices]
        raise UserError(f"{text!r} is none of {', '.join(names)}{nearest(text.lower(), names)}")
    if found.problem:
        raise UserError(f"{found.label}: {found.problem}")
    return found.answer


# 1, the script


def _read_script(state: WizardState, text: str) -> Answer:
    script = check_script(text)
    there = script_exists(script) or not state.machine.is_here
    return Answer(script=script, note="" if there else f"{script_name(script)}: no such file from this folder")


# 2, the devices


def _kinds(state: WizardState) -> list[Choice]:
    meanings = {"cpu": state.machine.hardware.cpu.model}
    for one in state.machine.hardware.accelerators:
        meanings.setdefault(one.kind, one.name)
    # What was said of other devices does not hold for these.
    return [
        _choice(state, kind, meaning, device=kind, num_processes=None, gpu_ids=None, share_weights=None)
        for kind, meaning in meanings.items()
    ]


def _read_kind(state: WizardState, text: str) -> Answer:
    found = _kinds(state)
    if text.lower() in get_args(Device) and text.lower() not in [one.label for one in found]:
        state.with_options(device=text.lower())  # says why not
    return _word(text, found)


def _here(state: WizardState) -> int:
    """Return the most processes of this machine: its devices, or its usable CPUs."""
    if state.plan.device == "cpu":
        return max(1, int(state.machine.hardware.cpu.usable_cpus))
    return 1 if state.plan.device == "mps" else len(slots(state.machine.hardware, state.plan.device))


def _processes(state: WizardState) -> list[Choice]:
    most, is_cpu = _here(state), state.plan.device == "cpu"
    counts = sorted({most >> power for power in range(4) if most >> power}, reverse=not is_cpu)
    return [_choice(state, str(one), _of_processes(state, one, most), **_count(state, one)) for one in counts[:4]]


def _of_processes(state: WizardState, count: int, most: int) -> str:
    if state.plan.device == "cpu":
        return "one process, all cores by threads" if count == 1 else f"{count} processes that share the cores"
    free = free_bytes(state)
    room = f", {memory(free)} free on each" if free is not None else ""
    return (f"{count} of {most} devices" if count < most else f"all {most} devices") + room


def _count(state: WizardState, count: int) -> dict[str, Any]:
    return {"num_processes": count * state.plan.num_machines, "gpu_ids": None, "share_weights": None}


def _read_processes(state: WizardState, text: str) -> Answer:
    if state.plan.device == "cpu" or not set(text) & {",", "-"}:
        return _fixed(**_count(state, _whole(text)))
    ids: list[int] = []
    for part in text.replace(" ", "").strip(",").split(","):
        first, dash, last = part.partition("-")
        low, high = _whole(first, 0), _whole(last, 0) if dash else _whole(first, 0)
        if not low <= high < low + _MOST:
            raise UserError(f"{part!r} is no range of GPU numbers, such as 0-3")
        ids += range(low, high + 1)
    return _fixed(gpu_ids=tuple(ids), num_processes=None, share_weights=None)


def _processes_now(state: WizardState) -> str:
    if state.intent.gpu_ids is not None:
        return ",".join(map(str, state.intent.gpu_ids))
    return str(state.plan.local_processes)


# 3, the machines


def _read_machines(state: WizardState, text: str) -> Answer:
    count = _whole(text)
    if count > _MOST:
        raise UserError(f"{text} machines are more than a launch can have")
    if count == 1:
        return _fixed(
            num_machines=1, main_process_ip=None, main_process_port=None, machine_rank=None, **_kept(state, 1)
        )
    return _fixed(num_machines=count, **_kept(state, count))


def _kept(state: WizardState, machines: int) -> dict[str, Any]:
    """Return the processes of all machines, of which each keeps as many as it has."""
    is_fixed = state.options.get("num_processes") is not None
    return {"num_processes": state.plan.local_processes * machines, "share_weights": None} if is_fixed else {}


def _is_of_slurm(state: WizardState) -> bool:
    slurm = state.machine.hardware.scheduler.slurm
    return bool(slurm and slurm.node_rank is not None)


def _read_address(state: WizardState, text: str) -> Answer:
    found = check_address(
        text, state.machine.hardware, state.plan.main_process_port or 29500, not state.machine.is_here
    )
    options: dict[str, Any] = {"main_process_ip": found.host}
    if found.port is not None:
        options["main_process_port"] = found.port
    if found.is_here and not _is_of_slurm(state):
        options["machine_rank"] = 0
    return Answer(options=options, note=found.note and f"{found.host}: {found.note}")


def _address_now(state: WizardState) -> str:
    if not state.is_meeting_place_known:
        return ""
    port = state.plan.main_process_port
    host = state.plan.main_process_ip or ""
    return f"{host}:{port}" if port not in (None, 29500) and ":" not in host else host


def _has_several(state: WizardState) -> bool:
    return state.plan.num_machines > 1


# 4, the model

_SHARDINGS = {
    "replicate": "a copy of the model on each device",
    "fsdp": "spread by FSDP2",
    "zero2": "gradients and optimizer state spread by DeepSpeed",
    "zero3": "spread by DeepSpeed",
}


def _shardings(state: WizardState) -> list[Choice]:
    return [_choice(state, name, meaning, sharding=name) for name, meaning in _SHARDINGS.items()]


def _read_parameters(state: WizardState, text: str) -> Answer:
    if text.lower() == COUNT:
        if not is_own_training(state.script):
            raise UserError("only a task of Slipway's own training can be asked; type the number, such as 350M")
        return Answer(note=COUNT)
    return _fixed(parameters=parse_parameters(text))


def _parameters_now(state: WizardState) -> str:
    return "not known" if state.intent.parameters is None else short_count(state.intent.parameters)


# 5, precision and compiling

_PRECISIONS = {
    "bf16": "half the memory traffic, the range of float32",
    "fp16": "half the memory traffic, a small range: the loss is scaled",
    "no": "float32: the slowest and the safest",
    "fp8": "a quarter of the traffic of float32; needs another library",
}


def _precisions(state: WizardState) -> list[Choice]:
    return [_choice(state, name, meaning, mixed_precision=name) for name, meaning in _PRECISIONS.items()]


def _compiling(state: WizardState) -> list[Choice]:
    return [
        _choice(state, "no", "starts at once", compile=False),
        _choice(state, "yes", "faster steps after minutes of compiling", compile=True),
    ]


# 6, the batch


def _read_batch(state: WizardState, text: str) -> Answer:
    return _fixed(global_batch_size=_whole(text))


def _read_micro_batch(state: WizardState, text: str) -> Answer:
    return _fixed(micro_batch_size=_whole(text), gradient_accumulation=None)


def _is_batch_given(state: WizardState) -> bool:
    return state.intent.global_batch_size is not None


QUESTIONS = (
    Question(
        line=1,
        term="script",
        fields=(),
        title="Script and its arguments",
        now=lambda state: state.script or train_script(),
        read=_read_script,
    ),
    Question(
        line=2,
        term="device",
        fields=("device",),
        title="Device",
        now=lambda state: state.plan.device,
        read=_read_kind,
        choices=_kinds,
        is_asked=lambda state: len(_kinds(state)) > 1,
        has_numbers=True,
    ),
    Question(
        line=2,
        term="process",
        fields=("num_processes", "gpu_ids"),
        title="How many processes on this machine",
        now=_processes_now,
        read=_read_processes,
        choices=_processes,
        is_asked=lambda state: _here(state) > 1,
    ),
    Question(
        line=3,
        term="machine",
        fields=("num_machines",),
        title="How many machines",
        now=lambda state: str(state.plan.num_machines),
        read=_read_machines,
    ),
    Question(
        line=3,
        term="address",
        fields=("main_process_ip", "main_process_port"),
        title="Name or address of machine 0",
        now=_address_now,
        read=_read_address,
        is_asked=_has_several,
        says_why=False,
        is_open=lambda state: not state.is_meeting_place_known,
    ),
    Question(
        line=3,
        term="rank",
        fields=("machine_rank",),
        title="Which of them is this machine, from 0",
        now=lambda state: str(state.plan.machine_rank),
        read=lambda state, text: _fixed(machine_rank=_whole(text, 0)),
        is_asked=lambda state: _has_several(state) and not _is_of_slurm(state),
        says_why=False,
    ),
    Question(
        line=4,
        term="parameters",
        fields=("parameters",),
        title="Parameters of the model, such as 70B, 350M or 1.5e9",
        now=_parameters_now,
        read=_read_parameters,
    ),
    Question(
        line=4,
        term="fsdp",
        fields=("sharding",),
        title="Where the model lies",
        now=lambda state: state.plan.sharding,
        read=lambda state, text: _word(text, _shardings(state)),
        choices=_shardings,
        is_asked=lambda state: state.plan.num_processes > 1,
        has_numbers=True,
    ),
    Question(
        line=5,
        term="precision",
        fields=("mixed_precision",),
        title="Precision",
        now=lambda state: state.plan.mixed_precision,
        read=lambda state, text: _word(text, _precisions(state)),
        choices=_precisions,
        has_numbers=True,
    ),
    Question(
        line=5,
        term="compile",
        fields=("compile",),
        title="Compile the model",
        now=lambda state: "yes" if state.plan.compile else "no",
        read=lambda state, text: _word(text, _compiling(state)),
        choices=_compiling,
        has_numbers=True,
    ),
    Question(
        line=6,
        term="global batch",
        fields=("global_batch_size",),
        title="Samples of a step, over all processes",
        now=lambda state: str(state.intent.global_batch_size or "the script's own"),
        read=_read_batch,
    ),
    Question(
        line=6,
        term="micro-batch",
        fields=("micro_batch_size", "gradient_accumulation"),
        title="Most samples in one pass of a process",
        now=lambda state: str(state.plan.micro_batch_size or "the complete share"),
        read=_read_micro_batch,
        is_asked=_is_batch_given,
        says_why=False,
    ),
)

"""The questions of the wizard as data: when each is worth asking, what it recommends, what else can be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...training.common.plan_file import LaunchPlan
from ..common.paths import train_script
from ..plan.devices import slots
from ..plan.table import value_of
from .answers import parse_count, parse_integer, parse_world_count
from .script import check_script
from .state import AnswerOption, Question, WizardState, is_meeting_place_known

_MOST_SUGGESTIONS = 4


def _device_kinds(state: WizardState) -> list[str]:
    return list(dict.fromkeys(["cpu", *(one.kind for one in state.hardware.accelerators)]))


def _device_options(state: WizardState) -> list[AnswerOption]:
    def meaning(plan: LaunchPlan) -> str:
        names = ", ".join(dict.fromkeys(device.name for device in plan.devices))
        return names or f"the processor: {state.hardware.cpu.model}"

    others = [kind for kind in _device_kinds(state) if kind != state.plan.device]
    return [_recommended(state, "device"), *(state.option("device", kind, meaning) for kind in others)]


def _recommended(state: WizardState, field: str, label: str = "") -> AnswerOption:
    return AnswerOption(label=label or value_of(state.plan, field), value=None, meaning=state.reason_of(field))


def _machine_options(state: WizardState) -> list[AnswerOption]:
    alone = state.option("num_machines", 1, "this machine alone")
    return [_recommended(state, "num_machines"), *([alone] if state.plan.num_machines > 1 else [])]


def _has_several_nodes(state: WizardState) -> bool:
    slurm = state.hardware.scheduler.slurm
    return bool(slurm and (slurm.node_count or 1) > 1)


def _is_rank_unknown(state: WizardState) -> bool:
    slurm = state.hardware.scheduler.slurm
    return state.plan.num_machines > 1 and not (slurm and slurm.node_rank is not None)


def _most_processes(state: WizardState) -> int:
    plan = state.plan
    if plan.device == "cpu":
        return max(1, int(state.hardware.cpu.usable_cpus)) * plan.num_machines
    return (1 if plan.device == "mps" else len(slots(state.hardware, plan.device))) * plan.num_machines


def _process_options(state: WizardState) -> list[AnswerOption]:
    most, machines = _most_processes(state), state.plan.num_machines
    halves = [most // machines // 2**power * machines for power in range(20) if most // machines >= 2**power]
    counts = halves if state.plan.device != "cpu" else sorted(halves)

    def meaning(plan: LaunchPlan) -> str:
        threads = f"{plan.threads_per_process} thread{'s' * (plan.threads_per_process > 1)} each"
        if plan.device == "cpu":
            return f"processes of {threads}" if plan.num_processes > 1 else f"one process of {threads}"
        idle = most - plan.num_processes
        return f"{idle} of {most} devices stay{'s' * (idle == 1)} free, {threads}"

    others = [state.option("num_processes", one, meaning) for one in counts if one != state.plan.num_processes]
    return [_recommended(state, "num_processes"), *others[: _MOST_SUGGESTIONS - 1]]


_PRECISIONS = {
    "bf16": "half the memory traffic, the range of float32, no loss scaling",
    "fp16": "half the memory traffic, a small range: gradients are scaled",
    "fp8": "a quarter of the traffic of float32; needs another library",
    "no": "full float32: the slowest and the safest",
}
_SHARDINGS = {
    "replicate": "every process has the complete model",
    "fsdp": "FSDP2 spreads weights, gradients and optimizer state over the processes; the script must support it",
    "zero2": "DeepSpeed spreads gradients and optimizer state; the script must support it",
    "zero3": "DeepSpeed spreads the weights too; the script must support it",
}


def _word_options(field: str, meanings: dict[str, str]) -> Callable[[WizardState], list[AnswerOption]]:
    def options(state: WizardState) -> list[AnswerOption]:
        others = [
            state.option(field, name, text) for name, text in meanings.items() if name != getattr(state.plan, field)
        ]
        # Options that cannot work come last and have no number.
        return [_recommended(state, field), *sorted(others, key=lambda option: not option.possible)]

    return options


def _compile_options(state: WizardState) -> list[AnswerOption]:
    return [
        _recommended(state, "compile"),
        state.option("compile", True, "faster steps on long runs with few shapes", label="yes"),
    ]


def _leave_open(label: str, meaning: str) -> Callable[[WizardState], list[AnswerOption]]:
    return lambda state: [AnswerOption(label=label, value=None, meaning=meaning)]


def _is_always_asked(state: WizardState) -> bool:
    return True


def _is_batch_given(state: WizardState) -> bool:
    return state.answers.intent.global_batch_size is not None


QUESTIONS = (
    Question(
        name="script",
        title="Script to start",
        explanation="The path of a training script and its arguments, as in a shell. The default is Slipway's own training.",
        is_worth_asking=_is_always_asked,
        options=lambda state: [AnswerOption(label="Slipway's own training", value=None, meaning=train_script())],
        prompt="Script and its arguments",
        read=check_script,
    ),
    Question(
        name="device",
        title="Device",
        explanation="The kind of device that computes the model. A kind that torch cannot use is listed with how to fix it.",
        is_worth_asking=lambda state: len(_device_kinds(state)) > 1,
        options=_device_options,
    ),
    Question(
        name="num_machines",
        title="Machines",
        explanation="Each machine starts its own launcher with its own machine rank; all connect to machine 0.",
        is_worth_asking=_has_several_nodes,
        options=_machine_options,
        prompt="Number of machines",
        read=parse_world_count,
    ),
    Question(
        name="main_process_ip",
        title="Address of machine 0",
        explanation="A host name or address that all machines reach; its port is 29500 or that of --main-process-port.",
        is_worth_asking=lambda state: not is_meeting_place_known(state.hardware, state.answers.intent),
        options=lambda state: [],
        prompt="Host name or address",
        read=str,
    ),
    Question(
        name="machine_rank",
        title="Rank of this machine",
        explanation="Machines count from 0. Run the wizard, or the printed command, on each machine with its rank.",
        is_worth_asking=_is_rank_unknown,
        options=lambda state: [_recommended(state, "machine_rank")],
        prompt="Rank",
        read=parse_integer,
    ),
    Question(
        name="num_processes",
        title="Processes",
        explanation="Each process computes a share of every batch on its own device; on the CPU they share the cores.",
        is_worth_asking=lambda state: _most_processes(state) > state.plan.num_machines,
        options=_process_options,
        prompt="Number of processes, of all machines together",
        read=parse_world_count,
    ),
    Question(
        name="mixed_precision",
        title="Precision",
        explanation="The number format of the forward and backward pass. Weights and optimizer state stay in float32.",
        is_worth_asking=_is_always_asked,
        options=_word_options("mixed_precision", _PRECISIONS),
    ),
    Question(
        name="parameters",
        title="Parameters of the model",
        explanation="Training needs about 16 bytes a parameter: float32 weights, gradients and Adam's two moments. With the "
        "number the plan checks whether they fit a device and shards the model where they do not.",
        is_worth_asking=_is_always_asked,
        options=_leave_open("left open", "the model is assumed to fit one device"),
        prompt="A number such as 300000, 7e9 or 7B",
        read=parse_count,
    ),
    Question(
        name="sharding",
        title="Sharding",
        explanation="Replicas are fastest where the training state fits one device. Slipway's own training shards by FSDP2.",
        is_worth_asking=lambda state: (
            state.answers.intent.parameters is not None
            and any(option.possible for option in _word_options("sharding", _SHARDINGS)(state)[1:])
        ),
        options=_word_options("sharding", _SHARDINGS),
    ),
    Question(
        name="global_batch_size",
        title="Global batch",
        explanation="Samples of one optimizer step, over all processes. With it the plan shows how they are split.",
        is_worth_asking=_is_always_asked,
        options=_leave_open("left open", "the script decides"),
        prompt="Samples of a step",
        read=parse_integer,
    ),
    Question(
        name="micro_batch_size",
        title="Micro-batch",
        explanation="The most samples in one forward pass. A smaller one needs less memory; the result of a step is the same.",
        is_worth_asking=lambda state: _is_batch_given(state) and state.answers.intent.gradient_accumulation is None,
        options=lambda state: [_recommended(state, "micro_batch_size", "the complete share")],
        prompt="Most samples in one forward pass",
        read=parse_integer,
    ),
    Question(
        name="gradient_accumulation",
        title="Gradient accumulation",
        explanation="The number of micro-batches of a step, instead of their size: 4 splits each share into four passes.",
        is_worth_asking=lambda state: _is_batch_given(state) and state.answers.intent.micro_batch_size is None,
        options=lambda state: [_recommended(state, "gradient_accumulation")],
        prompt="Micro-batches of a step",
        read=parse_integer,
    ),
    Question(
        name="compile",
        title="Compile the model",
        explanation="torch.compile makes steps faster, but costs minutes at the start and again for each new batch shape.",
        is_worth_asking=lambda state: _compile_options(state)[1].possible,
        options=_compile_options,
    ),
)


def next_question(state: WizardState, answered: Sequence[str]) -> Question | None:
    """Return the first question that is worth asking and not answered yet, by a reply or a flag; None after the last."""
    return next((one for one in QUESTIONS if one.name not in answered and one.is_worth_asking(state)), None)

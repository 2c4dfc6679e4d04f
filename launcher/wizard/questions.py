"""The wizard's questions as data: which are worth asking of this machine, what each recommends, what else there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...training.common.plan_file import LaunchPlan
from ..plan.devices import slots
from ..plan.table import value_of
from .answers import count_of, whole_number, world_count
from .script import DEFAULT_SCRIPT, read_script
from .situation import Alternative, Question, WizardState, meeting_place_known

_MOST_SUGGESTIONS = 4


def _kinds(now: WizardState) -> list[str]:
    return list(dict.fromkeys(["cpu", *(one.kind for one in now.hardware.accelerators)]))


def _devices(now: WizardState) -> list[Alternative]:
    def meaning(plan: LaunchPlan) -> str:
        names = ", ".join(dict.fromkeys(device.name for device in plan.devices))
        return names or f"the processor: {now.hardware.cpu.model}"

    others = [kind for kind in _kinds(now) if kind != now.plan.device]
    return [_recommended(now, "device"), *(now.option("device", kind, meaning) for kind in others)]


def _recommended(now: WizardState, field: str, label: str = "") -> Alternative:
    return Alternative(label=label or value_of(now.plan, field), value=None, meaning=now.because(field))


def _machines(now: WizardState) -> list[Alternative]:
    alone = now.option("num_machines", 1, "this machine alone")
    return [_recommended(now, "num_machines"), *([alone] if now.plan.num_machines > 1 else [])]


def _several_nodes(now: WizardState) -> bool:
    slurm = now.hardware.scheduler.slurm
    return bool(slurm and (slurm.node_count or 1) > 1)


def _rank_unknown(now: WizardState) -> bool:
    slurm = now.hardware.scheduler.slurm
    return now.plan.num_machines > 1 and not (slurm and slurm.node_rank is not None)


def _most_processes(now: WizardState) -> int:
    plan = now.plan
    if plan.device == "cpu":
        return max(1, int(now.hardware.cpu.usable_cpus)) * plan.num_machines
    return (1 if plan.device == "mps" else len(slots(now.hardware, plan.device))) * plan.num_machines


def _processes(now: WizardState) -> list[Alternative]:
    most, machines = _most_processes(now), now.plan.num_machines
    halves = [most // machines // 2**power * machines for power in range(20) if most // machines >= 2**power]
    counts = halves if now.plan.device != "cpu" else sorted(halves)

    def meaning(plan: LaunchPlan) -> str:
        threads = f"{plan.threads_per_process} thread{'s' * (plan.threads_per_process > 1)} each"
        if plan.device == "cpu":
            return f"processes of {threads}" if plan.num_processes > 1 else f"one process of {threads}"
        idle = most - plan.num_processes
        return f"{idle} of {most} devices stay{'s' * (idle == 1)} free, {threads}"

    others = [now.option("num_processes", one, meaning) for one in counts if one != now.plan.num_processes]
    return [_recommended(now, "num_processes"), *others[: _MOST_SUGGESTIONS - 1]]


_PRECISIONS = {
    "bf16": "half the memory traffic, the range of float32, no loss scaling",
    "fp16": "half the memory traffic, a small range: gradients are scaled",
    "fp8": "a quarter of the traffic of float32; needs a library of its own",
    "no": "full float32: the slowest and the safest",
}
_SHARDINGS = {
    "replicate": "every process holds the whole model",
    "fsdp": "FSDP2 spreads weights, gradients and optimizer state over the processes; the script must support it",
    "zero2": "DeepSpeed spreads gradients and optimizer state; the script must support it",
    "zero3": "DeepSpeed spreads the weights too; the script must support it",
}


def _named(field: str, meanings: dict[str, str]) -> Callable[[WizardState], list[Alternative]]:
    def options(now: WizardState) -> list[Alternative]:
        others = [now.option(field, name, said) for name, said in meanings.items() if name != getattr(now.plan, field)]
        # Those that cannot work come last and have no number.
        return [_recommended(now, field), *sorted(others, key=lambda option: not option.possible)]

    return options


def _compiling(now: WizardState) -> list[Alternative]:
    return [
        _recommended(now, "compile"),
        now.option("compile", True, "faster steps on long runs with few shapes", label="yes"),
    ]


def _left_open(label: str, meaning: str) -> Callable[[WizardState], list[Alternative]]:
    return lambda now: [Alternative(label=label, value=None, meaning=meaning)]


def _always(now: WizardState) -> bool:
    return True


def _batch_given(now: WizardState) -> bool:
    return now.answers.intent.global_batch_size is not None


QUESTIONS = (
    Question(
        name="script",
        title="Script to start",
        more="The path of a training script and its arguments, as in a shell. Slipway's own is bin/train.py.",
        worth=_always,
        options=_left_open(DEFAULT_SCRIPT, "Slipway's own training"),
        prompt="Script and its arguments",
        read=read_script,
    ),
    Question(
        name="device",
        title="Device",
        more="What the model is computed on. What torch cannot use here is listed with what would mend it.",
        worth=lambda now: len(_kinds(now)) > 1,
        options=_devices,
    ),
    Question(
        name="num_machines",
        title="Machines",
        more="Every machine starts its own launcher, with its own machine rank, and they meet at machine 0.",
        worth=_several_nodes,
        options=_machines,
        prompt="Number of machines",
        read=world_count,
    ),
    Question(
        name="main_process_ip",
        title="Address of machine 0",
        more="A host name or an address that all machines reach; its port is 29500 unless --main-process-port says otherwise.",
        worth=lambda now: not meeting_place_known(now.hardware, now.answers.intent),
        options=lambda now: [],
        prompt="Host name or address",
        read=str,
    ),
    Question(
        name="machine_rank",
        title="Rank of this machine",
        more="Machines count from 0. Run the wizard, or the printed command, on each with its own rank.",
        worth=_rank_unknown,
        options=lambda now: [_recommended(now, "machine_rank")],
        prompt="Rank",
        read=whole_number,
    ),
    Question(
        name="num_processes",
        title="Processes",
        more="Each process computes a share of every batch, on a device of its own; on the CPU they share the cores.",
        worth=lambda now: _most_processes(now) > now.plan.num_machines,
        options=_processes,
        prompt="Number of processes, of all machines together",
        read=world_count,
    ),
    Question(
        name="mixed_precision",
        title="Precision",
        more="What the forward and the backward pass compute in. Weights and optimizer state stay in float32 in any case.",
        worth=_always,
        options=_named("mixed_precision", _PRECISIONS),
    ),
    Question(
        name="parameters",
        title="Parameters of the model",
        more="Training needs about 16 bytes a parameter: float32 weights, gradients and Adam's two moments. With the "
        "number the plan checks whether they fit a device and shards the model where they do not.",
        worth=_always,
        options=_left_open("left open", "the model is taken to fit one device"),
        prompt="A number such as 300000, 7e9 or 7B",
        read=count_of,
    ),
    Question(
        name="sharding",
        title="Sharding",
        more="Replicas are fastest where the training state fits one device. Slipway's own training loop shards by FSDP2.",
        worth=lambda now: (
            now.answers.intent.parameters is not None
            and any(option.possible for option in _named("sharding", _SHARDINGS)(now)[1:])
        ),
        options=_named("sharding", _SHARDINGS),
    ),
    Question(
        name="global_batch_size",
        title="Global batch",
        more="Samples of one optimizer step, of all processes together. With it the plan says how they are shared and cut.",
        worth=_always,
        options=_left_open("left open", "the script decides"),
        prompt="Samples of a step",
        read=whole_number,
    ),
    Question(
        name="micro_batch_size",
        title="Micro-batch",
        more="The most samples in one forward pass. A smaller one needs less memory; the result of a step is the same.",
        worth=lambda now: _batch_given(now) and now.answers.intent.gradient_accumulation is None,
        options=lambda now: [_recommended(now, "micro_batch_size", "the whole share")],
        prompt="Most samples in one forward pass",
        read=whole_number,
    ),
    Question(
        name="gradient_accumulation",
        title="Gradient accumulation",
        more="Micro-batches of a step, instead of their size: 4 cuts each share into four forward and backward passes.",
        worth=lambda now: _batch_given(now) and now.answers.intent.micro_batch_size is None,
        options=lambda now: [_recommended(now, "gradient_accumulation")],
        prompt="Micro-batches of a step",
        read=whole_number,
    ),
    Question(
        name="compile",
        title="Compile the model",
        more="torch.compile makes steps faster and costs minutes at the start, and again for each new shape of a batch.",
        worth=lambda now: _compiling(now)[1].possible,
        options=_compiling,
    ),
)


def next_question(now: WizardState, settled: Sequence[str]) -> Question | None:
    """Return the first question that is worth asking and not settled: answered, or fixed by a flag."""
    return next((one for one in QUESTIONS if one.name not in settled and one.worth(now)), None)

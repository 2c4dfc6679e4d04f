"""Checks of environment variables: those of another launch, and those that change a training without a trace. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...training.common.plan_file import PLAN_VARIABLE, LaunchPlan
from ..hardware.record import Hardware
from ..launch.environment import stale_variables
from ..plan.host import cores_of
from .check import Check, DoctorContext, failed, passed, warned

# Of the stale variables, these are Accelerate's settings; the others tell a process its place in a world.
_FLAGS_OF_ACCELERATE = ("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_")
_HARMLESS_ACCELERATE = ("ACCELERATE_LOG_LEVEL", "ACCELERATE_ENABLE_RICH", "ACCELERATE_DISABLE_RICH")
_OFF = ("", "0", "false", "no", "off")
# Variables and what they do while they are on.
_SLOW = {
    "CUDA_LAUNCH_BLOCKING": "each kernel waits for the one before",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "each tensor is a new allocation",
    "NCCL_SHM_DISABLE": "GPUs of one host talk through the network",
}


def check_leftover_launch(context: DoctorContext) -> Check:
    """Fail where variables such as WORLD_SIZE are set though nothing launched this process; warn of the harmless ones."""
    name, scheduler = "leftover_launch", context.hardware.scheduler
    names = [*stale_variables(context.environ), *({PLAN_VARIABLE} & context.environ.keys())]
    found = {key: context.environ[key] for key in names if not key.startswith(_FLAGS_OF_ACCELERATE)}
    if not found:
        return passed(name, "no variable of another launch")
    listed = " ".join(f"{key}={value}" for key, value in found.items())
    unset = f"unset {' '.join(found)}"
    if scheduler.torchrun:
        where = f"rank {scheduler.torchrun.rank} of a torchrun"
        return warned(name, f"this is {where}: a launch from here starts another world", "run it outside")
    fatal = [key for key, value in found.items() if _stops_a_start(key, value, context.plan)]
    if fatal and scheduler.kubernetes:
        return warned(name, f"{listed}: set by the operator of this pod, for one process to a pod", unset)
    if fatal:
        why = "left without a launcher: a plain start stops or waits (`slipway launch` takes them out)"
        return failed(name, f"{listed} {why}", unset)
    return warned(name, f"{listed}: can change how a launch from here starts", unset)


def _stops_a_start(name: str, value: str, plan: LaunchPlan) -> bool:
    """Return whether this variable alone makes a start fail, or wait for processes that nobody starts.

    Seen with Accelerate 1.15: a plain start by WORLD_SIZE and LOCAL_RANK, `accelerate launch` on one machine by
    PET_NNODES.
    """
    if name in ("WORLD_SIZE", "PET_NNODES"):
        return value not in ("1", "1:1") and (name == "WORLD_SIZE" or plan.num_machines == 1)
    return name == "LOCAL_RANK"


def check_environment(context: DoctorContext) -> Check:
    """Warn of variables that change what is trained, or how fast, and stand neither in the plan nor in the recipe."""
    notes = notes_on_variables(context)
    if not notes:
        return passed("environment", "no variable that changes a training without a trace")
    evidence = "; ".join(f"{key}={context.environ[key]}: {note}" for key, note in notes.items())
    return warned("environment", evidence, f"unset {' '.join(notes)}")


def notes_on_variables(context: DoctorContext) -> dict[str, str]:
    """Return what is wrong with variables, by their names."""
    return dict(_notes(context))


def _notes(context: DoctorContext) -> Iterator[tuple[str, str]]:
    environ, plan, hardware = context.environ, context.plan, context.hardware
    for name in sorted(environ):
        value = environ[name]
        note = None
        if name.startswith("ACCELERATE_"):
            note = _accelerate_note(name, value, plan)
        elif name in _SLOW and value.lower() not in _OFF:
            note = _SLOW[name] if plan.device in ("cuda", "rocm") else None
        elif name.startswith("NCCL_") and plan.device in ("cuda", "rocm"):
            note = _nccl_note(name, value, hardware, plan)
        elif name == "GLOO_SOCKET_IFNAME":
            note = _interface_note(value, hardware)
        elif name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            note = _threads_note(value, hardware, plan)
        elif name == "TORCH_DISTRIBUTED_DEBUG" and value.upper() == "DETAIL":
            note = "each collective is checked by another one"
        elif name == "TORCH_DEVICE_BACKEND_AUTOLOAD" and value == "0" and plan.device in ("npu", "hpu"):
            note = f"torch does not load the {plan.device} backend by itself"
        if note:
            yield name, note


def _accelerate_note(name: str, value: str, plan: LaunchPlan) -> str | None:
    if name in _HARMLESS_ACCELERATE or value == "":
        return None
    on = value.lower() not in _OFF
    if name == "ACCELERATE_USE_CPU":
        return "Accelerate sees no accelerator" if on and plan.device != "cpu" else None
    if name == "ACCELERATE_MIXED_PRECISION":
        same = value == plan.mixed_precision
        return None if same else f"{plan.mixed_precision} is planned; a script started without a launcher takes this"
    if name == "ACCELERATE_GRADIENT_ACCUMULATION_STEPS":
        return None if value == "1" else "Accelerate takes it over the value in a script"
    if name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        planned = plan.sharding == "fsdp" if name.endswith("FSDP") else plan.sharding in ("zero2", "zero3")
        return f"{plan.sharding} is planned" if on and not planned else None
    if name == "ACCELERATE_CONFIG_FILE":
        return "Accelerate does not read it; it reads --config_file"
    return "changes what Accelerate does" if on else None


def _nccl_note(name: str, value: str, hardware: Hardware, plan: LaunchPlan) -> str | None:
    on = value.lower() not in _OFF
    if name == "NCCL_P2P_DISABLE":
        planned = {device.index for device in plan.devices}
        joined = [link for link in hardware.links if {link.first, link.second} <= planned]
        direct = len(plan.devices) > 1 and joined and all(link.p2p for link in joined)
        return "the GPUs have P2P, and their traffic goes through host memory" if on and direct else None
    if name == "NCCL_IB_DISABLE":
        return "InfiniBand is not used between machines" if on and plan.num_machines > 1 else None
    if name == "NCCL_DEBUG":
        return "NCCL writes many lines" if value.upper() in ("INFO", "TRACE") else None
    if name == "NCCL_SOCKET_IFNAME":
        return _interface_note(value, hardware)
    return None


def _interface_note(value: str, hardware: Hardware) -> str | None:
    """Return what is wrong with a list of interfaces such as `eth0,ens5`, or None.

    NCCL reads `^docker` as all but these and `=eth0` as exactly this. It reads other entries as the beginning of a name,
    Gloo as a name, so an entry with which no name begins is wrong for both.
    """
    names = [interface.name for interface in hardware.network]
    if not names or not value or value.startswith("^"):
        return None
    wanted = [part.strip() for part in value.removeprefix("=").split(",")]
    if any(name.startswith(part.split(":")[0]) for part in wanted for name in names):
        return None
    return f"no such interface; here are {', '.join(names)}"


def _threads_note(value: str, hardware: Hardware, plan: LaunchPlan) -> str | None:
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        return "not a number of threads"
    if any(choice.field == "threads_per_process" and choice.fixed for choice in plan.choices):
        return None  # the plan's number is set for the processes
    cores, why = cores_of(hardware)
    local = plan.local_processes
    total = int(value) * local
    if total > cores:
        return f"{total} threads on {cores} cores ({why}) take turns"
    if plan.device == "cpu" and 2 * total <= cores:
        return f"only {total} of {cores} cores ({why}) compute"
    return None

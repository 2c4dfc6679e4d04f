"""The environment of the processes of a launch: what is inherited, what is taken out, what the plan adds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...training.common.plan_file import PLAN_VARIABLE, LaunchPlan
from .state_files import FOLDER_VARIABLE, PARENT_VARIABLE, RESTART_VARIABLE

# What another launch sets, by which this one would be led astray; its own are set afresh.
_STALE_PREFIXES = ("PET_", "TORCHELASTIC_", "ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_")
_STALE = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_RANK",
    "ROLE_NAME",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    # MPI's, which Accelerate takes for its own.
    "PMI_RANK",
    "PMI_SIZE",
    "MPI_LOCALRANKID",
    "MPI_LOCALNRANKS",
    *(
        f"{family}_COMM_WORLD_{name}"
        for family in ("OMPI", "MV2")
        for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    ),
)
# They change what is said, not what is started.
_KEPT = ("ACCELERATE_LOG_LEVEL", "ACCELERATE_ENABLE_RICH", "ACCELERATE_DEBUG_MODE")
_OURS = (PLAN_VARIABLE, FOLDER_VARIABLE, PARENT_VARIABLE, RESTART_VARIABLE)


def stale_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables of another launch, by name."""
    return sorted(
        name for name in environment if (name in _STALE or name.startswith(_STALE_PREFIXES)) and name not in _KEPT
    )


def starts_directly(plan: LaunchPlan) -> bool:
    """Return whether the processes are started without Accelerate's launcher, which would import torch once more."""
    is_plain = plan.sharding == "replicate" and plan.mixed_precision != "fp8" and not plan.accelerate
    return is_plain and (plan.num_machines == 1 or plan.rdzv_backend == "static")


@dataclass(frozen=True, kw_only=True)
class World:
    """The ranks of a launch, of which this machine has some, and where they meet: rank 0 serves a store there."""

    size: int
    first_rank: int = 0  # of this machine
    local_size: int
    machine_rank: int = 0
    num_machines: int = 1
    address: str = "127.0.0.1"
    port: int


def rank_variables(local_rank: int, world: World) -> dict[str, str]:
    """Return what torchrun's agent sets for a rank of this machine."""
    rank = world.first_rank + local_rank
    return {
        "LOCAL_RANK": str(local_rank),
        "LOCAL_WORLD_SIZE": str(world.local_size),
        **{name: str(rank) for name in ("RANK", "ROLE_RANK")},
        **{name: str(world.size) for name in ("WORLD_SIZE", "ROLE_WORLD_SIZE")},
        "GROUP_RANK": str(world.machine_rank),
        "GROUP_WORLD_SIZE": str(world.num_machines),
        "ROLE_NAME": "default",
        "MASTER_ADDR": world.address,
        "MASTER_PORT": str(world.port),
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "False",
    }


def alone_variables(port: int) -> dict[str, str]:
    """Return what a script that makes a process group of its own reads, for one process.

    Without a name of torchrun's agent, which would make it a replica; `imports.py` takes LOCAL_RANK, by which Accelerate
    would do so, from Accelerate.
    """
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return {name: rank_variables(0, World(size=1, local_size=1, port=port))[name] for name in names}


def environment_of(plan: LaunchPlan, inherited: Mapping[str, str], plan_path: str, folder: str) -> dict[str, str]:
    """Return the environment that a plan's processes start with."""
    removed = (*stale_variables(inherited), *_OURS)
    return {
        **{name: value for name, value in inherited.items() if name not in removed},
        **(_launcher_variables(plan) if starts_directly(plan) else {}),
        **plan.environment,
        PLAN_VARIABLE: plan_path,
        FOLDER_VARIABLE: folder,
    }


def _launcher_variables(plan: LaunchPlan) -> dict[str, str]:
    """Return what `accelerate launch` sets (`prepare_simple_launcher_cmd_env`, `prepare_multi_gpu_env`)."""
    backend = ("HPU_BACKEND" if plan.device == "hpu" else "INDUCTOR") if plan.compile else "NO"
    variables = {
        "ACCELERATE_MIXED_PRECISION": plan.mixed_precision,
        "ACCELERATE_DYNAMO_BACKEND": backend,
        "ACCELERATE_DYNAMO_MODE": "default",
        "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
        "ACCELERATE_DYNAMO_USE_DYNAMIC": "False",
        "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "False",
        "OMP_NUM_THREADS": str(plan.threads_per_process),
    }
    if plan.num_processes > 1:
        return {**variables, "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}
    variables["ACCELERATE_USE_CPU"] = str(plan.device == "cpu")
    if plan.device == "cpu":
        variables |= {"KMP_AFFINITY": "granularity=fine,compact,1,0", "KMP_BLOCKTIME": "1"}
    return variables


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How an environment differs from another; `changed` has the old and the new value."""

    added: dict[str, str]
    changed: dict[str, tuple[str, str]]
    removed: dict[str, str]


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> Difference:
    """Return how `after` differs from `before`."""
    return Difference(
        added={name: after[name] for name in sorted(after.keys() - before.keys())},
        changed={
            name: (before[name], after[name])
            for name in sorted(after.keys() & before.keys())
            if before[name] != after[name]
        },
        removed={name: before[name] for name in sorted(before.keys() - after.keys())},
    )

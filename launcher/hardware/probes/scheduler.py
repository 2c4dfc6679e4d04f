"""Probe what started this process: SLURM, torchrun, Kubernetes."""

from __future__ import annotations

from typing import Literal

from ....training.common.program.launched import nodes_of_step
from ..record import Kubernetes, Scheduler, Slurm, Torchrun
from .sources import Sources

# Step numbers that slurm.h reserves: with use_interactive_step, the shell of salloc is such a step.
_INTERACTIVE_STEP = 0xFFFFFFFA
_BATCH_STEP = 0xFFFFFFFB


def detect(sources: Sources) -> Scheduler:
    """Return what the environment variables say."""
    return Scheduler(slurm=_slurm(sources), torchrun=_torchrun(sources), kubernetes=_kubernetes(sources))


def _slurm(sources: Sources) -> Slurm | None:
    environ = sources.environ
    job_id = environ.get("SLURM_JOB_ID") or environ.get("SLURM_JOBID")
    if not job_id:
        return None
    place = _place(sources)
    # A step may be on some of the job's nodes, and on those of several parts of a heterogeneous job.
    own = nodes_of_step(environ) if place == "step" else ""
    counts = (*(("SLURM_STEP_NUM_NODES",) if place == "step" else ()), "SLURM_JOB_NUM_NODES", "SLURM_NNODES")
    return Slurm(
        place=place,
        job_id=environ.get("SLURM_JOB_ID_HET_GROUP_0") or job_id,  # that all parts know
        node_list=own or environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST"),
        node_count=_first(sources, *counts),
        node_rank=sources.integer("SLURM_NODEID"),
        task_count=_first(sources, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        process_id=sources.integer("SLURM_PROCID"),
        local_id=sources.integer("SLURM_LOCALID"),
        restart_count=sources.integer("SLURM_RESTART_COUNT"),
    )


def _place(sources: Sources) -> Literal["allocation", "batch", "step"]:
    """Return where in a job this is: a salloc shell has no SLURM_PROCID, a batch script no SLURM_STEP_ID."""
    step = sources.integer("SLURM_STEP_ID")
    if step == _BATCH_STEP:
        return "batch"
    if step is not None and step != _INTERACTIVE_STEP:
        return "step"
    return "batch" if step is None and "SLURM_PROCID" in sources.environ else "allocation"


def _first(sources: Sources, *variables: str) -> int | None:
    return next((value for value in map(sources.integer, variables) if value is not None), None)


def _torchrun(sources: Sources) -> Torchrun | None:
    """Return torchrun's worker by its run id; RANK and WORLD_SIZE alone may be left over from another launch."""
    run_id = sources.environ.get("TORCHELASTIC_RUN_ID")
    if run_id is None:
        return None
    return Torchrun(
        run_id=run_id,
        rank=sources.integer("RANK"),
        local_rank=sources.integer("LOCAL_RANK"),
        world_size=sources.integer("WORLD_SIZE"),
    )


def _kubernetes(sources: Sources) -> Kubernetes | None:
    if "KUBERNETES_SERVICE_HOST" not in sources.environ:
        return None
    return Kubernetes(
        pod=sources.environ.get("POD_NAME") or sources.environ.get("HOSTNAME"),
        completion_index=sources.integer("JOB_COMPLETION_INDEX"),
    )

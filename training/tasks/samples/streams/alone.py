"""Reading a stream as if this process were the only one, so that what shards itself by rank is read complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

_VARIABLES = tuple(
    f"{family}{name}"
    for family, names in {
        "": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "NODE_RANK"),
        "OMPI_COMM_WORLD_": ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"),
        "PMI_": ("RANK", "SIZE"),
        "MV2_COMM_WORLD_": ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"),
        "SLURM_": ("PROCID", "LOCALID", "NODEID", "NTASKS", "NPROCS", "NNODES"),
    }.items()
    for name in names
)


@contextmanager
def as_if_alone() -> Iterator[None]:
    """Let torch.distributed, Accelerate and the environment say, inside the block, that this is rank 0 of 1."""
    hidden = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
    state = _state_of_accelerate()
    before = dict(state)
    group = dist.GroupMember.WORLD if dist.is_available() and dist.is_initialized() else None
    if group is not None:
        dist.GroupMember.WORLD = dist.ProcessGroup(0, 1)  # type: ignore[call-arg]
    state.update({name: value for name, value in _ALONE.items() if name in state})
    try:
        yield
    finally:
        if group is not None:
            dist.GroupMember.WORLD = group
        state.update({name: value for name, value in before.items() if name in _ALONE})
        os.environ.update(hidden)


_ALONE = {"num_processes": 1, "process_index": 0, "local_process_index": 0}


def _state_of_accelerate() -> dict[str, Any]:
    from accelerate.state import PartialState

    return PartialState._shared_state

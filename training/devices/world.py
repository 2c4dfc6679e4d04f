"""Start the processes of a run as one group, and check that it is the one the launcher promised."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import datetime
import gc
import json
import logging
import os
import re
import socket
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from ..common.errors import UserError
from ..common.program.launched import LAUNCH_VARIABLES, LaunchedWorld, leftovers, world_of
from .meeting import meet

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

logger = logging.getLogger("slipway")
_logged: set[str] = set()
_ACCELERATE = ("ACCELERATE_", "FSDP_", "PARALLELISM_CONFIG_", "MEGATRON_LM_", "FORK_LAUNCHED")


@dataclasses.dataclass
class _Meetings:
    """How often this process has joined its launch, and where its processes meet."""

    count: int = 0
    store: dist.Store | None = None
    """Of the first process group: kept, since the rank that serves it and its port stay the same for a launch."""


_meetings = _Meetings()


def meet_at(store: dist.Store) -> None:
    """Have the processes of this launch meet in a store that all have connected to."""
    _meetings.store = store


def log_once(level: int, message: str) -> None:
    """Log `message` on rank 0, the first time only."""
    if message not in _logged and launched_world().rank == 0:
        logger.log(level, message)
    _logged.add(message)


def launched_world() -> LaunchedWorld:
    """Return the world that the environment of this process promises. Raises `UserError` as `world_of` does."""
    return world_of(os.environ)


def start_accelerator(*, kind: str, precision: str, timeout_seconds: float) -> Accelerator:
    """Return a new Accelerator on devices of `kind`; in a world of several processes, with its process group.

    Raises `UserError` if the environment promises a world that cannot be joined.
    """
    try:
        with warnings.catch_warnings():
            # In a notebook without ipywidgets tqdm says so, which is imported here and not used.
            warnings.filterwarnings("ignore", message="IProgress not found")
            from accelerate import Accelerator
            from accelerate.utils import (
                DistributedDataParallelKwargs,
                GradientAccumulationPlugin,
                InitProcessGroupKwargs,
            )
    except ValueError as error:  # of a variable that it reads at once: ACCELERATE_LOG_LEVEL
        raise _unusable(error) from error

    world = launched_world()
    if left := leftovers(os.environ):
        log_once(logging.WARNING, f"left in the environment by another launch and not used: {', '.join(left)}")
    steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if steps != "1":
        log_once(
            logging.WARNING,
            f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS={steps} is not used: pass --gradient-accumulation {steps}",
        )
    device = os.environ.get("ACCELERATE_TORCH_DEVICE")
    if device and not re.fullmatch(kind + r"(:\d{1,4})?", device):
        raise UserError(
            f"ACCELERATE_TORCH_DEVICE={device[:40]!r} is not a device of {kind}; unset it, or give --device"
        )
    # Accelerate passes on only what differs from its own default, 600 s, though gloo's is 1800: hence the microsecond.
    group = InitProcessGroupKwargs(timeout=datetime.timedelta(seconds=timeout_seconds, microseconds=1))
    with _environment_for(kind, world):
        is_grouped = world.size > 1 or "LOCAL_RANK" in os.environ
        if kind == "cpu" and is_grouped:
            # A process that ends with gloo's threads alive can abort (exit code 134) after its work is done.
            atexit.register(leave_group)
            group.backend = "gloo"  # a torch built with MPI would take mpi, which knows nothing of torchrun's ranks
        if is_grouped and dist.is_available() and not dist.is_initialized():
            _start_group(kind, world, group)
        try:
            return Accelerator(
                mixed_precision=precision,
                cpu=kind == "cpu",  # without it each rank on a CPU host is rank 0 of a world of its own
                # The plugin, because `gradient_accumulation_steps=1` is overridden by the environment.
                gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
                kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False), group],
            )
        except (ValueError, KeyError, TypeError, ImportError, NotImplementedError) as error:
            raise _unusable(error) from error


def _unusable(error: Exception) -> Exception:
    """Return the error of what Accelerate raises for its variables; the same error where there are none."""
    told = [f"{name}={value[:40]}" for name, value in os.environ.items() if name.startswith(_ACCELERATE)]
    if not told:
        return error
    return UserError(
        f"Accelerate cannot start with what the environment says, {', '.join(sorted(told))}: {error}; unset what is left of "
        "another launch"
    )


def end_accelerator(accelerator: Accelerator) -> None:
    """Free what the Accelerator holds and leave the process group, so that another may be started, on other devices too."""
    accelerator.free_memory()
    leave_group()
    # Accelerate's state is global: the next one would get this one's precision, device and processes.
    accelerator.state._reset_state(reset_partial_state=True)


def _start_group(kind: str, world: LaunchedWorld, group: InitProcessGroupKwargs) -> None:
    """Start the process group of a training of this launch, under names of its own in the store that all share.

    All ranks agree on how often they have met: each calls `train()` as often as the others. A world of one process, as
    torchrun starts it too, meets nobody.
    """
    if _meetings.store is None:
        _meetings.store = dist.HashStore() if world.size == 1 else meet(world, group.timeout.total_seconds())
    _meetings.count += 1
    dist.init_process_group(
        backend=group.backend or {"cuda": "nccl", "xpu": "xccl", "npu": "hccl", "hpu": "hccl"}.get(kind),
        store=dist.PrefixStore(f"slipway/meeting/{_meetings.count}", _meetings.store),
        rank=world.rank,
        world_size=world.size,
        timeout=group.timeout,
    )


def leave_group() -> None:
    """Leave the process group, if there is one, without waiting for other ranks.

    An object that refers to the group, such as a replicated model, keeps gloo's threads alive and an abort possible: delete
    it first. Objects in reference cycles are collected here.
    """
    if dist.is_available() and dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


@contextlib.contextmanager
def _environment_for(kind: str, world: LaunchedWorld) -> Iterator[None]:
    """Set what Accelerate reads from the environment to our choice within the block."""
    changes: dict[str, str | None] = {}
    if leftovers(os.environ):
        changes = dict.fromkeys(LAUNCH_VARIABLES)
    elif world.size > 1:
        # Of the worlds that Accelerate knows, that of MPI names none of these.
        changes = {"LOCAL_RANK": str(world.local_rank)}
    if kind == "cpu" and world.size > 1:
        # Where it is unset Accelerate sets the threads itself from a core count that can be None, and warns.
        changes["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"
    if kind != "cpu" and world.size == 1 and ("LOCAL_RANK" not in os.environ or "LOCAL_RANK" in changes):
        # On a host with two kinds of accelerator Accelerate has its own order of preference.
        changes["ACCELERATE_TORCH_DEVICE"] = os.environ.get("ACCELERATE_TORCH_DEVICE") or kind
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def check_world(accelerator: Accelerator, expected_device_kind: str) -> None:
    """Raise `UserError`, before the first step, unless the world is the one that was promised. A collective.

    Compares the environment with the Accelerator and torch.distributed; then all ranks agree that no device is used
    twice, that each host has its processes and that precision is the same, and count themselves in one all-reduce.
    """
    world = launched_world()
    grouped = dist.is_available() and dist.is_initialized()
    compared = [
        ("WORLD_SIZE", world.size, "accelerate's num_processes", accelerator.num_processes),
        ("WORLD_SIZE", world.size, "torch.distributed's world size", dist.get_world_size() if grouped else 1),
        ("RANK", world.rank, "accelerate's process_index", accelerator.process_index),
        ("RANK", world.rank, "torch.distributed's rank", dist.get_rank() if grouped else 0),
        ("LOCAL_RANK", world.local_rank, "accelerate's local_process_index", accelerator.local_process_index),
        ("--device", expected_device_kind, "accelerate's device", accelerator.device.type),
    ]
    wrong = [f"{name}={promised} but {what} is {real}" for name, promised, what, real in compared if promised != real]
    if wrong:
        raise _broken_promise("; ".join(wrong))
    if not grouped:
        return
    problem = _find_conflict(_exchange(_this_member(accelerator, world), world))
    if problem:
        raise _broken_promise(problem)
    ones = torch.ones(1, device=accelerator.device)
    dist.all_reduce(ones)
    if round(ones.item()) != world.size:
        raise _broken_promise(f"WORLD_SIZE={world.size} but {round(ones.item())} ranks answered the all-reduce")


def _broken_promise(what: str) -> UserError:
    return UserError(
        f"the world is not what was promised: {what}; start N processes with `torchrun --nproc_per_node N` "
        "(at most one per accelerator), or one with plain python and no WORLD_SIZE set"
    )


def _this_member(accelerator: Accelerator, world: LaunchedWorld) -> dict[str, Any]:
    host = socket.gethostname()
    return {
        "rank": world.rank,
        "host": host,
        "node": os.environ.get("GROUP_RANK"),  # torchrun's agent; two agents may share a host
        "local_size": world.local_size,
        "device": str(accelerator.device),
        "device_identity": _device_identity(accelerator.device, host),
        "precision": accelerator.mixed_precision,
    }


def _device_identity(device: torch.device, host: str) -> str | None:
    """Return what is equal only for the same physical device; `None` if sharing it is right (CPU) or left to the driver.

    CUDA's UUID, because the index means nothing when each process is shown its own devices. The slices of a MIG
    device may carry one UUID, so the slice's name is added.
    """
    if device.type not in ("cuda", "xpu", "npu"):
        return None
    index = device.index or 0
    if device.type != "cuda":
        visible = os.environ.get("ZE_AFFINITY_MASK" if device.type == "xpu" else "ASCEND_RT_VISIBLE_DEVICES", "")
        return f"{host} {device.type} {visible} {index}"
    uuid = str(getattr(torch.cuda.get_device_properties(index), "uuid", ""))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if not uuid.strip("0-"):
        return f"{host} cuda {visible} {index}"
    return f"{uuid} {visible}" if visible.startswith("MIG-") else uuid


def _exchange(member: dict[str, Any], world: LaunchedWorld) -> list[dict[str, Any]]:
    """Return every rank's record, by rank. Through the store: NCCL fails if two ranks share a device."""
    store = dist.distributed_c10d._get_default_store()
    store.set(f"slipway/member/{world.rank}", json.dumps(member))
    return [json.loads(store.get(f"slipway/member/{rank}")) for rank in range(world.size)]


def _find_conflict(members: list[dict[str, Any]]) -> str | None:
    """Return the first contradiction between the ranks' records, or `None`. The same on every rank."""
    owners: dict[str, dict[str, Any]] = {}
    for member in members:
        first = owners.setdefault(member["device_identity"] or f"rank {member['rank']}", member)
        if first is not member:
            return (
                f"ranks {first['rank']} and {member['rank']} are on one device, "
                f"{first['device']} of {first['host']} and {member['device']} of {member['host']}"
            )
        if member["precision"] != members[0]["precision"]:
            return (
                f"rank 0 has mixed precision {members[0]['precision']} but rank {member['rank']} has "
                f"{member['precision']}: name one with --mixed-precision"
            )
        companions = sum(other["node"] == member["node"] for other in members)
        if member["node"] is not None and member["local_size"] not in (None, companions):
            return f"LOCAL_WORLD_SIZE={member['local_size']} but {companions} ranks are on rank {member['rank']}'s node"
    return None

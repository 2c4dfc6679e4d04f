"""The plan of a run: what the config asks for, what the launcher says, what this machine suggests, each with its reason."""

from __future__ import annotations

import dataclasses
import os
from typing import Literal

import torch

from ..common.apportion import plan_micro_batches
from ..common.errors import UserError
from ..common.plan_file import PLAN_VARIABLE
from ..common.settings import Level
from ..config.plan import MemoryFormat, Plan
from ..config.recipe import Recipe
from ..devices.host import usable_cores
from ..devices.manager import DeviceManager
from ..devices.ranks import Ranks
from ..devices.world import launched_world
from .training_config import TrainingConfig

_MOST_WORKERS = 8
"""Threads of one process that prepare micro-batches, where their number is found while the run goes on."""


_OPTIONS = {"compile_backend": "compile"}
"""Fields of the plan whose option has another name."""


def accelerate_says(name: str) -> str:
    """Return what Accelerate's own launcher says in a variable, in lower case; nothing where a launch plan says it all."""
    return "" if os.environ.get(PLAN_VARIABLE) else os.environ.get(name, "").lower()


def _sharding(
    asked: Literal["auto", "replicate", "fsdp"], size: int
) -> tuple[Literal["replicate", "fsdp"], str | None]:
    """Return how parameters are held, and why, where the user did not say so. Raises `UserError` for the first FSDP."""
    shards, reason = asked == "fsdp", None
    if asked == "auto":
        shards = accelerate_says("ACCELERATE_USE_FSDP") in ("1", "true")
        reason = "the launcher's config says so" if shards else "nothing asks for sharding"
        version = os.environ.get("FSDP_VERSION", "2")
        if shards and version != "2":
            raise UserError(
                f"FSDP_VERSION={version[:40]}: training shards with FSDP 2; write fsdp_version: 2 into the launcher's "
                "fsdp_config, or unset ACCELERATE_USE_FSDP where another launch has left it"
            )
    if shards and size == 1:
        return "replicate", "one process: there is nothing to share"
    return "fsdp" if shards else "replicate", reason


def launched_compile_backend() -> str | None:
    """Return the backend of torch.compile that Accelerate's own launcher names, if it does."""
    backend = accelerate_says("ACCELERATE_DYNAMO_BACKEND")
    return None if backend in ("", "no") else backend


def _compile_backend(
    asked: bool | None, sharding: str, device: str, *, is_planned: bool
) -> tuple[str | None, str | None]:
    """Return the backend of torch.compile, and why, where the user did not say so. Raises `UserError` with FSDP2.

    A launch plan is for any script: where it asks for both, the reason is given and the run goes on.
    """
    launched = launched_compile_backend()
    if sharding == "fsdp":
        if asked and not is_planned:
            raise UserError(
                "--compile: with --sharding fsdp nothing is compiled, FSDP2 gathers in hooks; drop one of the two"
            )
        is_wanted = asked or launched is not None
        return None, "FSDP2 gathers parameters in hooks, around which nothing is compiled" if is_wanted else None
    if asked is None:
        return launched, "the launcher's config says so" if launched else None
    return (launched or ("hpu_backend" if device == "hpu" else "inductor")) if asked else None, None


def _reduction(
    asked: Literal["auto", "flat", "overlap"], sharding: str, ranks: Ranks
) -> tuple[Literal["flat", "overlap"], str | None]:
    """Return how gradients are reduced, and why, where it is not as asked."""
    if sharding == "fsdp":
        return "flat", "FSDP2 reduces during every backward pass by itself" if asked == "overlap" else None
    if asked != "auto":
        return asked, None
    if ranks.size == 1:
        return "flat", "one process: nothing to reduce"
    if ranks.device.type == "cpu":
        return "flat", "one all-reduce after the backward pass: on a CPU the same cores would do both"
    return "overlap", "the device computes while the gradients travel"


def make_plan(config: TrainingConfig, recipe: Recipe, ranks: Ranks, settings: Level | None = None) -> Plan:
    """Return how a resolved recipe is computed by these ranks, with the reason for each choice.

    `settings` say where the options of the config come from; without them a person gave all. The number of workers may be
    corrected while the run goes on, unless a person fixed it.
    """
    planned = {name: one for name, one in (settings or {}).items() if one.origin == "launch plan"}
    shares = plan_shares(config.share_weights, ranks.size)
    asked_size = None if config.micro_batch_size == "auto" else config.micro_batch_size
    micro_batch_size, accumulation = plan_micro_batches(
        recipe.resolved.global_batch_size, shares, asked_size, config.gradient_accumulation
    )
    on_cpu = ranks.device.type == "cpu"
    reasons = {}
    asked = config.gradient_accumulation
    if asked is not None and asked != accumulation:
        reasons["gradient_accumulation"] = (
            f"{asked} micro-batches of equal size do not fit the share: {accumulation} do"
        )
    sharding, reason = _sharding(config.sharding, ranks.size)
    if reason is not None:
        reasons["sharding"] = reason
    memory_format, reason = planned_memory_format(config.memory_format, sharding)
    if reason is not None:
        reasons["memory_format"] = reason
    compile_backend, reason = _compile_backend(
        config.compile, sharding, ranks.device.type, is_planned="compile" in planned
    )
    if reason is not None:
        reasons["compile_backend"] = reason
    reduction, reason = _reduction(config.reduction, sharding, ranks)
    if reason is not None:
        reasons["reduction"] = reason
    if config.bucket_bytes is not None and reduction == "flat":
        reasons["bucket_bytes"] = f"not used: {reasons.get('reduction', 'one all-reduce for all gradients')}"
    num_workers = config.num_workers
    if num_workers is None:
        num_workers = 0 if on_cpu else 2
        reasons["num_workers"] = (
            "the training thread: on a CPU the same cores would do both"
            if on_cpu
            else "prepared while the device works"
        )
    if micro_batch_size is None:
        reasons["micro_batch_size"] = "a rank's complete share in one forward pass, or as much as is measured to fit"
    workers = (settings or {}).get("num_workers")
    is_corrected = settings is not None and (workers is None or workers.value is None or not workers.is_fixed)
    plan = Plan(
        world_size=ranks.size,
        device=ranks.device.type,
        device_name=DeviceManager.get_device_info(ranks.device).name,
        micro_batch_size=micro_batch_size,
        gradient_accumulation=accumulation,
        share_weights=shares,
        reduction=reduction,
        sharding=sharding,
        bucket_bytes=config.bucket_bytes if reduction == "overlap" else None,
        memory_format=memory_format,
        compile_backend=compile_backend,
        gradient_checkpointing=config.gradient_checkpointing,
        num_workers=num_workers,
        most_workers=_most_workers(num_workers, on_cpu=on_cpu) if is_corrected else None,
        threads_per_process=torch.get_num_threads(),
    )
    for field in Plan.__dataclass_fields__:
        if (option := _OPTIONS.get(field, field)) in planned:
            reasons.setdefault(field, str(planned[option]))
    return dataclasses.replace(plan, reasons=tuple(reasons.items()))


def _most_workers(planned: int, *, on_cpu: bool) -> int:
    """Return how many threads may prepare micro-batches: those for which a process has cores beside its computing."""
    cores = usable_cores() // (launched_world().local_size or 1)
    return max(planned, min(_MOST_WORKERS, cores - (torch.get_num_threads() if on_cpu else 1)))


def plan_shares(share_weights: tuple[float, ...] | None, world_size: int) -> tuple[float, ...]:
    """Return a weight for each rank. Raises `UserError` where their number is not that of the processes."""
    if share_weights is None:
        return (1.0,) * world_size
    if len(share_weights) != world_size:
        raise UserError(
            f"--share-weights: {len(share_weights)} weights for {world_size} "
            f"process{'es' if world_size > 1 else ''}; give one for each"
        )
    return share_weights


def planned_memory_format(
    asked: MemoryFormat, sharding: Literal["replicate", "fsdp"]
) -> tuple[MemoryFormat, str | None]:
    """Return what is known before the model is, and why, where the user did not say so.

    Raises `UserError` for channels-last weights with FSDP2, which refuses them.
    """
    if sharding == "fsdp":
        if asked == "channels_last":
            raise UserError(
                "--memory-format channels_last: torch's FSDP2 shards contiguous parameters only; use --memory-format "
                "contiguous, or --sharding replicate"
            )
        return "contiguous", "FSDP2 shards contiguous parameters only" if asked == "auto" else None
    if asked == "auto":
        return "auto", "channels_last where the model, once it is made, has 2-D convolutions and gains by it"
    return asked, None

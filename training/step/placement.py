"""Place a model's parameters: all of them on every rank's device, or sharded over the ranks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ..config.plan import Plan
from ..config.recipe import Recipe
from ..devices.ranks import Ranks
from ..tasks.task import Task
from .flat import FlatParameters
from .memory_format import lay_out_model, settle_memory_format
from .parameters import ParameterStore

_NUM_BUCKETS = 8
_LEAST_BUCKET_BYTES, _MOST_BUCKET_BYTES = 1 << 20, 25 << 20
"""As DistributedDataParallel's first bucket and its others: large enough for the bandwidth, small enough to start early."""


def settle_plan(plan: Plan, task: Task, model: nn.Module, recipe: Recipe, ranks: Ranks) -> Plan:
    """Return the plan with the choices that depend on the model, the same on every rank."""
    return settle_bucket_bytes(settle_memory_format(plan, task, model, recipe, ranks), model)


def place_model(
    model: nn.Module, plan: Plan, ranks: Ranks, ledger_size: int, *, with_frozen: bool = False
) -> ParameterStore:
    """Move a new model from the host to the ranks' devices as the plan says, with the weights of rank 0.

    `with_frozen`: frozen parameters may be trained later, which sharded ones cannot.

    Raises `UserError` if its parameters differ in dtype, or if torch cannot shard them.
    """
    if plan.sharding == "replicate":
        flat = FlatParameters(
            model.to(ranks.device),
            ledger_size,
            channels_last=plan.memory_format == "channels_last",
            with_frozen=with_frozen,
        )
        lay_out_model(model, plan.memory_format)  # what is not trained too
        ranks.broadcast_(flat.values)
        return flat
    from .sharded import ShardedParameters  # FSDP2 takes long to import

    with torch.no_grad():
        for parameter in model.parameters():
            # One at a time: no device needs memory for all of them.
            parameter.copy_(ranks.broadcast_(parameter.to(ranks.device).contiguous()))
    return ShardedParameters(model, ledger_size, ranks)


def settle_bucket_bytes(plan: Plan, model: nn.Module) -> Plan:
    """Return the plan with the size of the buckets, if gradients are reduced during the backward pass."""
    if plan.reduction != "overlap" or plan.bucket_bytes is not None:
        return plan
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    num_bytes = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    size = min(max(num_bytes // _NUM_BUCKETS, _LEAST_BUCKET_BYTES), _MOST_BUCKET_BYTES)
    reason = f"an eighth of {num_bytes} bytes of gradients, at least 1 MiB and at most 25 MiB"
    return replace(plan, bucket_bytes=size, reasons=(*plan.reasons, ("bucket_bytes", reason)))

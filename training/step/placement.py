"""Where a model's parameters are: all of them on every rank's device, or sharded over the ranks."""

from __future__ import annotations

import torch
from torch import nn

from ..config.plan import Plan
from ..config.recipe import Recipe
from ..devices.ranks import Ranks
from ..tasks.task import Task
from .flat import FlatParameters
from .memory_format import lay_out_model, settle_memory_format
from .reduction import settle_bucket_bytes


def settle_plan(plan: Plan, task: Task, model: nn.Module, recipe: Recipe, ranks: Ranks) -> Plan:
    """Return the plan with what only a new model tells, the same on every rank."""
    return settle_bucket_bytes(settle_memory_format(plan, task, model, recipe, ranks), model)


def place_model(model: nn.Module, plan: Plan, ranks: Ranks, ledger_size: int) -> FlatParameters:
    """Move a new model, made on the host, to the ranks' devices as the plan says; its weights are rank 0's.

    Raises `UserError` where its parameters are not alike, or torch cannot shard them.
    """
    if plan.sharding == "replicate":
        flat = FlatParameters(model.to(ranks.device), ledger_size, channels_last=plan.memory_format == "channels_last")
        lay_out_model(model, plan.memory_format)  # what is not trained too
        ranks.broadcast_(flat.values)
        return flat
    from .sharded import ShardedParameters  # FSDP2 takes long to import

    with torch.no_grad():
        for parameter in model.parameters():
            # One at a time: no device need hold them all.
            parameter.copy_(ranks.broadcast_(parameter.to(ranks.device).contiguous()))
    return ShardedParameters(model, ledger_size, ranks)

"""What a checkpoint of a run holds, and back from a checkpoint into the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from ..common.conversion import plain_values
from ..common.errors import UserError
from ..devices.ranks import Ranks
from ..step.parameters import ParameterStore
from ..storage.checkpoint import Content, Manifest, read_state, read_tensors
from .best import Best, Snapshot
from .progress import Progress
from .step_loop import StepLoop

Tensors = Mapping[str, Mapping[str, torch.Tensor]]
"""By group, then by name."""


def capture(loop: StepLoop) -> Content:
    """Return a run as a checkpoint holds it. The tensors are the run's own: they are copied before the next step.

    Where the parameters are sharded all ranks call this, and rank 0 holds the tensors.
    """
    progress, step = loop.progress, loop.step
    flat = step.flat
    optimizer = {
        **{name: flat.to_checkpoint(moment) for name, moment in step.optimizer.moments.items()},
        "updates": torch.tensor(step.optimizer.updates),
        "loss_scale": step.loss_scale.scale,
        "quiet_updates": step.loss_scale.quiet_updates,
    }
    if step.average is not None:
        optimizer["average"] = flat.to_checkpoint(step.average)
    groups = {
        "model": flat.state_dict(loop.model),
        "optimizer": optimizer,
        "best": _snapshot_tensors(progress.best, flat),
        "stage_best": _snapshot_tensors(progress.stage_best, flat),
    }
    return Content(
        step=progress.step,
        tensors={group: tensors for group, tensors in groups.items() if tensors},
        unchanging=frozenset({"best", "stage_best"}),
        state={
            "progress": progress.state(),
            "recent_losses": loop.faults.losses,
            "memory": loop.limit.state(),
            "recipe": loop.recipe.as_dict(),
            "data": plain_values(dict(loop.task.describe()), "", []),
            "plan": loop.plan.as_dict(),
        },
    )


def restore(loop: StepLoop, state: Mapping[str, Any], tensors: Tensors) -> None:
    """Put a run where a checkpoint was taken of it. Raises `UserError` where its model is another one."""
    step, flat = loop.step, loop.step.flat
    try:
        flat.load_state_dict(loop.model, tensors["model"])
    except RuntimeError as error:
        told = " ".join(str(error).split())
        raise UserError(f"the checkpoint is of another model: {told[:300]}") from None
    flat.check_attached()
    optimizer = tensors["optimizer"]
    for name, moment in step.optimizer.moments.items():
        if name in optimizer:
            moment.copy_(flat.from_checkpoint(optimizer[name]))
        else:
            moment.zero_()
    step.optimizer.set_updates(int(optimizer["updates"]))
    step.loss_scale.scale.copy_(optimizer["loss_scale"])
    step.loss_scale.quiet_updates.copy_(optimizer["quiet_updates"])
    step.average = flat.from_checkpoint(optimizer["average"]) if "average" in optimizer else None
    step.resume()
    progress = loop.progress = Progress.from_state(state["progress"])
    progress.best.snapshot = _to_snapshot(tensors.get("best", {}), flat)
    progress.stage_best.snapshot = _to_snapshot(tensors.get("stage_best", {}), flat)
    loop.faults.forget(state["recent_losses"])
    loop.limit.restore(state["memory"])


def _snapshot_tensors(best: Best, flat: ParameterStore) -> dict[str, torch.Tensor]:
    """Return the tensors of the best weights by name; none where nothing is best yet. They never change."""
    if best.snapshot is None:
        return {}
    buffers = {f"buffer_{number}": buffer for number, buffer in enumerate(best.snapshot.buffers)}
    return {"values": flat.to_checkpoint(best.snapshot.values), **buffers}


def _to_snapshot(tensors: Mapping[str, torch.Tensor], flat: ParameterStore) -> Snapshot | None:
    """Return what `_snapshot_tensors` was given, on the device."""
    if not tensors:
        return None
    # What was read is mapped from the checkpoint's file, which will be deleted in its time.
    buffers = [tensors[f"buffer_{number}"].to(flat.device, copy=True) for number in range(len(tensors) - 1)]
    return Snapshot(flat.from_checkpoint(tensors["values"]), tuple(buffers))


def broadcast_checkpoint(
    manifest: Manifest | None, ranks: Ranks
) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]] | None:
    """Return state and tensors of rank 0's checkpoint on every rank; none where it has none."""
    text, error = "null", None
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    if manifest is not None:
        try:
            state = read_state(manifest)
            tensors = read_tensors(manifest)
            layout = {
                group: {name: [str(one.dtype), list(one.shape)] for name, one in named.items()}
                for group, named in tensors.items()
            }
            text = json.dumps({"state": state, "layout": layout})
        except (OSError, ValueError) as caught:
            error = UserError(f"{manifest.folder}: cannot be read ({caught})")
    ranks.raise_on_all_ranks(error)
    agreed = json.loads(ranks.broadcast_text(text))
    if agreed is None:
        return None
    for group, named in agreed["layout"].items():
        for name, (dtype, shape) in named.items():
            if ranks.size > 1:
                sent = tensors[group][name] if ranks.is_main else torch.empty(shape, dtype=_dtype(dtype))
                tensors.setdefault(group, {})[name] = ranks.broadcast_(sent.to(ranks.device)).cpu()
    return agreed["state"], tensors


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name.removeprefix("torch."))
    assert isinstance(dtype, torch.dtype)
    return dtype

"""The state of a training: what its steps change, into a checkpoint and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..common.errors import TrainingFailed, UserError
from ..common.program.doors import door
from ..common.small_files import UnreadableError
from ..config.recipe import Recipe
from ..devices.memory import is_out_of_memory
from ..devices.ranks import Ranks
from ..step.buffers import model_buffers
from ..step.loss_scale import LossScale
from ..step.micro_batch.limit import MicroBatchLimit
from ..step.optimizer import StepOptimizer
from ..step.parameters import ParameterStore
from ..step.train_step import StepState
from ..storage.checkpoint import Content, DamagedCheckpoint, Manifest, newest_checkpoint, read_state, read_tensors
from .best import Best, Snapshot
from .faults import FaultDetector
from .progress import Progress

Tensors = Mapping[str, Mapping[str, torch.Tensor]]
"""By group, then by name."""


@dataclass(kw_only=True)
class TrainingState(StepState):
    """Everything that changes while a run trains."""

    progress: Progress
    faults: FaultDetector
    limit: MicroBatchLimit

    @classmethod
    def of(
        cls,
        model: nn.Module,
        parameters: ParameterStore,
        optimizer: StepOptimizer,
        recipe: Recipe,
        limit: MicroBatchLimit,
    ) -> TrainingState:
        """Return the state in which a resolved recipe starts."""
        return cls(
            model=model,
            parameters=parameters,
            optimizer=optimizer,
            loss_scale=LossScale.of(recipe, parameters.device),
            progress=Progress(),
            faults=FaultDetector(patience=recipe.bad_steps, spike_score=recipe.loss_spike_score),
            limit=limit,
        )

    def take_snapshot(self) -> Snapshot:
        """Copy the weights as they are evaluated: their moving average if there is one."""
        values = self.parameters.values if self.average is None else self.average
        return Snapshot(values.clone(), tuple(buffer.clone() for buffer in model_buffers(self.model)))

    def restore_snapshot(self, snapshot: Snapshot) -> None:
        """Set weights and buffers from a snapshot."""
        self.parameters.set_values(snapshot.values)
        for buffer, kept in zip(model_buffers(self.model), snapshot.buffers, strict=True):
            buffer.copy_(kept)


def capture(state: TrainingState, description: Mapping[str, Any]) -> Content:
    """Return a checkpoint's content: the state, and plain values that describe the run.

    The tensors are the run's own: they are to be copied before the next step. If the checkpoints of the parameters are
    collective, all ranks call this, and rank 0 gets the tensors.
    """
    parameters, progress = state.parameters, state.progress
    optimizer = {
        **state.optimizer.tensors(),
        "loss_scale": state.loss_scale.scale,
        "quiet_updates": state.loss_scale.quiet_updates,
    }
    if state.average is not None:
        optimizer["average"] = parameters.to_checkpoint(state.average)
    groups = {
        "model": parameters.state_dict(state.model),
        "optimizer": optimizer,
        "best": _snapshot_tensors(progress.best, parameters),
        "stage_best": _snapshot_tensors(progress.stage_best, parameters),
    }
    return Content(
        step=progress.step,
        tensors={group: tensors for group, tensors in groups.items() if tensors},
        unchanging=frozenset({"best", "stage_best"}),
        state={
            "progress": progress.state(),
            "recent_losses": state.faults.losses,
            "memory": state.limit.state(),
            **description,
        },
    )


def restore(state: TrainingState, recipe: Recipe, values: Mapping[str, Any], tensors: Tensors) -> None:
    """Set the state from a checkpoint. Raises `UserError` if that is of another model."""
    parameters, optimizer = state.parameters, tensors["optimizer"]
    try:
        parameters.load_state_dict(state.model, tensors["model"])
    except RuntimeError as error:
        message = " ".join(str(error).split())
        raise UserError(
            f"the checkpoint is of another model ({message[:300]}): bring back the code that made it, or start another run"
        ) from None
    parameters.check_attached()
    progress = state.progress = Progress.from_state(values["progress"])
    if progress.stage < len(recipe.stages):
        state.optimizer.begin_stage(recipe.stages[progress.stage])
    state.optimizer.load(optimizer)
    state.loss_scale.scale.copy_(optimizer["loss_scale"])
    state.loss_scale.quiet_updates.copy_(optimizer["quiet_updates"])
    state.average = parameters.from_checkpoint(optimizer["average"]) if "average" in optimizer else None
    progress.best.snapshot = _to_snapshot(tensors.get("best", {}), parameters)
    progress.stage_best.snapshot = _to_snapshot(tensors.get("stage_best", {}), parameters)
    if parameters.values.isnan().any():
        raise UnreadableError("has weights that are NaN")
    state.faults.forget(values["recent_losses"])
    state.limit.restore(values["memory"])


def _snapshot_tensors(best: Best, parameters: ParameterStore) -> dict[str, torch.Tensor]:
    """Return the tensors of the best weights by name; nothing if there are none yet. They never change."""
    if best.snapshot is None:
        return {}
    buffers = {f"buffer_{number}": buffer for number, buffer in enumerate(best.snapshot.buffers)}
    return {"values": parameters.to_checkpoint(best.snapshot.values), **buffers}


def _to_snapshot(tensors: Mapping[str, torch.Tensor], parameters: ParameterStore) -> Snapshot | None:
    """Return the snapshot of which `_snapshot_tensors` returned the tensors, on the device."""
    if not tensors:
        return None
    # What was read is mapped from the checkpoint's file, which will be deleted in its time.
    buffers = [tensors[f"buffer_{number}"].to(parameters.device, copy=True) for number in range(len(tensors) - 1)]
    return Snapshot(parameters.from_checkpoint(tensors["values"]), tuple(buffers))


def restore_newest(
    manifest: Manifest | None,
    ranks: Ranks,
    restore: Callable[[Mapping[str, Any], Tensors], None],
    report: Callable[[str], None],
    *,
    is_named: bool = False,
) -> Mapping[str, Any] | None:
    """Restore rank 0's checkpoint on every rank, or the newest older one that can be; return its state. A collective.

    What is wrong with a checkpoint that is passed over is reported. Returns `None`, having restored nothing, if there is no
    checkpoint. Raises `UserError` on every rank if none can be restored, or with `is_named`, on all ranks alike, if this one
    cannot be; `TrainingFailed` where memory does not suffice, which is no damage.
    """
    failure: UserError | None = None
    while True:
        try:
            checkpoint = broadcast_checkpoint(manifest, ranks)
            if checkpoint is None:
                break
            _restore_on_all_ranks(manifest, checkpoint, ranks, restore)
            return checkpoint[0]
        except UserError as caught:
            failure = failure or caught
            if not is_named:
                report(str(caught))
        if manifest is not None:
            manifest, problems = newest_checkpoint(manifest.folder.parent.parent, below=manifest.sequence)
            for problem in problems if not is_named else ():
                report(problem)
        if is_named:
            before = ranks.broadcast_text(str(manifest.folder) if manifest else "")
            remedy = f"name the one before, {before}" if before else "there is no good one before it: start another run"
            raise UserError(f"--resume: {failure}; {remedy}") from failure
    if failure is not None:
        raise UserError(f"{failure}; no checkpoint of the run is good: start another run") from failure
    return None


def _restore_on_all_ranks(
    manifest: Manifest | None,
    checkpoint: tuple[Mapping[str, Any], Tensors],
    ranks: Ranks,
    restore: Callable[[Mapping[str, Any], Tensors], None],
) -> None:
    damage = shortage = None
    try:
        with door(manifest.folder if manifest else "checkpoint", "it does not hold what a run writes"):
            restore(*checkpoint)
    except UserError as error:
        shortage = error.__cause__ if error.__cause__ is not None and is_out_of_memory(error.__cause__) else None
        damage = None if shortage else error
    _fail_for_memory(shortage, ranks)
    ranks.raise_on_all_ranks(damage)


def _fail_for_memory(shortage: BaseException | None, ranks: Ranks) -> None:
    """Raise `TrainingFailed` on every rank if one has no memory for the checkpoint. A collective."""
    try:
        ranks.raise_on_all_ranks(None if shortage is None else UserError(" ".join(str(shortage).split())[:200]))
    except UserError as error:
        raise TrainingFailed(
            f"no memory to restore the checkpoint ({error}); it is whole, and the run is as it was: end what else uses "
            "memory here, or take a machine or device with more, and resume again"
        ) from shortage


def broadcast_checkpoint(
    manifest: Manifest | None, ranks: Ranks
) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]] | None:
    """Return state and tensors of rank 0's checkpoint on every rank; `None` if it has none. A collective.

    Raises `UserError` on every rank for a damaged one, and `TrainingFailed` where memory does not suffice.
    """
    text, error, shortage = "null", None, None
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    if manifest is not None:
        try:
            state = read_state(manifest)
            progress = state.get("progress")
            found = progress.get("step") if isinstance(progress, dict) else None
            if found != manifest.step:
                raise DamagedCheckpoint(
                    f"{manifest.folder}: its state is of step {found}, its manifest of {manifest.step}"
                )
            tensors = read_tensors(manifest)
            layout = {
                group: {name: [str(one.dtype), list(one.shape)] for name, one in named.items()}
                for group, named in tensors.items()
            }
            text = json.dumps({"state": state, "layout": layout})
        except DamagedCheckpoint as damage:
            error = UserError(str(damage))
        except MemoryError as caught:
            shortage = caught
    _fail_for_memory(shortage, ranks)
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

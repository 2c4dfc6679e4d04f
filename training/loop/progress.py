"""The cursor of a run and its results so far: what a checkpoint holds besides weights and optimizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..common.conversion import finite_number, plain_values, whole_number
from .best import Best
from .faults import Position

_COUNTERS = ("stage", "epoch_in_stage", "step_in_epoch", "step", "stage_first_step", "samples_seen")
_SUMS = ("weight", "loss_sum", "seconds", "stage_seconds")


@dataclass(kw_only=True)
class Progress:
    """The cursor of a run (stage, epoch and step of the next step) and its results so far."""

    stage: int = 0
    epoch_in_stage: int = 0
    step_in_epoch: int = 0
    step: int = 0
    """Optimizer steps that are done: global batches, also the skipped ones."""
    stage_first_step: int = 0
    """Steps that were done when the present stage began."""
    samples_seen: int = 0
    """In the present epoch, over all ranks; as are `weight` and `loss_sum`."""
    weight: float = 0.0
    loss_sum: float = 0.0
    seconds: float = 0.0
    """Of training, before and after each resume; set when the run is saved."""
    stage_seconds: float = 0.0
    best: Best = field(default_factory=Best)
    """The best of the run: of the stages that are done."""
    stage_best: Best = field(default_factory=Best)
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped_batches: set[Position] = field(default_factory=set)
    """Batches that are left out because of bad numbers: the only samples that are ever dropped."""

    def begin_stage(self, number: int, min_delta: float) -> None:
        """Set the cursor to the first step of a stage."""
        self.stage, self.epoch_in_stage, self.step_in_epoch = number, 0, 0
        self.stage_first_step, self.stage_seconds = self.step, 0.0
        self.stage_best = Best(min_delta)

    def begin_epoch(self) -> None:
        """Set the sums of an epoch to zero."""
        self.samples_seen, self.weight, self.loss_sum = 0, 0.0, 0.0

    def state(self) -> dict[str, Any]:
        """Return everything as plain values, except the snapshots of the best weights."""
        state = {name: getattr(self, name) for name in (*_COUNTERS, *_SUMS)}
        return {
            **state,
            "best": self.best.state(),
            "stage_best": self.stage_best.state(),
            "rows": plain_values(self.rows, "", []),
            "passed_over": sorted(list(position) for position in self.skipped_batches),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Progress:
        """Return the progress of which `state` was returned. Raises `ValueError` and its kin for anything else."""
        numbers: dict[str, Any] = {name: whole_number(state, name) for name in _COUNTERS}
        numbers |= {name: finite_number(state, name) for name in _SUMS}
        skipped_batches = {Position(*map(int, position)) for position in state["passed_over"]}
        rows = state["rows"]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("rows is no list of epochs")
        progress = cls(**numbers, rows=rows, skipped_batches=skipped_batches)
        progress.best.restore(state["best"])
        progress.stage_best.restore(state["stage_best"])
        return progress

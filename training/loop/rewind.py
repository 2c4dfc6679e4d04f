"""Go back to a checkpoint after bad numbers, and give up if that does not help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..batches.sampler import EpochSampler
from ..common.errors import TrainingFailed
from ..observers.events import Decision, RunRewound, SkippedBatch
from ..observers.runtime import Runtime
from ..storage.checkpoint import newest_checkpoint
from .faults import Position
from .state import Tensors, TrainingState, restore_newest

MOST_REWINDS = 3
"""Times that a run goes back without progress between them before it gives up."""


class Rewinder:
    """Goes back to the last good checkpoint and skips the bad batches, the same on every rank."""

    def __init__(self, folder: Path | None, state: TrainingState, sampler: EpochSampler, runtime: Runtime) -> None:
        self._folder, self._state, self._sampler, self._runtime = folder, state, sampler, runtime
        self._tries = 0
        self._failed: Position | None = None
        """The last batch that was bad, in the order of the run."""

    def rewind(self, positions: list[Position], restore: Callable[[Mapping[str, Any], Tensors], None]) -> None:
        """Go back, by `restore`, to skip the batches at `positions`. Raises `TrainingFailed` to give up.

        If the last good step of the run lies behind the place where numbers went bad the last time, with the end of an epoch
        between then and now, that is progress: a bad sample that is met once in each epoch does not end a run.
        """
        failed, known = self._state.progress.step, self._state.progress.skipped_batches
        before, furthest = self._failed, self._state.faults.furthest
        if before is not None and furthest is not None and furthest > before and positions[0].epoch > before.epoch:
            self._tries = 0
        self._failed = max(positions[-1], before or positions[-1])
        self._tries += 1
        batches = _format_positions(positions)
        what = f"step {failed}: the loss or gradient is not finite or far too high ({batches})"
        advice = "lower the learning rate, or look at those samples"
        if self._tries > MOST_REWINDS:
            raise TrainingFailed(f"{what}, and going back {MOST_REWINDS} times did not help: {advice}")
        manifest, problems = newest_checkpoint(self._folder) if self._folder is not None else (None, [])
        observer = self._runtime.observer

        def report(problem: str) -> None:
            reason = f"{problem}: the one before is used"
            observer.on_decision(Decision(kind="damaged_checkpoint", reason=reason, warning=True, fields={}))

        for problem in problems:
            report(problem)
        if restore_newest(manifest, self._runtime.ranks, restore, report) is None:
            raise TrainingFailed(f"{what}, and there is no checkpoint to go back to: {advice}, or use --save-every")
        progress = self._state.progress
        progress.skipped_batches |= known | set(positions)
        skipped = [
            SkippedBatch(**one._asdict(), samples=self._sampler.global_batch(*one).tolist()) for one in positions
        ]
        reason = f"bad numbers up to step {failed}: back to step {progress.step}, skipping {batches}"
        observer.on_run_rewound(RunRewound(step=progress.step, skipped_batches=tuple(skipped), reason=reason))


def _format_positions(positions: list[Position]) -> str:
    """Return a few batches as text, counted from 1: `epoch 2 batch 7, epoch 2 batch 8 and 3 more`."""
    shown = [f"epoch {one.epoch + 1} batch {one.step_in_epoch + 1}" for one in positions[:3]]
    more = len(positions) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")

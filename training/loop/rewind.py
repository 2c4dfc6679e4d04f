"""Going back to a checkpoint after bad numbers, and giving up where that does no good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..common.errors import TrainingFailed
from ..devices.ranks import Ranks
from ..observers.events import Decision, Observer, RunRewound, SkippedBatch
from ..storage.checkpoint import newest_checkpoint
from .faults import Position
from .progress import Progress
from .state import Tensors, broadcast_checkpoint

MOST_REWINDS = 3
"""Times that a run goes back without progress between them before it gives up."""


class Rewinder:
    """Goes back to the last good checkpoint and passes over the offending batches; on every rank alike."""

    def __init__(self, *, folder: Path | None, ranks: Ranks, observer: Observer) -> None:
        self._folder = folder
        self._ranks = ranks
        self._observer = observer
        self._tries = 0
        self._failed: Position | None = None
        """The last batch that was bad, in the order of the run."""

    def rewind(
        self,
        positions: list[Position],
        furthest: Position | None,
        progress: Progress,
        restore: Callable[[dict[str, Any], Tensors], Progress],
        samples_of: Callable[[Position], list[int]],
    ) -> None:
        """Go back, by `restore`, which returns the progress from then on; raises `TrainingFailed` to give up.

        `furthest` is the last good step of the run. One that lies behind where numbers went bad the last time, with the end
        of an epoch between then and now, is progress: a bad sample that is met once in each epoch does not end a run.
        """
        failed, known = progress.step, progress.skipped_batches
        before = self._failed
        if before is not None and furthest is not None and furthest > before and positions[0].epoch > before.epoch:
            self._tries = 0
        self._failed = max(positions[-1], before or positions[-1])
        self._tries += 1
        told = _format_positions(positions)
        what = f"step {failed}: the loss or gradient is not finite or far too high ({told})"
        advice = "lower the learning rate, or look at those samples"
        if self._tries > MOST_REWINDS:
            raise TrainingFailed(f"{what}, and going back {MOST_REWINDS} times did not help: {advice}")
        manifest, problems = newest_checkpoint(self._folder) if self._folder is not None else (None, [])
        for problem in problems:
            reason = f"{problem}: the one before is used"
            self._observer.on_decision(Decision(kind="damaged_checkpoint", reason=reason, warning=True, fields={}))
        found = broadcast_checkpoint(manifest, self._ranks)
        if found is None:
            raise TrainingFailed(f"{what}, and there is no checkpoint to go back to: {advice}, or use --save-every")
        progress = restore(*found)
        progress.skipped_batches |= known | set(positions)
        skipped = [
            SkippedBatch(epoch=one.epoch, step_in_epoch=one.step_in_epoch, samples=samples_of(one)) for one in positions
        ]
        self._observer.on_run_rewound(
            RunRewound(
                step=progress.step,
                skipped_batches=tuple(skipped),
                reason=f"bad numbers up to step {failed}: back to step {progress.step}, passing over {told}",
            )
        )


def _format_positions(positions: list[Position]) -> str:
    """Return a few batches in words, counted from 1 as the console does: `epoch 2 batch 7, epoch 2 batch 8 and 3 more`."""
    shown = [f"epoch {one.epoch + 1} batch {one.step_in_epoch + 1}" for one in positions[:3]]
    more = len(positions) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")

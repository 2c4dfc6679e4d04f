"""When a run is saved: by an interval, again after a failure, never two at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.checkpoint import CheckpointWriter, Content, Manifest
from training.intervals import Interval, IntervalClock
from training.observers.events import Decision, Observer

_RETRY_SECONDS = 60.0
"""After a checkpoint that could not be written."""


class Saver:
    """Saves nothing: the object of ranks that do not write, and of runs without a folder."""

    def is_due(self, step: int) -> bool:
        """Return whether it is time to save after `step` steps. Called once for each step."""
        return False

    def save(self, *, wait: bool = False) -> None:
        """Save the run as it stands; with `wait` return when it is on the disk."""

    def settle(self) -> None:
        """Wait for what is being written."""

    def close(self) -> None:
        """Finish what is being written, and stop."""


class CheckpointSaver(Saver):
    """Saves a run's checkpoints from rank 0, whose copy of weights and optimizer state is that of all."""

    def __init__(
        self,
        folder: Path,
        *,
        interval: Interval | None,
        keep: int,
        steps_per_epoch: int,
        observer: Observer,
        capture: Callable[[], Content],
    ) -> None:
        self._writer = CheckpointWriter(folder, keep)
        self._clock = IntervalClock(interval, time.monotonic())
        self._steps_per_epoch = steps_per_epoch
        self._observer = observer
        self._capture = capture
        self._waits_for_writer = False
        self._retry_at: float | None = None

    def is_due(self, step: int) -> bool:
        """Return whether the interval is over, a failed one is to be tried again, or one was put off."""
        now = time.monotonic()
        self._tell(self._writer.outcome(), now)
        due = self._clock.is_due(step, self._steps_per_epoch, now) or self._waits_for_writer
        if self._retry_at is not None and now >= self._retry_at:
            due = True
        # One at a time: a disk that is slower than the interval delays the next one.
        self._waits_for_writer = due and self._writer.is_busy
        return due and not self._writer.is_busy

    def save(self, *, wait: bool = False) -> None:
        """Copy the run to the host and have it written."""
        self.settle()
        self._observer.on_save()
        self._writer.submit(self._capture())
        self._retry_at = None
        if wait:
            self.settle()

    def settle(self) -> None:
        """Wait for what is being written."""
        self._tell(self._writer.outcome(wait=True), time.monotonic())

    def close(self) -> None:
        """Finish what is being written, and stop."""
        self.settle()
        self._writer.close()

    def _tell(self, outcome: Manifest | str | None, now: float) -> None:
        if isinstance(outcome, Manifest):
            size = sum(int(entry["bytes"]) for entry in outcome.files.values())
            reason = f"checkpoint {outcome.folder.name}"
            fields: dict[str, Any] = {"step": outcome.step, "checkpoint": outcome.folder.name, "bytes": size}
            self._observer.on_decision(Decision(kind="checkpoint", reason=reason, fields=fields))
        elif outcome is not None:
            self._retry_at = now + _RETRY_SECONDS
            reason = f"no checkpoint could be written ({outcome}): training goes on, the last good one is kept"
            self._observer.on_decision(Decision(kind="checkpoint_failed", reason=reason, warning=True, fields={}))

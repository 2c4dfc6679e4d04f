"""Save a run: at an interval, again after a failure, one checkpoint at a time; in a thread that writes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import UserError
from ..common.program.threads import start_helper
from ..config.intervals import Interval, IntervalClock
from ..devices.memory import is_out_of_memory
from ..observers.events import CheckpointSaved, Decision, Observer
from ..storage.checkpoint import Content, Manifest, write_checkpoint
from ..storage.files import describe_os_error
from ..storage.host_copy import HostCopy

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 60.0, 600.0
"""Pause after a checkpoint that could not be written, and after many of them in a row."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """Where and how often a run is saved."""

    folder: Path | None = None
    """The run's folder; `None`: nothing is written, as on ranks other than 0."""
    every: Interval | None = None
    """The same on every rank; `None`: saved only when it is stopped."""
    keep: int = 2
    """Checkpoints that are kept."""


class CheckpointWriter:
    """Writes checkpoints in a thread, one at a time."""

    def __init__(self, run_folder: Path, keep: int) -> None:
        self._run_folder = run_folder
        self._keep = keep
        self._writing: Future[Manifest] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the last checkpoint is still being written."""
        return self._writing is not None and not self._writing.done()

    def submit(self, content: Content) -> None:
        """Start writing a checkpoint, after the outcome of the last one was taken."""
        assert self._writing is None
        writing: Future[Manifest] = Future()
        # A daemon: a process that quits at once does not wait for it, since a half-written checkpoint is none.
        thread = threading.Thread(target=self._write, args=(content, writing), name="checkpoint", daemon=True)
        if not start_helper(thread, "the training waits while a checkpoint is written"):
            self._write(content, writing)
        self._writing = writing

    def outcome(self, *, wait: bool = False) -> Manifest | str | None:
        """Return, once, the manifest of the last checkpoint or why it failed; `None` if there is none or it is not done."""
        if self._writing is None or not (wait or self._writing.done()):
            return None
        error = self._writing.exception()
        writing, self._writing = self._writing, None
        if error is None:
            return writing.result()
        return _reason(error)

    def _write(self, content: Content, writing: Future[Manifest]) -> None:
        try:
            writing.set_result(write_checkpoint(self._run_folder, content, self._keep))
        except BaseException as error:
            writing.set_exception(error)


def _reason(error: BaseException) -> str:
    """Return why a checkpoint could not be written. Raises the error if neither disk nor memory is the cause."""
    if isinstance(error, OSError):
        return describe_os_error(error)
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error):
        return f"memory ran out: {error}" if str(error) else "memory ran out"
    raise error


class SavedStep(Observer):
    """Remembers the step of the newest checkpoint that was written."""

    step: int | None = None

    def on_checkpoint_saved(self, event: CheckpointSaved) -> None:
        """Note the step."""
        self.step = event.step


class Saver:
    """Saves nothing: for ranks that do not write, and for runs without a folder."""

    def is_due(self, step: int) -> bool:
        """Return whether to save after `step` steps. Called once for each step."""
        return False

    def save(self, *, wait: bool = False) -> None:
        """Save the run as it is; with `wait` return when it is on the disk."""

    def settle(self) -> None:
        """Wait for a checkpoint that is being written."""

    def close(self) -> None:
        """Finish the checkpoint that is being written."""


class JoiningSaver(Saver):
    """Saves nothing, but takes part in collective checkpoints: for ranks that do not write."""

    def __init__(self, capture: Callable[[], Content]) -> None:
        self._capture = capture

    def save(self, *, wait: bool = False) -> None:
        """Give rank 0 this rank's part of the checkpoint."""
        self._capture()


class CheckpointSaver(Saver):
    """Saves a run's checkpoints on rank 0.

    The training waits only for the copy to the host. A checkpoint that cannot be written is reported and tried again.
    """

    def __init__(
        self,
        folder: Path,
        *,
        interval: Interval | None,
        keep: int,
        steps_per_epoch: int,
        observer: Observer,
        capture: Callable[[], Content],
        together: bool = False,
    ) -> None:
        self._together = together
        """Whether all ranks take part in a capture: an error in it is then raised."""
        self._writer = CheckpointWriter(folder, keep)
        self._host = HostCopy()
        self._clock = IntervalClock(interval, steps_per_epoch, time.monotonic())
        self._observer = observer
        self._capture = capture
        self._is_due = False
        self._retry_at: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS

    def is_due(self, step: int) -> bool:
        """Return whether the interval is over, or a failed checkpoint is to be tried again: until `save` is called.

        One checkpoint at a time: the next one waits for a disk that is slower than the interval, and for the pause after a
        failure.
        """
        now = time.monotonic()
        self._report_outcome(self._writer.outcome(), now)
        self._is_due = self._clock.is_due(step, now) or self._is_due
        if self._retry_at is not None:
            return now >= self._retry_at
        return self._is_due and not self._writer.is_busy

    def save(self, *, wait: bool = False) -> None:
        """Copy the run to the host and start to write it."""
        self.settle()
        self._observer.on_save()
        self._is_due, self._retry_at = False, None
        content = self._capture() if self._together else None
        try:
            self._writer.submit(self._host.take(content or self._capture()))
        except Exception as error:
            self._report_outcome(_reason(error), time.monotonic())
        if wait:
            self.settle()

    def settle(self) -> None:
        """Wait for a checkpoint that is being written."""
        self._report_outcome(self._writer.outcome(wait=True), time.monotonic())

    def close(self) -> None:
        """Finish the checkpoint that is being written, unless the user told the process to quit."""
        if not isinstance(sys.exception(), KeyboardInterrupt):
            self.settle()

    def _report_outcome(self, outcome: Manifest | str | None, now: float) -> None:
        if isinstance(outcome, Manifest):
            self._pause = _FIRST_PAUSE_SECONDS
            self._observer.on_checkpoint_saved(
                CheckpointSaved(step=outcome.step, name=outcome.folder.name, num_bytes=outcome.num_bytes)
            )
        elif outcome is not None:
            reason = (
                f"this checkpoint could not be written, older ones stay: {outcome}; tried again in {self._pause:.0f} s"
            )
            fields = {"retry_seconds": self._pause}
            self._retry_at, self._pause = now + self._pause, min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
            self._observer.on_decision(Decision(kind="checkpoint_failed", reason=reason, warning=True, fields=fields))

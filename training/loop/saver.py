"""When a run is saved: by an interval, again after a failure, never two at once; and the thread that writes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import UserError
from ..config.intervals import Interval, IntervalClock
from ..devices.memory import is_out_of_memory
from ..observers.events import CheckpointSaved, Decision, Observer
from ..storage.checkpoint import Content, Manifest, write_checkpoint
from ..storage.files import describe_os_error
from ..storage.host_copy import HostCopy

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 60.0, 600.0
"""After a checkpoint that could not be written, and after many of them in a row."""


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
        """Whether the last one is still being written."""
        return self._writing is not None and not self._writing.done()

    def submit(self, content: Content) -> None:
        """Start writing. Not while one is being written: its outcome is taken first."""
        assert self._writing is None
        writing: Future[Manifest] = Future()
        # A daemon: a process that is told to quit at once does not wait for it, for what is half written is no checkpoint.
        thread = threading.Thread(target=self._write, args=(content, writing), name="checkpoint", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had, for want of memory: the training waits
            self._write(content, writing)
        self._writing = writing

    def outcome(self, *, wait: bool = False) -> Manifest | str | None:
        """Return, once, what became of the last one: its manifest, or why it failed; none where nothing is done."""
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
    """Return why a checkpoint could not be written; an error that is none of the disk or memory is raised."""
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


class JoiningSaver(Saver):
    """Saves nothing, but hands rank 0 its part of what is saved: the object of other ranks with sharded parameters."""

    def __init__(self, capture: Callable[[], Content]) -> None:
        self._capture = capture

    def save(self, *, wait: bool = False) -> None:
        """Take part in the copy."""
        self._capture()


class CheckpointSaver(Saver):
    """Saves a run's checkpoints from rank 0, whose copy of weights and optimizer state is that of all.

    The training waits for the copy to the host only. What cannot be written is told, never raised.
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
        """Whether all ranks take part in a capture, as they do with sharded parameters: what fails in it then is raised."""
        self._writer = CheckpointWriter(folder, keep)
        self._host = HostCopy()
        self._clock = IntervalClock(interval, steps_per_epoch, time.monotonic())
        self._observer = observer
        self._capture = capture
        self._is_due = False
        self._retry_at: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS

    def is_due(self, step: int) -> bool:
        """Return whether the interval is over, or a failed one is to be tried again: until `save` is called.

        One at a time: a disk that is slower than the interval delays the next one, and one that fails has its pause.
        """
        now = time.monotonic()
        self._report_outcome(self._writer.outcome(), now)
        self._is_due = self._clock.is_due(step, now) or self._is_due
        if self._retry_at is not None:
            return now >= self._retry_at
        return self._is_due and not self._writer.is_busy

    def save(self, *, wait: bool = False) -> None:
        """Copy the run to the host and have it written."""
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
        """Wait for what is being written."""
        self._report_outcome(self._writer.outcome(wait=True), time.monotonic())

    def close(self) -> None:
        """Finish what is being written, unless the user told the process to quit."""
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

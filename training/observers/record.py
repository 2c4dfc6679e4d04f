"""Keeps `run.json`: recipe, plan, state, progress and result of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..common.errors import TrainingFailed, UserError
from ..common.program.doors import remedy_of_writing
from ..storage.files import write_json
from ..storage.run_lock import RunLock
from .events import CheckpointSaved, EpochEnd, Observer, RunEnd, RunStart, StageStart, StepEnd

logger = logging.getLogger("slipway")

_LOOK_SECONDS = 1.0
"""Between two looks whether the folder is still this run's."""

_LEAST_SECONDS = 2.0
"""Between two writes of the progress: a write waits for the disk, which short epochs should not."""


class RunRecord(Observer):
    """Writes `run.json` at the start, at the end and from time to time between.

    Raises `UserError` if it cannot be written at the start; later that is a warning.
    """

    def __init__(self, path: Path, record: Mapping[str, Any], lock: RunLock | None = None) -> None:
        self._path, self._lock = path, lock
        self._record = {**record, "state": "running"}
        self._progress: dict[str, Any] = dict(record.get("progress") or {})
        self._next_look = 0.0
        self._has_warned = self._is_finished = False
        self._next_write = time.monotonic() + _LEAST_SECONDS
        try:
            # Here, so that a folder that cannot be written is refused before anything is computed.
            write_json(path, self._record)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; choose a --runs-dir that can be written and has room") from None

    def on_run_start(self, event: RunStart) -> None:
        """Note the plan, of which a part is only decided with the model."""
        plan = event.plan.as_dict()
        if plan != self._record.get("plan"):
            self._record["plan"] = plan
            self._write()

    def on_stage_start(self, event: StageStart) -> None:
        """Note the stage."""
        self._progress.update(stage=event.number, stage_name=event.stage.name)

    def on_step(self, event: StepEnd) -> None:
        """Note the step, for the next time something is written."""
        self._progress["step"] = event.step
        if self._lock is not None and (now := time.monotonic()) >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            if self._look_after_folder():
                self._write()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Note how far the run is, and its best so far."""
        self._progress.update(epoch=event.epoch, best=event.best)
        self._write_at_times()

    def on_checkpoint_saved(self, event: CheckpointSaved) -> None:
        """Note the name of the newest checkpoint."""
        self._progress["checkpoint"] = event.name
        self._write_at_times()

    def on_run_end(self, event: RunEnd) -> None:
        """Write the result. Raises `TrainingFailed` if it cannot be written: the run is not finished then."""
        self._look_after_folder()
        try:
            write_json(self._path, {**self._content(), "state": "finished", "result": event.result})
        except OSError as error:
            raise TrainingFailed(
                f"{self._path}: {error.strerror}: trained to the end, but the result cannot be written; "
                f"{remedy_of_writing(error)}, then --resume {self._path.parent}"
            ) from None
        self._is_finished = True

    def _look_after_folder(self) -> bool:
        """See to it that the folder is this run's, before each write there; return whether it had to be taken again.

        Raises `TrainingFailed` if it is another process's by now.
        """
        if self._lock is None:
            return False
        try:
            was_gone = self._lock.renew()
        except TrainingFailed:
            self._is_finished = True  # nothing more is written there
            raise
        if was_gone:
            logger.warning(
                "%s or its lock was removed while the run trains: it goes on, and writes there again", self._path.parent
            )
        return was_gone

    def end(self, state: str, **fields: Any) -> None:
        """Write the state of a run that stopped before its end: `interrupted` or `failed`; a finished one stays that."""
        if self._is_finished:
            return
        self._record.update(state=state, **fields)
        with suppress(TrainingFailed):  # it is another's by now
            self._write()

    def _write_at_times(self) -> None:
        if time.monotonic() >= self._next_write:
            self._write()

    def _content(self) -> dict[str, Any]:
        return {**self._record, "progress": self._progress}

    def _write(self) -> None:
        self._look_after_folder()
        try:
            write_json(self._path, self._content())
        except OSError as error:
            if not self._has_warned:
                logger.warning("%s cannot be written, training goes on: %s", self._path, error.strerror)
            self._has_warned = True
        self._next_write = time.monotonic() + _LEAST_SECONDS

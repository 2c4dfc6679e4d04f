"""Keeps `run.json`: what a run is, its state, how far it came, and its result."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.observers.events import Decision, EpochEnd, Observer, RunEnd, StageStart, StepEnd
from training.run_folder import write_json

logger = logging.getLogger("slipway")


class RunRecord(Observer):
    """Writes `run.json` when something is known that a reader of the run's folder would ask for."""

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        self._path = path
        self._record = {**record, "state": "running"}
        self._progress: dict[str, Any] = dict(record.get("progress") or {})
        self._has_warned = False
        # Refused here, a folder that cannot be written is refused before anything is computed.
        write_json(path, self._record)

    def on_stage_start(self, event: StageStart) -> None:
        """Note the stage."""
        self._progress.update(stage=event.number, stage_name=event.stage.name)

    def on_step(self, event: StepEnd) -> None:
        """Note the step, for the next time something is written."""
        self._progress["step"] = event.step

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Write how far the run is, and its best so far."""
        self._progress.update(epoch=event.epoch, best=event.best)
        self._write()

    def on_decision(self, event: Decision) -> None:
        """Write the name of a checkpoint."""
        if event.kind == "checkpoint":
            self._progress["checkpoint"] = event.fields["checkpoint"]
            self._write()

    def on_run_end(self, event: RunEnd) -> None:
        """Write the result."""
        self.end("finished", result=event.result)

    def end(self, state: str, **fields: Any) -> None:
        """Write the last state of the run: `finished`, `interrupted`, `failed`."""
        self._record.update(state=state, **fields)
        self._write()

    def _write(self) -> None:
        try:
            write_json(self._path, {**self._record, "progress": self._progress})
        except OSError as error:
            if not self._has_warned:
                logger.warning("%s cannot be written (%s): training goes on", self._path, error.strerror)
            self._has_warned = True

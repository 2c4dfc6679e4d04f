"""Keeps the `run.json` of a study: what the study is, the state and the result of each run, the result of all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...common.errors import TrainingFailed, UserError
from ...common.program.doors import remedy_of_writing
from ...storage.files import write_json

logger = logging.getLogger("slipway")


class StudyRecord:
    """Writes the `run.json` of a study whenever a run begins or ends. Where `path` is None it writes nothing.

    Raises `UserError` if it cannot be written at the start, `TrainingFailed` if the result cannot; between, it warns.
    """

    def __init__(self, path: Path | None, content: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> None:
        self._path = path
        self._content = {**content, "state": "running"}
        self._rows = rows
        self._is_finished = False
        try:
            self._write()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; choose a --runs-dir that can be written and has room") from None

    @property
    def data(self) -> Mapping[str, Any]:
        """What the data of all runs are; {} until it is noted."""
        return self._content.get("data") or {}

    def describe_data(self, data: Mapping[str, Any]) -> None:
        """Note what the data of all runs are."""
        self._content["data"] = dict(data)
        self.update()

    def update(self) -> None:
        """Write what has changed in the rows."""
        try:
            self._write()
        except OSError as error:
            logger.warning("%s cannot be written, training goes on: %s", self._path, error.strerror)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, which holds the rows."""
        self._content.pop("progress", None)
        self._content |= {"state": "finished", "result": result}
        self._is_finished = True
        try:
            self._write()
        except OSError as error:
            raise TrainingFailed(
                f"{self._path}: {error.strerror}: all runs are trained, but the result cannot be written; "
                f"{remedy_of_writing(error)}, then resume the study"
            ) from None

    def end(self, state: str, error: str) -> None:
        """Write the state of a study that stopped before its end: `interrupted` or `failed`; a finished one stays that."""
        if not self._is_finished:
            self._content |= {"state": state, "error": error}
            self.update()

    def _write(self) -> None:
        if self._path is not None:
            progress = {} if self._is_finished else {"progress": {"runs": list(self._rows)}}
            write_json(self._path, {**self._content, **progress})

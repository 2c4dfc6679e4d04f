"""A thread that feeds one tracker from a journal, and keeps what the tracker has got."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ...training.common.errors import UserError
from ...training.common.program.redaction import without_secrets
from ...training.common.program.shown import one_line
from ...training.common.small_files import UnreadableError, read_json
from ...training.storage.files import replaced
from ..common.run_files import JOURNAL
from ..watch.follow import JournalTail
from .points import Points, settings_of
from .trackers import STATES, id_of, load, open_tracker, store_settings

T = TypeVar("T")

_POLL_SECONDS = 0.5
_SAVE_SECONDS = 1.0
_MOST_LETTERS = 300


class Feeder(threading.Thread):
    """Sends the points of a run to a tracker until the run is over, each once, also over several processes.

    What goes wrong is in `trouble`, and ends it; `is_wrong_input` says whether files of the run are wrong.
    """

    def __init__(self, name: str, folder: Path, run: str, project: str, over: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.trouble = ""
        self.is_wrong_input = False
        self.called: float | None = None
        """When the call of the tracker began that has not returned."""
        self._folder, self._title, self._project, self._over = folder, run, project, over
        self._state = folder / STATES / f"{name}.json"
        self._tracker: Any = None
        self._tracker_run: str | None = None
        self._sent = self._seen = 0
        """Lines of the journal."""
        self._points = Points()
        self._save_at = 0.0

    def run(self) -> None:
        """Send points until the run is over."""
        try:
            self._read_state()
            load(self.name)
            tail, is_last = JournalTail(self._folder / JOURNAL), False
            while not is_last:
                is_last = self._over.is_set()  # before the reading, so that nothing is written after the last one
                try:
                    for event in tail.read():
                        self._take(event)
                finally:
                    self._save()
                self._over.wait(_POLL_SECONDS)
            if self._tracker is not None:
                self._call(self._tracker.finish)
        except BaseException as error:  # trackers end the program too, where they ask for a key that is not there
            self.is_wrong_input = isinstance(error, UserError)
            kind = "" if self.is_wrong_input else f"{type(error).__name__}: "
            words = without_secrets(one_line(f"{kind}{error}")).removesuffix(": ")
            self.trouble = words if len(words) <= _MOST_LETTERS else f"{words[: _MOST_LETTERS - 3]}..."

    def _take(self, event: Mapping[str, Any]) -> None:
        """Send the points of the next line, if they were not sent before."""
        self._seen += 1
        points = list(self._points.take(event))
        if self._seen <= self._sent:
            return
        if self._tracker is None:
            self._open(event)
        for point in points:
            # The letters that MLflow takes; names of metrics are the task's own.
            values = {re.sub(r"[^\w\-. /]", "_", name): value for name, value in point.values.items()}
            self._call(partial(self._tracker.log, values, step=point.step))
        self._sent = self._seen
        if time.monotonic() >= self._save_at:
            self._save()

    def _open(self, event: Mapping[str, Any]) -> None:
        is_new = self._tracker_run is None
        self._tracker = self._call(
            partial(open_tracker, self.name, self._folder, self._title, self._project, self._tracker_run)
        )
        self._tracker_run = id_of(self.name, self._tracker)
        self._save()
        if is_new and event["event"] == "run":
            self._call(partial(store_settings, self.name, self._tracker, settings_of(event)))

    def _call(self, function: Callable[[], T]) -> T:
        self.called = time.monotonic()
        try:
            return function()
        finally:
            self.called = None

    def _read_state(self) -> None:
        try:
            state = read_json(self._state)
            self._tracker_run, self._sent = str(state["tracker_run"]), int(state["lines"])
        except FileNotFoundError:
            self._state.parent.mkdir(exist_ok=True)
        except (OSError, UnreadableError, KeyError, TypeError, ValueError):
            raise UserError(f"{self._state}: not what was kept of a tracker; remove it to send all anew") from None

    def _save(self) -> None:
        self._save_at = time.monotonic() + _SAVE_SECONDS
        if self._tracker_run is None:
            return
        with replaced(self._state) as partial_file:
            partial_file.write_text(json.dumps({"tracker_run": self._tracker_run, "lines": self._sent}) + "\n")

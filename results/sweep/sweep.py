"""Runs the trials of a sweep: starts them, follows their journals, stops those that others leave behind."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ...training.common.errors import UserError
from ...training.observers.screen.tables import format_metric, plural
from ...training.storage.files import write_json
from ..common.values import number, rows, text
from .space import Dimension
from .trial_run import TrialRun, can_go_on, is_bad_input
from .trials import Trials

if TYPE_CHECKING:
    import optuna

_POLL_SECONDS = 0.2
_MOST_STARTS = 3
"""Of a trial that something else than the sweep stops."""
_FAILED_AT_FIRST = 3
"""Trials that fail before any other outcome end the sweep."""
OUTCOME = "trial.json"


@dataclass(kw_only=True)
class _Begun:
    trial: optuna.trial.Trial
    values: Mapping[str, Any]
    run: TrialRun
    stopped_at: int | None = None
    """The epoch after which others did better."""
    starts: int = 1
    last: tuple[int, float] | None = None
    total: int = 0
    """Epochs of the whole run; 0 until it says so."""
    shown: str = field(default="")


class Sweep:
    """Trials in processes of their own, `jobs` at a time."""

    def __init__(
        self,
        folder: Path,
        space: Sequence[Dimension],
        trials: Trials,
        words: Sequence[str],
        *,
        least_epochs: int | None,
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._space, self._trials, self._words = folder, space, trials, words
        self._least_epochs, self._say = least_epochs, say
        self._begun: list[_Begun] = []
        self._signal: int | None = None
        self._has_rungs = False
        if least_epochs is not None:
            self._set_rungs(least_epochs)

    def run(self, count: int, jobs: int) -> int | None:
        """Run trials until there are `count`; return the signal that stopped the sweep, or None.

        Raises `UserError` where a trial says that the input is wrong, and where all of the first trials fail.
        """
        before = {one: signal.signal(one, self._on_signal) for one in (signal.SIGTERM, signal.SIGINT)}
        try:
            waiting = self._trials.begun()
            while True:
                while self._signal is None and len(self._begun) < jobs:
                    if waiting:
                        self._start(waiting.pop(0), goes_on=True)
                    elif self._trials.count() < count:
                        self._start(self._trials.next(), goes_on=False)
                    else:
                        break
                if not self._begun:
                    return self._signal
                for one in list(self._begun):
                    self._look_at(one)
                time.sleep(_POLL_SECONDS)
        finally:
            self._stop_all()
            for number_, handler in before.items():
                signal.signal(number_, handler)

    def _on_signal(self, signum: int, _: FrameType | None) -> None:
        self._signal = signum
        for one in self._begun:
            one.run.stop()

    def _stop_all(self) -> None:
        for one in self._begun:
            one.run.stop()
        while any(one.run.exit_code() is None for one in self._begun):
            time.sleep(_POLL_SECONDS)

    def _start(self, trial: optuna.trial.Trial, *, goes_on: bool) -> None:
        values = self._trials.values_of(trial)
        words = [word for one in self._space for word in one.words(values[one.name])]
        folder = self._folder / f"trial-{trial.number}"
        shown = ", ".join(f"{one.name} {one.text(values[one.name])}" for one in self._space)
        run = TrialRun(folder, [*self._words, *words], goes_on=goes_on)
        self._begun.append(_Begun(trial=trial, values=values, run=run, shown=shown))

    def _look_at(self, one: _Begun) -> None:
        code = one.run.exit_code()  # asked first: what was written before the end is then read below
        self._read(one)
        if code is None:
            return
        self._begun.remove(one)
        if code == 0:
            self._finish(one)
        elif one.stopped_at is not None:
            reason = f"others did better after {plural(one.stopped_at, 'epoch')}"
            self._end(one, "PRUNED", "stopped early", reason=reason)
        elif self._signal is not None:
            pass  # begun, and gone on with another time
        elif is_bad_input(code):
            raise UserError(f"trial {one.trial.number} ({one.shown}): {one.run.reason()}")
        elif can_go_on(code) and one.starts < _MOST_STARTS:
            self._start(one.trial, goes_on=True)
            self._begun[-1].starts = one.starts + 1
        else:
            self._end(one, "FAIL", "failed", reason=one.run.reason())
            states = {row.state for row in self._trials.rows()} - {"begun"}
            if states == {"failed"} and self._trials.count() >= _FAILED_AT_FIRST:
                raise UserError(f"the first {self._trials.count()} trials failed; the last says: {one.run.reason()}")

    def _read(self, one: _Begun) -> None:
        if not one.total:
            self._learn(one, one.run.record())
        if not one.total:
            return
        for epoch, validation in one.run.epochs():
            value = number(validation, self._trials.metric)
            if value is None:
                continue
            one.last = (epoch, value)
            self._trials.report(one.trial, epoch, value)
            if epoch < one.total and one.stopped_at is None and self._trials.should_stop(one.trial):
                one.stopped_at = epoch
                one.run.stop()

    def _learn(self, one: _Begun, record: Mapping[str, Any]) -> None:
        """Take from the record of a run by what the trials are compared, and how long they train."""
        monitor = text(record, "recipe", "monitor")
        epochs = [number(stage, "epochs") or 0 for stage in rows(record, "recipe", "stages")]
        if not monitor or not epochs:
            return
        direction = text(record, "recipe", "monitor_direction")
        self._trials.set_metric(
            monitor, less_is_better=direction == "min" or (direction != "max" and monitor == "loss")
        )
        if monitor != self._trials.metric:
            raise UserError(
                f"{self._folder}: its trials are compared by {self._trials.metric}, and this one by {monitor}; give another "
                "--name, or --monitor"
            )
        one.total = int(sum(epochs))
        if not self._has_rungs:
            self._set_rungs(max(1, round(one.total / 9)))

    def _set_rungs(self, least_epochs: int) -> None:
        self._trials.set_rungs(least_epochs)
        self._has_rungs = True

    def _finish(self, one: _Begun) -> None:
        record = one.run.record()
        value = number(record, "result", f"validation_{self._trials.metric}")
        if value is None or not math.isfinite(value):
            reason = f"no {self._trials.metric or 'metric'} of a validation: there are no samples to validate on"
            self._end(one, "FAIL", "failed", reason=reason)
            if one.last is None:
                raise UserError(f"trial {one.trial.number}: {reason}; give the data a validation split")
            return
        self._end(one, "COMPLETE", "finished", value)

    def _end(self, one: _Begun, state: str, name: str, value: float | None = None, reason: str = "") -> None:
        self._trials.end(one.trial, state, value, reason)
        epochs, last = one.last or (0, None)
        metric = self._trials.metric
        shown = last if value is None else value
        content = {
            "schema_version": 1,
            "trial": one.trial.number,
            "state": name,
            "values": dict(one.values),
            "epochs": epochs,
            "metric": metric,
            "value": shown,
            "reason": reason,
        }
        if one.run.folder.is_dir():
            write_json(one.run.folder / OUTCOME, content)
        result = "" if shown is None else f", {metric} {format_metric(metric, shown)}"
        after = f" after {plural(epochs, 'epoch')}" if epochs else ""
        because = f" ({reason})" if name == "failed" else ""
        self._say(f"trial {one.trial.number} {name}{after}{result}: {one.shown}{because}")

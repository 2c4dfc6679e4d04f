"""The trials of a sweep: what was tried, how it went, and what is tried next, in a file that outlives a kill."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...training.common.errors import UserError
from .space import Dimension, Value

if TYPE_CHECKING:
    import optuna

JOURNAL = "trials.jsonl"
_NAME = "sweep"
_STATES = {
    "COMPLETE": "finished",
    "PRUNED": "stopped early",
    "FAIL": "failed",
    "RUNNING": "begun",
    "WAITING": "waiting",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A trial as it stands in the table."""

    number: int
    state: str
    values: Mapping[str, Value]
    epochs: int
    """That were trained and validated."""
    metric: float | None
    """Of the weights that were kept; of a trial that was stopped early at its last epoch."""
    course: Sequence[tuple[int, float]]
    """(epoch from 1, metric of the validation)."""
    reason: str = ""


class Trials:
    """The trials of a sweep in its folder. Only one process uses it at a time; what it reads and writes is JSON.

    Raises `UserError` where optuna is not installed, and for a file that is not its own.
    """

    def __init__(self, folder: Path, space: Sequence[Dimension], *, seed: int, keep_one_in: int) -> None:
        optuna = import_optuna()
        self._optuna, self._space, self._keep_one_in = optuna, space, keep_one_in
        path = folder / JOURNAL
        _drop_half_line(path)
        lock = _no_lock()
        try:
            storage = optuna.storages.JournalStorage(
                optuna.storages.journal.JournalFileBackend(str(path), lock_obj=lock)
            )
            self._study = optuna.create_study(storage=storage, study_name=_NAME, load_if_exists=True)
            count = len(self._study.get_trials(deepcopy=False))
        except OSError:
            raise
        except Exception as error:
            raise UserError(
                f"{path}: not the trials of a sweep ({type(error).__name__}); give another --name"
            ) from None
        # A sampler that begins again with the same seed would draw what it has drawn.
        self._study.sampler = optuna.samplers.TPESampler(seed=seed + count, constant_liar=True)
        self.sign = -1.0
        """By which a metric is multiplied so that less is better."""
        self.metric = str(self._study.user_attrs.get("metric", ""))
        if self.metric:
            self.sign = float(self._study.user_attrs["sign"])

    def set_metric(self, name: str, *, less_is_better: bool) -> None:
        """Say by which metric the trials are compared."""
        if not self.metric:
            self.metric, self.sign = name, 1.0 if less_is_better else -1.0
            self._study.set_user_attr("metric", self.metric)
            self._study.set_user_attr("sign", self.sign)

    def set_rungs(self, least_epochs: int) -> None:
        """Say after how many epochs trials are compared first; later ones come after `keep_one_in` times as many each."""
        self._study.pruner = self._optuna.pruners.SuccessiveHalvingPruner(
            min_resource=least_epochs, reduction_factor=self._keep_one_in
        )

    def begin_with(self, values: Mapping[str, Value]) -> None:
        """Have the first trial try these values, unless there are trials already."""
        if not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial(dict(values))

    def begun(self) -> list[optuna.trial.Trial]:
        """Return the trials that were begun and have no outcome."""
        states = (self._optuna.trial.TrialState.RUNNING,)
        found = self._study.get_trials(deepcopy=False, states=states)
        return [self._optuna.trial.Trial(self._study, one._trial_id) for one in found]

    def count(self) -> int:
        """Return how many trials were begun."""
        waiting = self._optuna.trial.TrialState.WAITING
        return sum(one.state != waiting for one in self._study.get_trials(deepcopy=False))

    def next(self) -> optuna.trial.Trial:
        """Begin a trial."""
        return self._study.ask()

    def values_of(self, trial: optuna.trial.Trial) -> dict[str, Value]:
        """Return what a trial tries; drawn when it is asked for first."""
        values: dict[str, Any] = {}
        for one in self._space:
            if one.choices:
                values[one.name] = trial.suggest_categorical(one.name, one.choices)
            elif one.is_whole:
                step = int(one.step or 1)
                values[one.name] = trial.suggest_int(one.name, int(one.low), int(one.high), step=step, log=one.is_log)
            else:
                values[one.name] = trial.suggest_float(one.name, one.low, one.high, step=one.step, log=one.is_log)
        return values

    def report(self, trial: optuna.trial.Trial, epoch: int, value: float) -> None:
        """Note the metric of a trial after an epoch, once."""
        known = self._study._storage.get_trial(trial._trial_id).intermediate_values
        if epoch not in known:
            trial.report(self.sign * value, epoch)

    def should_stop(self, trial: optuna.trial.Trial) -> bool:
        """Return whether others do better, so that the trial goes no further."""
        return bool(trial.should_prune())

    def end(self, trial: optuna.trial.Trial, state: str, value: float | None = None, reason: str = "") -> None:
        """Note the outcome of a trial: `COMPLETE` with its metric, `PRUNED` or `FAIL`."""
        if reason:
            trial.set_user_attr("reason", reason)
        self._study.tell(
            trial, None if value is None else self.sign * value, state=self._optuna.trial.TrialState[state]
        )

    def rows(self) -> list[Row]:
        """Return the trials, those of the best metric first, and those without one last."""
        rows = []
        for one in self._study.get_trials(deepcopy=False):
            if one.state.name == "WAITING":
                continue
            course = [(step, self.sign * value) for step, value in sorted(one.intermediate_values.items())]
            metric = self.sign * one.value if one.state.name == "COMPLETE" else course[-1][1] if course else None
            rows.append(
                Row(
                    number=one.number,
                    state=_STATES[one.state.name],
                    values={
                        name: one.params[name] for name in (each.name for each in self._space) if name in one.params
                    },
                    epochs=course[-1][0] if course else 0,
                    metric=None if metric is None or not math.isfinite(metric) else metric,
                    course=course,
                    reason=str(one.user_attrs.get("reason", "")),
                )
            )
        return sorted(rows, key=lambda row: (row.metric is None, self.sign * (row.metric or 0.0), row.number))


def import_optuna() -> Any:
    """Return the library, silent. Raises `UserError` that names the command which installs it."""
    try:
        import optuna
    except ImportError as error:
        raise UserError(f"`slipway sweep` needs the package optuna ({error}): pip install 'slipway[sweep]'") from None
    optuna.logging.set_verbosity(logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return optuna


def best_of(rows: Sequence[Row]) -> Row | None:
    """Return the best trial that was trained to its end."""
    return next((row for row in rows if row.state == "finished" and row.metric is not None), None)


def _drop_half_line(path: Path) -> None:
    """Take away what a kill left of a line that was being written."""
    if path.is_file():
        content = path.read_bytes()
        if whole := len(content) - (content.rfind(b"\n") + 1):
            os.truncate(path, len(content) - whole)


def _no_lock() -> Any:
    """Return a lock that is none: the folder has one, which no kill leaves behind."""
    from optuna.storages.journal._file import BaseJournalFileLock

    class NoLock(BaseJournalFileLock):
        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            pass

    return NoLock()

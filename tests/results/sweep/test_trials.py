"""The trials of a sweep in their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.results.sweep.space import Dimension
from slipway.results.sweep.trials import JOURNAL, Trials, best_of
from slipway.training.common.errors import UserError

pytest.importorskip("optuna")
SPACE = (
    Dimension(name="learning_rate", low=1e-4, high=1e-1, is_log=True),
    Dimension(name="augment", choices=(True, False)),
)


def trials(folder: Path) -> Trials:
    found = Trials(folder, SPACE, seed=0, keep_one_in=3)
    found.set_metric("accuracy", less_is_better=False)
    found.set_rungs(1)
    return found


def test_of_three_trials_one_goes_on_and_the_table_has_the_best_first(tmp_path: Path) -> None:
    kept = trials(tmp_path)
    kept.begin_with({"learning_rate": 0.05})
    for value in (0.5, 0.9, 0.4, 0.3):
        trial = kept.next()
        kept.values_of(trial)
        kept.report(trial, 1, value)
        if kept.should_stop(trial):
            kept.end(trial, "PRUNED", reason="others did better")
        else:
            kept.end(trial, "COMPLETE", value + 0.01)
    rows = kept.rows()
    assert [(row.number, row.state) for row in rows] == [
        (1, "finished"), (0, "finished"), (2, "stopped early"), (3, "stopped early"),
    ]  # fmt: skip
    assert [row.metric for row in rows] == pytest.approx([0.91, 0.51, 0.4, 0.3])
    assert rows[1].values["learning_rate"] == 0.05
    best = best_of(rows)
    assert best is not None
    assert best.number == 1


def test_trials_outlive_a_kill_in_the_middle_of_a_line_and_are_not_drawn_again(tmp_path: Path) -> None:
    first = trials(tmp_path)
    drawn = [first.values_of(first.next()) for _ in range(2)]
    with open(tmp_path / JOURNAL, "a") as file:
        file.write('{"op_code": 4, "wor')
    again = trials(tmp_path)
    begun = again.begun()
    assert [again.values_of(one) for one in begun] == drawn
    assert again.values_of(again.next()) not in drawn
    assert again.count() == 3


def test_less_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    kept = Trials(tmp_path, SPACE, seed=0, keep_one_in=3)
    kept.set_metric("loss", less_is_better=True)
    for value in (2.0, 1.0):
        trial = kept.next()
        kept.values_of(trial)
        kept.end(trial, "COMPLETE", value)
    assert [row.metric for row in kept.rows()] == [1.0, 2.0]


def test_a_file_of_something_else_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("something else\n")
    with pytest.raises(UserError, match="not the trials of a sweep"):
        trials(tmp_path)

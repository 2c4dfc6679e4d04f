"""A run in a notebook is drawn at one place, escaped, and its last state says how it ended."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from slipway.training.devices.interruption import Interrupted
from slipway.training.observers.events import Decision, RunStart, StudyEnd
from slipway.training.observers.screen.notebook.console import NotebookConsole
from slipway.training.observers.screen.notebook.results import result_html
from tests.training.observers import events_of_a_run, make_result, make_run_start, make_stage_start, make_step, send


class Clock:
    """Seconds that pass with each look at them."""

    def __init__(self, step: float = 1.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def console(level: int = logging.INFO, step: float = 1.0) -> tuple[NotebookConsole, list[tuple[str, str]]]:
    shown: list[tuple[str, str]] = []
    return NotebookConsole(level, lambda html, text: shown.append((html, text)), Clock(step)), shown


def plain(html: str) -> str:
    return re.sub(r"<[^>]*>", "|", html)


def test_a_run_ends_with_its_epochs_and_its_result() -> None:
    observer, shown = console()
    for event in events_of_a_run():
        send(observer, event)
    observer.close()
    html, text = shown[-1]
    assert "done in" in text
    assert "<style" not in html
    assert "<script" not in html
    for word in ("hands, synthetic data", "2/2", "92.3 %", "first [stage]", "run folder: ", "how it is computed"):
        assert word in plain(html)
    assert "samples/s" not in html
    assert any("samples/s" in one for one, _ in shown)
    assert all(len(re.findall("<table", one)) == len(re.findall("</table", one)) for one, _ in shown)


def test_updates_are_no_flood() -> None:
    observer, shown = console(step=0.01)
    observer.on_run_start(make_run_start())
    observer.on_stage_start(make_stage_start())
    for step in range(1, 1000):
        observer.on_step(make_step(step))
    assert len(shown) < 40


def test_names_are_shown_as_they_are() -> None:
    observer, shown = console()
    observer.on_run_start(make_run_start(name="<b>&x", description={"data": "<script>alert(1)</script>"}))
    observer.on_decision(Decision(kind="kind", reason="a <i>reason</i>", warning=True, fields={}))
    html = shown[-1][0]
    for word in ("<script", "<b>&x", "<i>"):
        assert word not in html
    assert "&lt;b&gt;&amp;x" in html
    assert "a &lt;i&gt;reason" in html


def test_what_ended_a_run_before_its_end_stays() -> None:
    for error, state in [(Interrupted("stopped"), "stopped after step 3"), (ValueError(), "failed after step 3")]:
        observer, shown = console()
        observer.on_run_start(make_run_start())
        observer.on_stage_start(make_stage_start())
        observer.on_step(make_step(3))
        try:
            raise error
        except (Interrupted, ValueError):
            observer.close()
        assert state in shown[-1][0]
        assert shown[-1][1].endswith(state)


def test_above_info_only_warnings_and_the_result_are_drawn() -> None:
    observer, shown = console(logging.WARNING)
    events = list(events_of_a_run())
    for event in events[:-1]:
        send(observer, event)
    assert all("warning:" in html and "train loss" not in html for html, _ in shown)
    send(observer, events[-1])
    assert "92.3 %" in shown[-1][0]


def test_a_study_shows_every_run_its_mean_and_the_worst() -> None:
    row = {"name": "seed-0", "test_r2": 0.25, "test_loss": 0.5, "best_stage": "only", "best_epoch": 2, "seconds": 1.0}
    result = {
        "mean_test_r2": 0.5,
        "std_test_r2": 0.25,
        "interval_test_r2": [0.1, 0.9],
        "mean_test_loss": 0.5,
        "std_test_loss": None,
        "interval_test_loss": None,
        "over": "2 seeds",
        "worst": {"name": "seed-0", "metric": "test_loss", "value": 0.5},
        "runs": [row, {**row, "name": "seed-1", "test_r2": 0.75}],
        "seconds": 2.0,
    }
    words = plain(result_html(result, make_run_start().folder))
    for word in ("seed-1", "0.7500", "test r2", "0.1000 to 0.9000", "the worst is seed-0", "study folder: runs/trial"):
        assert word in words
    observer, shown = console()
    observer.on_study_end(StudyEnd(result=result, folder=make_run_start().folder))
    assert "0.1000 to 0.9000" in shown[-1][0]


def test_a_result_without_a_test_says_so() -> None:
    result = {name: value for name, value in make_result().items() if not name.startswith("test_")}
    assert "no test split" in result_html(result, make_run_start().folder)


def test_of_many_epochs_the_last_are_shown() -> None:
    observer, shown = console()
    start: RunStart = make_run_start()
    observer.on_run_start(start)
    observer.on_stage_start(make_stage_start())
    ends = [event for event in events_of_a_run() if type(event).__name__ == "EpochEnd"]
    for number in range(30):
        observer.on_epoch_end(replace(ends[0], epoch=number, epoch_in_stage=number))
    assert "10 earlier epochs, then" in shown[-1][0]
    assert "30/2" in shown[-1][0]

"""Events that code acts on have their own fields; an observer that does not override them gets a decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway.training.observers.events import (
    CheckpointSaved,
    ModelFlops,
    Observer,
    Observers,
    RunResumed,
    RunRewound,
    SkippedBatch,
)
from slipway.training.observers.journal import Journal
from slipway.training.observers.journal_schema import DECISION_FIELDS
from slipway.training.observers.launch_mark import LaunchMark
from tests.training.helpers import Recorder

EVENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "on_checkpoint_saved": (
        CheckpointSaved(step=7, name="000002-step-7", num_bytes=99),
        {"event": "checkpoint", "step": 7, "checkpoint": "000002-step-7", "bytes": 99},
    ),
    "on_run_resumed": (
        RunResumed(step=7, processes=2, recipe_changes=("seed 1 -> 2",), reason="goes on"),
        {"event": "resume", "step": 7, "processes": 2, "recipe_changes": ["seed 1 -> 2"]},
    ),
    "on_run_rewound": (
        RunRewound(
            step=4, skipped_batches=(SkippedBatch(epoch=1, step_in_epoch=2, samples=[5, 3]),), reason="bad numbers"
        ),
        {"event": "rewind", "step": 4, "passed_over": [{"epoch": 1, "step_in_epoch": 2, "samples": [5, 3]}]},
    ),
    "on_model_flops": (
        ModelFlops(flops_per_sample=2e9, peak_flops_per_second=1e12, mixed_precision="no"),
        {
            "event": "model_flops",
            "flops_per_sample": 2e9,
            "peak_flops_per_second": 1e12,
            "mixed_precision": "no",
        },
    ),
}


@pytest.mark.parametrize("method", EVENTS)
def test_an_event_stands_in_the_journal_as_the_decision_that_its_page_describes(tmp_path: Path, method: str) -> None:
    event, expected = EVENTS[method]
    journal = Journal(tmp_path / "events.jsonl")
    getattr(journal, method)(event)
    journal.close()
    line = json.loads((tmp_path / "events.jsonl").read_text())
    assert line.pop("time_seconds") >= 0
    assert line.pop("reason") == event.to_decision().reason
    assert line.pop("warning") == (method == "on_run_rewound")
    assert line == expected
    assert expected.keys() - {"event"} == DECISION_FIELDS[expected["event"]].keys()


@pytest.mark.parametrize("method", EVENTS)
def test_several_observers_each_hear_of_an_event_as_it_is(method: str) -> None:
    event, _ = EVENTS[method]
    heard: list[Any] = []
    watching, reading = Observer(), Recorder()
    setattr(watching, method, heard.append)
    getattr(Observers([watching, reading]), method)(event)
    assert heard == [event]
    assert reading.decisions == [event.to_decision()]


def test_the_launcher_finds_the_step_from_which_a_resumed_run_goes_on(tmp_path: Path) -> None:
    mark = LaunchMark(str(tmp_path), tmp_path / "run")
    mark.on_run_resumed(EVENTS["on_run_resumed"][0])
    mark.close()
    assert int((tmp_path / "progress").read_text().splitlines()[0]) == 7

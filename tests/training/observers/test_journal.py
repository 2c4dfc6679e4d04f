"""The journal has the events in order, in the schema it declares, and survives a killed run."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slipway.training.common.errors import UserError
from slipway.training.observers import journal as journal_module
from slipway.training.observers.events import Decision, EpochEnd
from slipway.training.observers.journal import FLUSH_STEPS, Journal, lineage, read_journal
from slipway.training.observers.journal_schema import (
    COMMON_FIELDS,
    DECISION_FIELDS,
    EVENT_FIELDS,
    EXAMPLE_LINE,
    describe_schema,
)
from tests.conftest import ROOT
from tests.training.observers import events_of_a_run, make_run_start, make_step, send

ALWAYS = {"event", "time_seconds"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_every_line_of_a_run_has_just_the_declared_fields(path: Path) -> None:
    journal = Journal(path)
    for event in events_of_a_run():
        send(journal, event)
    journal.close()
    lines = read_journal(path)
    assert {line["event"] for line in lines} == {*EVENT_FIELDS, "batch_rule", "small_data"} - {"decision"}
    for line in lines:
        if line["event"] in EVENT_FIELDS:
            assert set(line) == ALWAYS | set(EVENT_FIELDS[line["event"]])
        else:
            assert set(line) > ALWAYS | set(EVENT_FIELDS["decision"])


def test_the_lines_stand_in_the_order_in_which_things_happened(path: Path) -> None:
    journal = Journal(path)
    for event in events_of_a_run():
        send(journal, event)
    journal.close()
    lines = read_journal(path)
    epoch = ["step"] * 3 + ["epoch"]
    assert [line["event"] for line in lines] == [
        *["run", "batch_rule", "stage", *epoch[:3], "profile", "epoch", *epoch, "stage_end"],
        *["stage", *epoch, "stage_end", "small_data", "run_end"],
    ]
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(1, 10))
    times = [line["time_seconds"] for line in lines]
    assert times == sorted(times)
    assert times[0] >= 0


def test_a_step_is_written_with_its_very_numbers(path: Path) -> None:
    journal = Journal(path)
    journal.on_step(make_step(3, 1.0 / 3.0))
    journal.close()
    (line,) = read_journal(path)
    expected = {"step": 3, "stage": 0, "epoch": 0, "step_in_epoch": 0, "samples_per_rank": [25, 25], "micro_batches": 1}
    assert {name: line[name] for name in expected} == expected
    assert line["learning_rate"] == 0.004 / 3
    assert line["loss"] == 1.0 / 3.0
    assert line["gradient_norm"] == 1.5


def test_the_first_line_says_what_is_trained_and_how(path: Path) -> None:
    start = make_run_start()
    Journal(path).on_run_start(start)
    (line,) = read_journal(path)
    assert line["recipe"] == start.recipe.as_dict()
    assert line["recipe_hash"] == start.recipe.hash
    assert line["plan"]["world_size"] == 2
    assert line["schema_version"] == 1
    assert line["wall_time"].endswith("+00:00")


def test_steps_are_held_back_until_there_are_many_or_the_run_is_saved(path: Path) -> None:
    journal = Journal(path)
    for step in range(1, FLUSH_STEPS):
        journal.on_step(make_step(step))
    assert read_journal(path) == []
    journal.on_step(make_step(FLUSH_STEPS))
    assert len(read_journal(path)) == FLUSH_STEPS
    journal.on_step(make_step(FLUSH_STEPS + 1))
    journal.on_save()
    assert read_journal(path)[-1]["step"] == FLUSH_STEPS + 1


def test_a_nan_or_infinite_loss_is_valid_json_and_named(path: Path) -> None:
    journal = Journal(path)
    journal.on_step(make_step(1, float("nan")))
    journal.on_step(make_step(2, float("inf")))
    journal.on_epoch_end(
        EpochEnd(
            stage_number=0,
            epoch=0,
            epoch_in_stage=0,
            samples_seen=1,
            train_loss=float("nan"),
            validation={"loss": float("-inf"), "accuracy": 0.5},
            improved=False,
            best=None,
            seconds=1.0,
        )
    )
    journal.close()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    first, second, epoch = (json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines())
    assert (first["loss"], first["non_finite"]) == (None, ["loss"])
    assert (second["loss"], second["non_finite"], second["gradient_norm"]) == (None, ["loss"], 1.5)
    assert epoch["validation"] == {"loss": None, "accuracy": 0.5}
    assert epoch["non_finite"] == ["train_loss", "validation.loss"]


def test_an_epoch_leaves_out_the_confusion_matrix(path: Path) -> None:
    journal = Journal(path)
    for event in events_of_a_run():
        send(journal, event)
    epochs = [line for line in read_journal(path) if line["event"] == "epoch"]
    assert [epoch["validation"] for epoch in epochs] == [{"loss": 0.75, "accuracy": 0.8125}] * 3


def test_a_decision_cannot_pass_for_another_event_or_hide_its_reason(path: Path) -> None:
    journal = Journal(path)
    journal.on_decision(Decision(kind="step", reason="why", fields={"reason": "other", "path": Path("a/b")}))
    (line,) = read_journal(path)
    assert line["event"] == "decision_step"
    assert (line["reason"], line["decision_reason"], line["path"]) == ("why", "other", "a/b")


def test_a_run_that_fails_keeps_its_last_steps(path: Path) -> None:
    journal = Journal(path)
    journal.on_step(make_step(1))
    journal.close()
    journal.close()
    assert [line["step"] for line in read_journal(path)] == [1]


def test_a_torn_last_line_is_left_out_and_a_bad_line_elsewhere_is_named(path: Path) -> None:
    path.write_text('{"event": "a"}\n{"event": "b"}\n{"event": "c", "lo')
    assert [line["event"] for line in read_journal(path)] == ["a", "b"]
    path.write_text('{"event": "a"}\n{"event": \n{"event": "c"}\n')
    with pytest.raises(UserError, match="line 2 is no event"):
        read_journal(path)
    with pytest.raises(UserError, match=r"give a run's events\.jsonl"):
        read_journal(path.with_name("absent.jsonl"))


@pytest.mark.parametrize(
    ("tail", "kept"), [('{"event": "torn', ["a"]), ('{"event": "whole"}', ["a", "whole"]), ("", ["a"])]
)
def test_a_journal_goes_on_after_a_killed_run(path: Path, tail: str, kept: list[str]) -> None:
    path.write_text('{"event": "a"}\n' + tail)
    journal = Journal(path)
    journal.on_step(make_step(1))
    journal.close()
    assert [line["event"] for line in read_journal(path)] == [*kept, "step"]


def test_the_page_in_docs_is_the_declared_schema() -> None:
    assert (ROOT / "docs" / "journal.md").read_text(encoding="utf-8") == describe_schema(), (
        "write describe_schema() to docs/journal.md"
    )
    assert set(json.loads(EXAMPLE_LINE)) == ALWAYS | set(EVENT_FIELDS["step"])
    assert set(COMMON_FIELDS) > ALWAYS
    assert not set(DECISION_FIELDS) & set(EVENT_FIELDS)


def test_a_long_incomplete_line_is_removed_without_reading_all_of_the_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_TAIL_BYTES", 8)
    path.write_text('{"event": "a"}\n{"event": "b"}\n{"event": "torn", "text": "' + 50 * "x")
    Journal(path).close()
    assert path.read_text() == '{"event": "a"}\n{"event": "b"}\n'


@contextmanager
def room_for(num_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: the kernel then writes a part, and refuses the rest."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_warned_of_once_and_nothing_is_lost_or_torn_when_there_is_room_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(path)
    journal.on_step(make_step(1))
    journal.flush()
    with room_for(path.stat().st_size + 100):
        for step in (2, 3):
            journal.on_step(make_step(step))
            journal.on_save()
        assert path.read_bytes()[-1:] != b"\n"  # a part of a line did get there
        assert [event["step"] for event in read_journal(path)] == [1]
        assert len(caplog.records) == 1
        assert "training goes on" in caplog.text
    journal.on_step(make_step(4))
    journal.close()
    assert [event["step"] for event in read_journal(path)] == [1, 2, 3, 4]
    assert len(caplog.records) == 1


def test_a_disk_that_stays_full_costs_no_memory_without_end_and_the_gap_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_MOST_HELD_BYTES", 600)
    journal = Journal(path)
    with room_for(10):
        for step in range(1, 11):
            journal.on_step(make_step(step))
            journal.flush()
    journal.on_step(make_step(11))
    journal.close()
    *steps, gap = read_journal(path)
    known = [event["step"] for event in steps]
    assert known == list(range(1, len(known) + 1))
    assert (gap["event"], gap["lines"]) == ("journal_gap", 11 - len(known))
    assert set(gap) == ALWAYS | set(EVENT_FIELDS["decision"]) | set(DECISION_FIELDS["journal_gap"])


def test_a_run_that_ends_on_a_full_disk_says_what_is_missing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(path)
    with room_for(10):
        journal.on_step(make_step(1))
        journal.on_step(make_step(2))
        journal.close()
    assert "the last 2 lines are missing" in caplog.text
    journal = Journal(path)
    journal.on_step(make_step(3))
    journal.close()
    assert [event["step"] for event in read_journal(path)] == [3]


def test_a_journal_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Is a directory; choose a folder"):
        Journal(tmp_path)


def test_the_lineage_leaves_out_what_a_resume_or_a_rewind_supersedes() -> None:
    def steps(*numbers: int) -> list[dict[str, Any]]:
        return [{"event": "step", "step": number} for number in numbers]

    def goes_on(kind: str, step: int) -> dict[str, Any]:
        return {"event": kind, "step": step}

    other = {"event": "epoch", "epoch": 0}
    events = [
        *steps(1, 2, 3, 4),
        *(goes_on("resume", 2), *steps(3, 4, 5), other),
        *(goes_on("rewind", 4), *steps(6, 7)),  # step 5 was passed over
        *(goes_on("resume", 6), goes_on("resume", 6), *steps(7, 8)),
    ]
    assert [event["step"] for event in lineage(events)] == [1, 2, 3, 4, 6, 7, 8]
    assert [event["step"] for event in lineage([*events, goes_on("resume", 0), *steps(1)])] == [1]
    assert lineage([]) == []

"""The check of the chaos suite itself: it would find a sample that is lost or trained on twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ledger import Audit, audit, lineage, read_events


def step(number: int, counts: list[int]) -> dict[str, Any]:
    """Return an event of a run with two steps of three and one samples an epoch."""
    epoch, step_in_epoch = divmod(number - 1, 2)
    return {
        "event": "step",
        "step": number,
        "epoch": epoch,
        "step_in_epoch": step_in_epoch,
        "samples_per_rank": counts,
    }


def resume(number: int) -> dict[str, Any]:
    return {"event": "resume", "step": number}


RUN: dict[str, Any] = {"event": "run"}
KILLED = [RUN, step(1, [2, 1]), step(2, [1, 0]), step(3, [2, 1]), RUN, resume(2), step(3, [3]), step(4, [1])]
BOOKS = {(0, 0): "0 1\n2\n3 1\n", (0, 1): "3\n0\n", (1, 0): "2 0\n3\n1\n"}


def judge(folder: Path, events: list[dict[str, Any]], books: dict[tuple[int, int], str]) -> Audit:
    """Return what is found of a run of two epochs with four samples."""
    paths = [[folder / f"{attempt}.{rank}" for rank in range(2)] for attempt in range(2)]
    for (attempt, rank), text in books.items():
        paths[attempt][rank].write_text(text)
    return audit(lineage(events), paths, num_steps=4, num_epochs=2, num_samples=4)


def test_a_step_that_a_restart_did_again_counts_once(tmp_path: Path) -> None:
    found = judge(tmp_path, KILLED, BOOKS)
    assert (found.num_lost, found.num_duplicated, found.problems) == (0, 0, ())
    assert found.batches == {(0, 0): [0, 1, 3], (0, 1): [2], (1, 0): [0, 2, 3], (1, 1): [1]}
    assert found.steps_by_processes == {2: 2, 1: 2}


def test_a_restart_that_skips_a_step_is_found(tmp_path: Path) -> None:
    events = [RUN, step(1, [2, 1]), step(2, [1, 0]), RUN, resume(3), step(4, [1])]
    found = judge(tmp_path, events, {**BOOKS, (1, 0): "1\n"})
    assert found.problems
    assert found.num_lost == 3


def test_a_run_that_ends_too_early_is_found(tmp_path: Path) -> None:
    found = judge(tmp_path, KILLED[:3], BOOKS)
    assert found.problems
    assert found.num_lost == 4


def test_a_restart_that_trains_the_wrong_samples_is_found(tmp_path: Path) -> None:
    found = judge(tmp_path, KILLED, {**BOOKS, (1, 0): "2 0\n1\n1\n"})
    assert found.problems == ()
    assert (found.num_lost, found.num_duplicated) == (1, 1)


def test_a_step_that_no_resume_supersedes_is_found_twice(tmp_path: Path) -> None:
    found = judge(tmp_path, [event for event in KILLED if event["event"] != "resume"], BOOKS)
    assert any("twice [3]" in problem for problem in found.problems)


def test_a_torn_last_line_is_tolerated_and_no_other(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    lines = [json.dumps(event) for event in KILLED]
    journal.write_text("\n".join(lines) + '\n{"event": "st')
    assert read_events(journal) == KILLED
    journal.write_text("\n".join([*lines[:3], '{"event": "st', *lines[3:]]) + "\n")
    with pytest.raises(ValueError, match="Unterminated string"):
        read_events(journal)

"""A run is watched by its journal: the same events, as they come, of one that goes on, is over or was killed."""

from __future__ import annotations

import fcntl
import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import UserError
from slipway.results.watch import command, follow
from slipway.results.watch.command import main
from slipway.results.watch.follow import JournalTail
from slipway.results.watch.replay import Replay
from slipway.training.observers.events import Observer, RunStart, StepEnd
from tests.training.observers import events_of_a_run


class Noted(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return self.events.append
        return super().__getattribute__(name)


def mark(folder: Path, state: str) -> None:
    new = folder / "run.json.new"
    new.write_text(json.dumps({"name": folder.name, "state": state, "recipe": {}}))
    new.replace(folder / "run.json")


def test_an_observer_gets_from_a_journal_what_it_got_from_the_run(run: Path) -> None:
    noted, replay = Noted(), Replay(run)
    for event in JournalTail(run / "events.jsonl").read():
        replay.send(event, noted)
    told = [event for event in events_of_a_run() if type(event).__name__ not in ("Decision", "ModelFlops")]
    steps = [replace(event, data_wait_seconds=0.0) for event in told if isinstance(event, StepEnd)]
    assert [event for event in noted.events if isinstance(event, StepEnd)] == steps
    (start,) = [event for event in noted.events if isinstance(event, RunStart)]
    assert start.recipe.stages == told[0].recipe.stages
    assert start.plan == told[0].plan
    for kind in ("EpochEnd", "StageEnd", "RunEnd"):
        assert len([one for one in noted.events if type(one).__name__ == kind]) == len(
            [one for one in told if type(one).__name__ == kind]
        )


def test_a_run_that_is_over_is_shown_whole(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--log-format", "text"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("slipway trial\n")
    assert len(re.findall(r"^epoch \d/\d: train loss", err, flags=re.MULTILINE)) == 3
    assert "data wait" not in err, "the journal does not tell it of a step"
    assert f"run folder: {run}" in out


def test_lines_come_once_and_whole_also_where_a_resume_removed_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = JournalTail(path)
    assert list(tail.read()) == []
    path.write_bytes(b'{"event": "one"}\n{"event": "tw')
    assert [event["event"] for event in tail.read()] == ["one"]
    path.write_bytes(b'{"event": "one"}\n')
    assert list(tail.read()) == []
    path.write_bytes(b'{"event": "one"}\n{"event": "three"}\n')
    assert [event["event"] for event in tail.read()] == ["three"]
    path.unlink()
    path.write_bytes(b'{"event": "four"}\nno event\n')
    with pytest.raises(UserError, match="a line is no event"):
        list(tail.read())


def held(folder: Path) -> Callable[[], None]:
    """Hold the lock of a run; return what gives it back."""
    file = (folder / "lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file.close


def test_a_run_that_goes_on_is_watched_to_its_end(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.01)
    journal = run / "events.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]))
    mark(run, "running")
    give_back = held(run)
    ended: list[int] = []
    watching = threading.Thread(
        target=lambda: ended.append(main(["--runs-dir", str(run.parent), "--log-format", "json"]))
    )
    watching.start()
    for line in lines[3:]:
        with journal.open("ab", buffering=0) as file:
            file.write(line[:7])
            file.write(line[7:])
    mark(run, "finished")
    give_back()
    watching.join()
    assert ended == [0]
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert sum(record["event"] == "epoch" for record in records) == 3


def test_a_run_that_was_killed_is_said_to_be_and_how_it_goes_on(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(command, "_QUIET_SECONDS", 0.05)
    journal = run / "events.jsonl"
    journal.write_bytes(
        b"".join(line for line in journal.read_bytes().splitlines(keepends=True) if b"_end" not in line)
    )
    mark(run, "running")
    assert main([str(run), "--log-format", "text"]) == 0
    err = capsys.readouterr().err
    assert re.search(r"trial: no process trains it any more, after step \d+; `slipway resume .*trial` goes on\n$", err)


def test_a_study_and_a_folder_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in"):
        main(["--runs-dir", str(tmp_path)])
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "run.json").write_text('{"name": "study", "state": "running"}')
    with pytest.raises(UserError, match="name one of its runs"):
        main(["study", "--runs-dir", str(tmp_path)])

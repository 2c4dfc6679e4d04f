"""A tracker gets what a journal holds, each point once, and what it does not take is told in one line."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway import UserError
from slipway.results.track import command, feeder
from slipway.results.track.command import feed, main
from slipway.results.track.feeder import Feeder
from slipway.results.track.points import Points

from .events import points_of_journal, points_of_tensorboard, tags_of_tensorboard


def steps(*numbers: int) -> Iterator[dict[str, Any]]:
    for number in numbers:
        yield {"event": "step", "step": number, "loss": 1.0 / number, "learning_rate": 0.1, "gradient_norm": None}


def taken(*events: dict[str, Any]) -> list[int]:
    points = Points()
    return [point.step for event in events for point in points.take(event)]


def test_what_a_resumed_run_computes_again_makes_no_second_point() -> None:
    assert taken(*steps(1, 2, 3), {"event": "resume", "step": 1}, *steps(2, 3, 4)) == [1, 2, 3, 4]


def test_a_number_that_a_run_went_back_from_is_followed_by_the_one_that_counts() -> None:
    assert taken(*steps(1, 2, 3), {"event": "rewind", "step": 1}, *steps(2, 3)) == [1, 2, 3, 2, 3]
    changed = {"event": "resume", "step": 2, "recipe_changes": ["seed"]}
    assert taken(*steps(1, 2, 3), changed, *steps(3)) == [1, 2, 3, 3]


def test_a_number_that_is_none_makes_no_point() -> None:
    assert [set(point.values) for point in Points().take(next(steps(1)))] == [{"train/loss", "train/learning_rate"}]


def test_tensorboard_has_the_points_of_the_journal_each_once_however_often_they_are_sent(run: Path) -> None:
    lines = (run / "events.jsonl").read_bytes().splitlines(keepends=True)
    (run / "events.jsonl").write_bytes(b"".join(lines[:8]))
    assert main([str(run), "--tracker", "tensorboard"]) == 0
    (run / "events.jsonl").write_bytes(b"".join(lines))
    for _ in range(2):
        assert main([str(run), "--tracker", "tensorboard"]) == 0
    sent = points_of_tensorboard(run)
    assert sent == points_of_journal(run)
    assert len(sent["train/loss"]) == 9
    assert [
        path.name for path in (run / "tensorboard").iterdir() if path.is_dir()
    ] == []  # one run in TensorBoard's list
    assert "_hparams_/session_start_info" in tags_of_tensorboard(run)


def test_a_tracker_that_cannot_write_is_told_in_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "tensorboard").write_text("in the way")
    assert main([str(run), "--tracker", "tensorboard"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("tensorboard: error: FileExistsError")
    assert told.count("\n") == 1


def test_a_journal_that_is_damaged_is_wrong_input(run: Path) -> None:
    with (run / "events.jsonl").open("a") as journal:
        journal.write('{"event": 7}\n{"event": 7}\n')
    with pytest.raises(UserError, match="a line is no event"):
        main([str(run), "--tracker", "tensorboard"])


def test_an_error_of_a_tracker_shows_no_secret(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SystemExit("no such project at https://me:a-password@tracker.example")

    monkeypatch.setattr(feeder, "open_tracker", refuse)
    over = threading.Event()
    over.set()
    one = Feeder("tensorboard", run, "trial", "slipway", over)
    one.run()
    assert one.trouble == "SystemExit: no such project at https://***@tracker.example"


def test_a_tracker_that_hangs_is_told_once_and_not_waited_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released, told = threading.Event(), []
    monkeypatch.setattr(feeder, "open_tracker", lambda *_: released.wait())
    monkeypatch.setattr(command, "LATE_SECONDS", 0.2)
    monkeypatch.setattr(command, "_LONGEST_CALL_SECONDS", 0.4)
    read, write = os.pipe()
    monkeypatch.setattr("sys.stdin", os.fdopen(read))
    os.close(write)
    over = threading.Event()
    feeders = [Feeder("tensorboard", run, "trial", "slipway", over)]
    feed(feeders, over, lambda name, trouble: told.append((name, trouble)))
    assert feeders[0].is_alive()
    assert [name for name, _ in told] == ["tensorboard"]
    released.set()
    feeders[0].join()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        ("aim", "aim is not installed; `pip install aim`"),
        ("mlflow,swanlab", r"mlflow, swanlab are not installed; `pip install 'slipway\[mlflow\]' swanlab`"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_with_what_to_do(
    names: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.training.config.trackers._is_installed", lambda module: False)
    with pytest.raises(UserError, match=message):
        main(["trial", "--tracker", names])

"""A run that hangs ends by a time limit and leaves the stacks of every rank; one that makes progress is left alone."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from slipway.training.devices.watchdog import Watchdog
from slipway.training.storage import files as durable
from slipway.training.tasks.task import Batch
from tests.limits import HANG_SECONDS, wait_until
from tests.training.misbehaviour import NAME, Act, ActingTask, record_of, run, sleep, steps_of
from tests.training.processes import is_running, run_group, started


def test_a_rank_that_stands_still_ends_the_run_with_the_stacks_of_all(tmp_path: Path) -> None:
    arguments = ["--runs-dir", str(tmp_path), "--hang-timeout", "3s"]
    with started(2, tmp_path / "output", run, arguments, partial(sleep, 3600.0, 3, 1)) as group:
        assert group.exit_codes() == [1, 1]
        output = group.output()
    stacks = {rank: (tmp_path / NAME / "stacks" / f"rank_{rank}.txt").read_text() for rank in (0, 1)}
    assert "misbehaviour.py" in stacks[1]
    assert "in sleep" in stacks[1]
    assert "all_reduce" in stacks[0]
    assert f"made no progress for 3 s; its stacks are in {tmp_path / NAME / 'stacks'}" in output
    # The same command goes on, and what was found out about the hang stays.
    assert run_group(2, tmp_path / "output", run, [*arguments, "--resume", "auto"]) == [0, 0]
    assert record_of(tmp_path)["state"] == "finished"
    for rank in (0, 1):
        assert (tmp_path / NAME / "stacks" / f"rank_{rank}.txt").read_text() == stacks[rank]


def slow_disk(seconds: float, arguments: list[str], act: Act) -> int:
    """Run a training whose disk takes long for every file of weights or optimizer state."""
    write = durable.write_tensors

    def write_slowly(*given: Any) -> durable.Written:
        time.sleep(seconds)
        return write(*given)

    for module in ("slipway.training.storage.checkpoint", "slipway.training.storage.run_folder"):
        patched: Any = sys.modules[module]
        assert patched.write_tensors is write
        patched.write_tensors = write_slowly
    return run(arguments, act)


def test_steps_and_a_slow_disk_are_no_hang_and_leave_no_stacks(tmp_path: Path) -> None:
    # 12 steps take longer than the limit; so do the weights of best and last, for which rank 1 waits.
    arguments = ["--runs-dir", str(tmp_path), "--hang-timeout", "3s", "--batch-rule", "fixed", "--save-every", "never"]
    act = partial(doze, 0.35)
    assert run_group(2, tmp_path / "output", slow_disk, 3.5, arguments, act) == [0, 0]
    assert len(steps_of(tmp_path)) == 12
    assert not (tmp_path / NAME / "stacks").exists()


def doze(seconds: float, step: int, batch: Batch, losses: torch.Tensor) -> None:
    """Act: take some time for every step."""
    time.sleep(seconds)


def test_evaluation_counts_as_progress(tmp_path: Path) -> None:
    arguments = ["--runs-dir", str(tmp_path), "--hang-timeout", "3s", "--micro-batch-size", "1", "--epochs", "1"]
    assert run_group(1, tmp_path / "output", slow_evaluation, arguments) == [0]
    assert not (tmp_path / NAME / "stacks").exists()


def slow_evaluation(arguments: list[str]) -> int:
    """Run a training that takes 20 x 0.2 s to evaluate."""
    measure = ActingTask.measure

    def measure_slowly(self: ActingTask, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        time.sleep(0.2)
        return measure(self, outputs, batch)

    ActingTask.measure = measure_slowly  # type: ignore[method-assign]
    return run(arguments)


def hang_without_a_folder(folder: Path) -> None:
    """Hang under a watch whose folder is not there."""
    with Watchdog(folder, 3, 0.3):
        time.sleep(3600)


def test_where_the_folder_is_not_there_the_stacks_go_to_stderr(tmp_path: Path) -> None:
    with started(1, tmp_path / "output", hang_without_a_folder, tmp_path / "absent") as group:
        assert group.exit_codes() == [1]
        told = group.output(0)
    assert "rank 3 made no progress for 0.3 s" in told
    assert "hang_without_a_folder" in told
    assert not (tmp_path / "absent").exists()


def hold_the_interpreter(folder: Path) -> None:
    """Hang in C code that lets no other thread run."""
    with Watchdog(folder, 0, 0.3):
        re.match(r"(a+)+$", "a" * 40 + "b")


def test_a_hang_that_holds_the_interpreter_ends_too(tmp_path: Path) -> None:
    with started(1, tmp_path / "output", hold_the_interpreter, tmp_path) as group:
        assert group.exit_codes() == [-signal.SIGABRT]
        assert "let none of its threads run for 0.9 s" in group.output(0)
    assert "hold_the_interpreter" in (tmp_path / "stacks" / "rank_0.txt").read_text()


def beat(folder: Path) -> None:
    """Make progress until a file is there."""
    with Watchdog(folder, 0, 1.0) as watchdog:
        (folder / "up").touch()
        while not (folder / "end").exists():
            watchdog.beat()
            time.sleep(0.01)


def test_a_process_that_was_stopped_longer_than_every_limit_goes_on(tmp_path: Path) -> None:
    with started(1, tmp_path / "output", beat, tmp_path) as group:
        pid = group.processes[0].pid
        wait_until((tmp_path / "up").exists)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(4.0)  # three times the limit, and more
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)  # who ends it has had the time
        (tmp_path / "end").touch()
        assert group.exit_codes() == [0]
        assert group.output() == ""
    assert not (tmp_path / "stacks").exists()


def test_the_program_that_looks_on_ends_with_the_process_that_is_killed(tmp_path: Path) -> None:
    with started(1, tmp_path / "output", beat, tmp_path) as group:
        wait_until((tmp_path / "up").exists)
        (child,) = psutil.Process(group.processes[0].pid).children()
        assert "onlooker.py" in " ".join(child.cmdline())
        group.processes[0].kill()
        wait_until(lambda: not is_running(str(child.pid)))


def test_the_end_does_not_wait_for_processes_that_were_forked_meanwhile(tmp_path: Path) -> None:
    with Watchdog(tmp_path, 0, 60.0):
        child = os.fork()
        if child == 0:
            time.sleep(HANG_SECONDS)
            os._exit(0)
    os.kill(child, signal.SIGKILL)  # it lives until here, and with it what it holds of the watchdog's
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


def test_a_rank_that_another_one_takes_along_leaves_where_it_stood(tmp_path: Path) -> None:
    def lose_connection(error: Exception, seconds: float) -> None:
        with suppress(type(error)), Watchdog(tmp_path, 0, 60.0) as watchdog:
            watchdog._last_beat -= seconds
            raise error

    lose_connection(RuntimeError("Connection closed by peer"), 10.0)
    lose_connection(ValueError("wrong"), 50.0)
    assert list(tmp_path.iterdir()) == []
    lose_connection(RuntimeError("Connection closed by peer"), 50.0)
    told = (tmp_path / "stacks" / "rank_0.txt").read_text()
    assert told.startswith("rank 0 stood still for 50 s, then another one ended:\nTraceback")
    assert "in lose_connection" in told


def test_nothing_is_watched_without_a_limit_or_a_folder(tmp_path: Path) -> None:
    for folder, limit in ((tmp_path, None), (None, 1.0)):
        with Watchdog(folder, 0, limit) as watchdog:
            watchdog.beat()
            with watchdog.paused():
                pass
    assert list(tmp_path.iterdir()) == []

"""Starts a crashed group of processes again from its run's last checkpoint, says so, and knows when to give up."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.settings_files import format_path
from .state_files import PROGRESS_FILE
from .supervise.outcome import EXIT_RESUMABLE, Outcome, failed_rank_error, failed_rank_name, format_outcome
from .supervise.signals import FORWARDED_SIGNALS, ReceivedSignal, SignalQueue
from .supervise.supervisor import GroupStart, print_status, run_group

_BAD_INPUT = 2
_ASKED = tuple(128 + one for one in FORWARDED_SIGNALS)
"""Exit codes of processes that a signal ended which somebody sends to stop them; a crash has others."""
_LONGEST_PAUSE_SECONDS = 30.0
_LOOK_SECONDS = 0.2
_ALIKE_SECONDS = 2.0
_ALIKE_SHARE = 0.2
_SHOW_CURSOR = "\x1b[?25h"
_CHECKPOINT = re.compile(r"\d+-step-(\d+)")

PrepareRestart = Callable[[int, Sequence[Path]], GroupStart]
"""Prepares restart k = 1, 2, ... of a launch that has written these runs so far. Raises `UserError` where it cannot be."""


class NoMoreRestarts(Exception):  # noqa: N818 - no error of the program's
    """Why a crash is not followed by a restart."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What Slipway's training has said of itself: its runs, the newest last, and the optimizer steps done in that one."""

    step: int
    runs: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a launch, and how it ended. `step` is None where nothing is known of a run."""

    outcome: Outcome
    seconds: float
    step: int | None


def run_with_restarts(first: GroupStart, again: PrepareRestart, max_restarts: int) -> Outcome:
    """Run processes to their end, and again after a crash, and return how they ended in the end.

    Call it in the main thread. What ended well, was asked to stop, or had bad input is not started again; neither is
    what fails twice in a row at the same step for the same reason.
    """
    attempts: list[Attempt] = []
    runs: dict[Path, None] = {}  # in the order in which the training began them
    with SignalQueue() as queue:
        then: GroupStart | Outcome = first
        while isinstance(then, GroupStart):
            begun = time.monotonic()
            outcome = run_group(then, queue)
            _print_outcome(outcome)
            progress = read_progress(then.folder)
            runs.update(dict.fromkeys(progress.runs if progress else ()))
            step = progress.step if progress else None
            attempts.append(Attempt(outcome=outcome, seconds=time.monotonic() - begun, step=step))
            then = outcome
            if max_restarts > 0 and is_crash(outcome):
                then = _after_crash(attempts, list(runs), again, max_restarts, queue)
    if len(attempts) > 1:
        print_status("\n".join(summary(attempts)))
    return then


def _after_crash(
    attempts: Sequence[Attempt],
    runs: Sequence[Path],
    again: PrepareRestart,
    max_restarts: int,
    queue: SignalQueue,
) -> GroupStart | Outcome:
    """Return what to start now, or how the launch ends."""
    try:
        give_up_where_hopeless(attempts, max_restarts)
        print_status(announce(attempts, max_restarts, newest_step(runs)))
        received = _signal_within(queue, pause_seconds(len(attempts)))
        if received is None:
            following = again(len(attempts), runs)
            received = _signal_within(queue, 0.0)
            if received is None:
                return following
    except (NoMoreRestarts, UserError) as why:
        print_status(f"given up: {why}")
        return attempts[-1].outcome
    if received.signum == signal.SIGINT and sys.stderr.isatty():
        print(file=sys.stderr)  # past the terminal's ^C
    # No process runs: a run stands at its last checkpoint.
    code = EXIT_RESUMABLE if runs else 128 + received.signum
    outcome = Outcome(exit_code=code, stopped_by=received.signum)
    _print_outcome(outcome)
    return outcome


def _print_outcome(outcome: Outcome) -> None:
    lines = format_outcome(dataclasses.replace(outcome, log=format_path(Path(outcome.log))))
    if lines:
        if (outcome.failure == "signal" or outcome.num_killed) and sys.stderr.isatty():
            # A screen that was killed has left its line open and the cursor hidden.
            print("" if os.environ.get("TERM") == "dumb" else _SHOW_CURSOR, file=sys.stderr)
        print_status("\n".join(lines))


def _signal_within(queue: SignalQueue, seconds: float) -> ReceivedSignal | None:
    """Return the first signal of a time, None where none came."""
    limit = time.monotonic() + seconds
    while True:
        # In short waits: a signal that another thread got is found at the next one.
        received = queue.next(min(_LOOK_SECONDS, max(0.0, limit - time.monotonic())))
        if received or time.monotonic() >= limit:
            return received


def is_crash(outcome: Outcome) -> bool:
    """Return whether processes failed of themselves, so that a restart may help."""
    asked = outcome.stopped_by is not None or outcome.exit_code in _ASKED
    return not asked and outcome.exit_code not in (0, _BAD_INPUT, EXIT_RESUMABLE)


def give_up_where_hopeless(attempts: Sequence[Attempt], max_restarts: int) -> None:
    """Raise `NoMoreRestarts` where a crash is not to be followed by a restart."""
    last = attempts[-1]
    if len(attempts) > 1 and is_same_failure(attempts[-2], last):
        where = f"after step {last.step}" if last.step is not None else "after about the same time"
        raise NoMoreRestarts(f"it failed twice {where} for the same reason, {failed_rank_error(last.outcome)}")
    if len(attempts) > max_restarts:
        raise NoMoreRestarts(f"it has been restarted {'once' if max_restarts == 1 else f'{max_restarts} times'}")


def is_same_failure(one: Attempt, other: Attempt) -> bool:
    """Return whether the same step failed for the same reason, so that another restart would do no good.

    Where no step is known the time it took stands for it. That another machine's process went away is no reason of its
    own then: that machine knows.
    """
    if reason_of(one.outcome) != reason_of(other.outcome):
        return False
    if one.step is not None or other.step is not None:
        return one.step == other.step
    if one.outcome.failure == "lost peer":
        return False
    return abs(one.seconds - other.seconds) <= max(_ALIKE_SECONDS, _ALIKE_SHARE * one.seconds)


def reason_of(outcome: Outcome) -> tuple[str | None, int, str]:
    """Return why the first rank failed, in a form to compare: words with digits, such as addresses, are left out."""
    return outcome.failure, outcome.code, re.sub(r"[\w.+-]*\d[\w.+-]*", "#", outcome.error)


def pause_seconds(restart: int) -> float:
    """Return how long to wait before restart 1, 2, 3, ...: 1, 2, 4 seconds and so on, at most 30."""
    return min(2.0 ** min(restart - 1, 10), _LONGEST_PAUSE_SECONDS)


def announce(attempts: Sequence[Attempt], max_restarts: int, from_step: int | None) -> str:
    """Return the line that tells of a restart."""
    number = len(attempts)
    where = "" if from_step is None else f" from step {from_step}" if from_step else " from the start"
    return (
        f"restart {number} of {max_restarts} in {pause_seconds(number):g} s{where}: {_describe_attempt(attempts[-1])}"
    )


def summary(attempts: Sequence[Attempt]) -> list[str]:
    """Return what happened in all, a line for each start."""
    lines = [f"{len(attempts)} starts:"]
    for number, attempt in enumerate(attempts, 1):
        lines.append(f"  {number}, {_duration(attempt.seconds)}: {_describe_attempt(attempt)}")
    return lines


def _describe_attempt(attempt: Attempt) -> str:
    outcome = attempt.outcome
    if outcome.failure is None:
        return "finished" if outcome.exit_code == 0 else format_outcome(outcome)[0]
    where = "" if attempt.step is None else f" after step {attempt.step}"
    return f"{failed_rank_name(outcome) or 'the process'} failed{where}: {failed_rank_error(outcome)}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def read_progress(launch_folder: Path) -> Progress | None:
    """Return what the training left in the folder of a start, None where it has begun no run there."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        step, *runs = (launch_folder / PROGRESS_FILE).read_text(encoding="utf-8").splitlines()
        return Progress(step=int(step), runs=tuple(Path(json.loads(line)) for line in runs))
    return None


def newest_step(runs: Sequence[Path]) -> int | None:
    """Return the step of the newest checkpoint of the last run, 0 where it has none, None without a run.

    The training says so itself where that one is damaged and it goes on from the one before.
    """
    if not runs:
        return None
    found = [(0, 0)]
    with contextlib.suppress(OSError):
        for path in (runs[-1] / "checkpoints").iterdir():
            if match := _CHECKPOINT.fullmatch(path.name):
                found.append((int(path.name.split("-")[0]), int(match[1])))
    return max(found)[1]

"""Start a crashed group of processes again from the last checkpoint of its run, until it helps no more."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...training.common.errors import EXIT_RESUMABLE, UserError
from ...training.common.program.streams import print_to_stderr
from ...training.common.settings import format_path
from ..common.signals import FORWARDED_SIGNALS, STOP_SIGNALS, ReceivedSignal, SignalQueue
from .state_files import read_progress
from .supervise.outcome import Outcome, failed_rank_error, failed_rank_name, format_outcome
from .supervise.peers import Peers
from .supervise.supervisor import GroupStart, print_status, run_group

_BAD_INPUT = 2
_STOP_EXIT_CODES = tuple(128 + one for one in FORWARDED_SIGNALS)
"""Exit codes of processes ended by a signal that is sent to stop them; a crash has other codes."""
_LONGEST_PAUSE_SECONDS = 30.0
_POLL_SECONDS = 0.2
_SAME_TIME_SECONDS = 2.0
_SAME_TIME_FRACTION = 0.2
_SHOW_CURSOR = "\x1b[?25h"
_CHECKPOINT = re.compile(r"\d+-step-(\d+)")

PrepareRestart = Callable[[int, Sequence[Path]], GroupStart]
"""Prepare restart 1, 2, ... of a launch that has begun these runs; return what to start. Raises `UserError`."""


class NoMoreRestarts(Exception):  # noqa: N818 - not an error of the program
    """A crash is not followed by a restart; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a group of processes, and how it ended. `step` is None where no run is known."""

    outcome: Outcome
    seconds: float
    step: int | None


def run_with_restarts(first: GroupStart, prepare_restart: PrepareRestart, max_restarts: int, peers: Peers) -> Outcome:
    """Run processes to their end, and again after a crash; return how the last start ended.

    Call it in the main thread. There is no restart after a good end, a request to stop, or bad input, and none after two
    crashes in a row at the same step for the same reason. Several machines start again together.
    """
    attempts: list[Attempt] = []
    runs: dict[Path, None] = {}  # in the order in which the training began them
    with SignalQueue() as queue:
        following: GroupStart | Outcome = first
        while isinstance(following, GroupStart):
            begun = time.monotonic()
            outcome = peers.agree(run_group(following, queue, peers), _WaitForOthers(queue, peers))
            _print_outcome(outcome)
            progress = read_progress(following.folder)
            runs.update(dict.fromkeys(progress.runs if progress else ()))
            step = progress.step if progress else None
            attempts.append(Attempt(outcome=outcome, seconds=time.monotonic() - begun, step=step))
            following = outcome
            if max_restarts > 0 and is_crash(outcome):
                following = _restart_or_end(attempts, list(runs), prepare_restart, max_restarts, queue, peers)
    if len(attempts) > 1:
        print_status("\n".join(format_attempts(attempts)))
    return following


def _restart_or_end(
    attempts: Sequence[Attempt],
    runs: Sequence[Path],
    prepare_restart: PrepareRestart,
    max_restarts: int,
    queue: SignalQueue,
    peers: Peers,
) -> GroupStart | Outcome:
    """Return what to start after a crash, or how the launch ends."""
    try:
        why_not = None
        try:
            check_restart_helps(attempts, max_restarts)
        except NoMoreRestarts as why:
            why_not = str(why)
        if (why_not := peers.decide(why_not, _WaitForOthers(queue, peers))) is not None:
            raise NoMoreRestarts(why_not)
        print_status(format_restart(attempts, max_restarts, newest_step(runs)))
        received = _wait_for_signal(queue, pause_seconds(len(attempts)))
        if received is None:
            following = prepare_restart(len(attempts), runs)
            received = _wait_for_signal(queue, 0.0)
            if received is None:
                return following
    except (NoMoreRestarts, UserError) as why:
        print_status(f"given up: {why}")
        return attempts[-1].outcome
    if received.signum == signal.SIGINT and sys.stderr.isatty():
        print_to_stderr()  # ends the line of the terminal's ^C
    # No process runs, so a run can be resumed from its last checkpoint.
    code = EXIT_RESUMABLE if runs else 128 + received.signum
    outcome = Outcome(exit_code=code, stopped_by=received.signum)
    _print_outcome(outcome)
    return outcome


class _WaitForOthers:
    """Waits a moment while other machines end; tells whether to wait on: not after a second Ctrl-C."""

    def __init__(self, queue: SignalQueue, peers: Peers) -> None:
        self._queue = queue
        self._peers = peers
        self._told = False

    def __call__(self) -> bool:
        received = self._queue.next(_POLL_SECONDS)
        if received is not None and received.signum in STOP_SIGNALS:
            if self._told:
                return False
            self._told = True
            self._peers.say_stopped(received.signum)
        return True


def _print_outcome(outcome: Outcome) -> None:
    lines = format_outcome(dataclasses.replace(outcome, log=format_path(Path(outcome.log))))
    if lines:
        if (outcome.failure == "signal" or outcome.num_killed) and sys.stderr.isatty():
            # A live screen that was killed leaves its line open and the cursor hidden.
            print_to_stderr("" if os.environ.get("TERM") == "dumb" else _SHOW_CURSOR, as_it_is=True)
        print_status("\n".join(lines))


def _wait_for_signal(queue: SignalQueue, seconds: float) -> ReceivedSignal | None:
    """Wait for a signal and return it; None where none came within the time."""
    limit = time.monotonic() + seconds
    while True:
        # In short waits: a signal that another thread got is seen at the next one.
        received = queue.next(min(_POLL_SECONDS, max(0.0, limit - time.monotonic())))
        if received or time.monotonic() >= limit:
            return received


def is_crash(outcome: Outcome) -> bool:
    """Return whether processes failed and were not asked to stop, so that a restart may help."""
    asked = outcome.stopped_by is not None or outcome.exit_code in _STOP_EXIT_CODES
    return not asked and outcome.exit_code not in (0, _BAD_INPUT, EXIT_RESUMABLE)


def check_restart_helps(attempts: Sequence[Attempt], max_restarts: int) -> None:
    """Raise `NoMoreRestarts` after the last allowed restart, and where the same failure has come twice in a row."""
    last = attempts[-1]
    if len(attempts) > 1 and is_same_failure(attempts[-2], last):
        where = f"after step {last.step}" if last.step is not None else "after about the same time"
        raise NoMoreRestarts(f"it failed twice {where} for the same reason, {failed_rank_error(last.outcome)}")
    if len(attempts) > max_restarts:
        raise NoMoreRestarts(f"it has been restarted {'once' if max_restarts == 1 else f'{max_restarts} times'}")


def is_same_failure(one: Attempt, other: Attempt) -> bool:
    """Return whether two attempts failed at the same step for the same reason, so that another restart cannot help.

    Where no step is known, about the same time counts as the same step; then a lost process of another machine is no
    reason to give up, since only that machine knows why it was lost.
    """
    if comparable_reason(one.outcome) != comparable_reason(other.outcome):
        return False
    if one.step is not None or other.step is not None:
        return one.step == other.step
    if one.outcome.failure == "lost peer":
        return False
    return abs(one.seconds - other.seconds) <= max(_SAME_TIME_SECONDS, _SAME_TIME_FRACTION * one.seconds)


def comparable_reason(outcome: Outcome) -> tuple[str | None, int, str]:
    """Return why the first rank failed, to be compared: words with digits, such as addresses, are left out."""
    return outcome.failure, outcome.code, re.sub(r"[\w.+-]*\d[\w.+-]*", "#", outcome.error)


def pause_seconds(restart: int) -> float:
    """Return the pause before restart 1, 2, 3, ...: 1, 2, 4, ... seconds, at most 30."""
    return min(2.0 ** min(restart - 1, 10), _LONGEST_PAUSE_SECONDS)


def format_restart(attempts: Sequence[Attempt], max_restarts: int, from_step: int | None) -> str:
    """Return the line that announces a restart."""
    number = len(attempts)
    where = "" if from_step is None else f" from step {from_step}" if from_step else " from the start"
    return f"restart {number} of {max_restarts} in {pause_seconds(number):g} s{where}: {_format_attempt(attempts[-1])}"


def format_attempts(attempts: Sequence[Attempt]) -> list[str]:
    """Return the summary of a launch, a line for each start."""
    lines = [f"{len(attempts)} starts:"]
    for number, attempt in enumerate(attempts, 1):
        lines.append(f"  {number}, {_format_duration(attempt.seconds)}: {_format_attempt(attempt)}")
    return lines


def _format_attempt(attempt: Attempt) -> str:
    outcome = attempt.outcome
    if outcome.failure is None:
        return "finished" if outcome.exit_code == 0 else format_outcome(outcome)[0]
    where = "" if attempt.step is None else f" after step {attempt.step}"
    return f"{failed_rank_name(outcome) or 'the process'} failed{where}: {failed_rank_error(outcome)}"


def _format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def newest_step(runs: Sequence[Path]) -> int | None:
    """Return the step of the newest checkpoint of the last run, 0 where it has none, None without a run, and of a study.

    Where that checkpoint is damaged, the training continues from the one before and reports it.
    """
    if not runs or any(runs[-1].glob("*/run.json")):
        return None
    found = [(0, 0)]
    with contextlib.suppress(OSError):
        for path in (runs[-1] / "checkpoints").iterdir():
            if match := _CHECKPOINT.fullmatch(path.name):
                found.append((int(path.name.split("-")[0]), int(match[1])))
    return max(found)[1]

"""Run the processes of this machine: start them, pass signals on, leave none behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from ....training.common.errors import EXIT_RESUMABLE
from ....training.common.program.streams import print_to_stderr
from ...common.signals import STOP_SIGNALS, ReceivedSignal, SignalQueue, in_background, in_foreground
from ..state_files import AGENT_LOG, PARENT_VARIABLE, RankState, log_path, read_agent_report, read_states, state_stamps
from . import processes
from .outcome import (
    Failure,
    Outcome,
    RankEnd,
    all_resumable,
    failed_rank_ends,
    first_failure,
    format_count,
    shell_code,
)
from .peers import Peers

_POLL_SECONDS = 0.1
_SETTLE_SECONDS = 0.5
_REPORT_SECONDS = 2.0
_LAST_LINES = 20
_TAIL_BYTES = 1 << 15


@dataclass(frozen=True, kw_only=True)
class GroupStart:
    """The processes to start. `direct`: one process, the training itself; else an agent that starts the processes."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    folder: Path  # the launch folder, absolute
    num_processes: int  # on this machine
    direct: bool
    grace_seconds: float


def run_group(group: GroupStart, queue: SignalQueue, peers: Peers) -> Outcome:
    """Run the processes to their end and return how they ended; call it in the main thread, with the queue entered.

    SIGTERM and SIGINT to this process stop them: they get the signal, and SIGKILL after the grace time. SIGHUP, SIGUSR1
    and SIGUSR2 are passed on. Processes that they leave running are ended with them. So they are where another machine
    has failed or is stopped.
    """
    supervisor = _Supervisor(group)
    try:
        while not supervisor.has_ended():
            received = queue.next(_POLL_SECONDS)
            if received:
                supervisor.pass_on(received)
            supervisor.update()
            supervisor.follow(peers)
    finally:
        supervisor.clean_up()
    return supervisor.outcome()


def print_status(text: str) -> None:
    """Print a line of the launcher to stderr."""
    print_to_stderr(f"slipway launch: {text}")


class _Supervisor:
    def __init__(self, group: GroupStart) -> None:
        self._group = group
        # In the foreground of a terminal a training can read from it, as a debugger does. Elsewhere it is in another
        # session, where only this process sends it signals, so that it gets each of them once.
        self._shares_group = group.direct and in_foreground()
        self._started = subprocess.Popen(
            group.argv,
            env={**group.environment, PARENT_VARIABLE: str(os.getpid())},
            # What is typed then is for the shell.
            stdin=subprocess.DEVNULL if in_background() else None,
            start_new_session=not self._shares_group,
        )
        self._process = psutil.Process(self._started.pid)
        self._ranks: dict[int, psutil.Process] = {}
        self._states: dict[int, RankState] = {}
        self._stamps: dict[str, int] = {}
        self._seen_at: dict[int, float] = {}
        self._ended: set[int] = set()
        self._family: set[psutil.Process] = set()
        self._deadline: float | None = None
        self._stopped_by: int | None = None
        self._agent_was_signalled = False
        self._ended_for_others = False
        self._killed_agent = False
        self._num_killed = 0

    def has_ended(self) -> bool:
        """Return whether the process that was started has ended."""
        return self._started.poll() is not None

    def update(self) -> None:
        """Find the ranks, and those that have ended; kill all processes once their time is over."""
        now = time.time()
        ended = set()
        for rank in self._ranks.keys() - self._ended:
            if processes.is_alive(self._ranks[rank]):
                self._seen_at[rank] = now
            else:
                ended.add(rank)
        ended |= self._read_states()  # after the loop above: a rank writes its state before it ends
        self._ended |= ended
        if not self._group.direct and ended and self._has_failed():
            self._give_until(time.monotonic() + self._group.grace_seconds)  # the others may wait for it forever
        if self._deadline is not None and time.monotonic() > self._deadline:
            self._kill_all()

    def _read_states(self) -> set[int]:
        """Read the states that the ranks have written since; return ranks that had ended before they were found."""
        stamps = state_stamps(self._group.folder)
        if stamps == self._stamps:
            return set()
        self._stamps = stamps
        self._states = read_states(self._group.folder)
        gone = set()
        for rank in self._states.keys() - self._ranks.keys() - self._ended:
            self._seen_at[rank] = self._states[rank].started_at
            process = processes.find_process(self._states[rank], self._group.folder)
            if process is None:
                gone.add(rank)
                continue
            self._ranks[rank] = process
            if self._stopped_by is not None and not self._group.direct and not self._agent_was_signalled:
                processes.send_signal(process, self._stopped_by)  # it started after the signal was passed on
        return gone

    def follow(self, peers: Peers) -> None:
        """Tell the other machines what has happened here, and end with them."""
        if self._stopped_by is not None:
            peers.say_stopped(self._stopped_by)
        elif self._has_failed():
            peers.say_failed()
        peers.poll()
        if self._stopped_by is None and peers.stopped_by is not None:
            self.pass_on(ReceivedSignal(signum=peers.stopped_by, to_group=False))
        if peers.is_ending and not self._ended_for_others and self._stopped_by is None:
            self._ended_for_others = not self._has_failed()
            # An agent whose workers have ended waits for the agents of the other machines.
            is_done = len(self._ended) == self._group.num_processes
            self._give_until(time.monotonic() + (0.0 if is_done else self._group.grace_seconds))

    def _has_failed(self) -> bool:
        return any(self._states[rank].exit_code not in (0, EXIT_RESUMABLE) for rank in self._ended)

    def _give_until(self, deadline: float) -> None:
        self._deadline = min(deadline, self._deadline or deadline)

    def pass_on(self, received: ReceivedSignal) -> None:
        """Send a signal to the training processes themselves; the agent would not pass it on unchanged."""
        signum = received.signum
        self._ended |= self._read_states()  # a rank may have started since
        if signum in STOP_SIGNALS:
            if self._stopped_by == signum == signal.SIGINT:
                print_status("interrupted again: killing what is left")
                self._give_until(time.monotonic())
                return
            if self._stopped_by is not None:
                return
            self._stopped_by = signum
            self._give_until(time.monotonic() + self._group.grace_seconds)
            self._family |= processes.with_descendants([self._process, *self._ranks.values()])
            if signum == signal.SIGINT and sys.stderr.isatty():
                print_to_stderr()  # past the terminal's ^C
                print_status(f"stopping, for at most {self._group.grace_seconds:g} s; Ctrl-C again kills at once")
        if received.to_group and self._shares_group:
            return
        if self._group.direct:
            processes.send_signal(self._process, signum)
            return
        running = [process for rank, process in self._ranks.items() if rank not in self._ended]
        for process in running:
            processes.send_signal(process, signum)
        if not running and signum in STOP_SIGNALS:
            self._agent_was_signalled = True
            processes.send_signal(self._process, signal.SIGTERM)
        elif not running:
            print_status(f"{signal.Signals(signum).name} came before any process had started: not passed on")

    def _kill_all(self) -> None:
        everything = self._family | processes.with_descendants([self._process, *self._ranks.values()])
        ranks = {process for process in everything if process.pid not in self._copiers()}
        if not self._group.direct:
            ranks.discard(self._process)  # so that the agent can report how each of them ended
        self._num_killed += processes.kill_processes(ranks)
        try:
            self._started.wait(_REPORT_SECONDS)
        except subprocess.TimeoutExpired:
            self._killed_agent = True
            self._num_killed += processes.kill_processes([self._process])
            self._started.wait()

    def _copiers(self) -> set[int]:
        return {state.output_pid for state in self._states.values() if state.output_pid is not None}

    def clean_up(self) -> None:
        """End the processes that are left running."""
        self._read_states()
        if not self.has_ended():  # an error in this class
            self._kill_all()
        left = processes.wait_for_end(
            processes.find_processes_of_launch(self._group.folder) | self._family, _SETTLE_SECONDS
        )
        copiers = self._copiers()
        num_left = sum(process.pid not in copiers for process in left)
        if num_left and self._deadline is None:
            print_status(f"{format_count(num_left, 'process', 'processes')} left running: ended with the script")
        remaining = self._group.grace_seconds if self._deadline is None else self._deadline - time.monotonic()
        self._num_killed += processes.end_processes(left, copiers, max(0.0, remaining))

    def outcome(self) -> Outcome:
        """Return how the processes ended."""
        return dataclasses.replace(self._outcome(), ended_for_others=self._ended_for_others)

    def _outcome(self) -> Outcome:
        real_codes = read_agent_report(self._group.folder)
        if self._group.direct:
            real_codes = {0: self._started.returncode}
        if self._stopped_by is not None:
            resumable = all_resumable(self._states, self._group.num_processes)
            code = EXIT_RESUMABLE if resumable else 128 + self._stopped_by
            return Outcome(exit_code=code, stopped_by=self._stopped_by, num_killed=self._num_killed)
        ends = failed_rank_ends(self._states, self._seen_at, real_codes)
        first = first_failure(ends)
        if first is None or self._ended_with_agent(first):
            return self._without_failed_rank()
        if first.exit_code == EXIT_RESUMABLE:
            return Outcome(exit_code=EXIT_RESUMABLE, num_killed=self._num_killed)
        return dataclasses.replace(self._outcome_of(first), num_killed=self._num_killed)

    def _ended_with_agent(self, first: RankEnd) -> bool:
        """Return whether a signal ended the agent, which then reports nothing, and no rank had failed before."""
        written = first.state.exit_code if first.state else None
        was_killed = self._started.returncode < 0 and not self._group.direct and not self._killed_agent
        return was_killed and written in (None, EXIT_RESUMABLE)

    def _without_failed_rank(self) -> Outcome:
        code, log = self._started.returncode, self._group.folder / AGENT_LOG
        if code == 0:
            return Outcome(exit_code=0)
        outcome = Outcome(exit_code=shell_code(code), log=str(log), num_killed=self._num_killed)
        if code < 0:
            return dataclasses.replace(outcome, failure="agent signal", code=-code)
        return dataclasses.replace(outcome, failure="agent", last_lines=_tail(log))

    def _outcome_of(self, first: RankEnd) -> Outcome:
        """Return how the processes ended where this rank failed first."""
        log = log_path(self._group.folder, first.rank)
        state = first.state
        outcome = Outcome(
            exit_code=shell_code(first.exit_code),
            failed_rank=first.rank,
            log=str(log),
            num_processes=self._group.num_processes,
        )
        if first.exit_code < 0:
            return dataclasses.replace(outcome, failure="signal", code=-first.exit_code, last_lines=_tail(log))
        if state is None or state.error is None:
            return dataclasses.replace(outcome, failure="exit", code=first.exit_code, last_lines=_tail(log))
        lines = tuple((state.traceback or "").splitlines())
        failure: Failure = "lost peer" if state.lost_peer else "exception"
        return dataclasses.replace(outcome, failure=failure, code=1, error=state.error, last_lines=lines)


def _tail(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return tuple(file.read().decode("utf-8", "replace").splitlines()[-_LAST_LINES:])
    except OSError:
        return ()

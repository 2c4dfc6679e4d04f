"""The launchers of the other machines of a launch while it runs: who has failed, who is gone, and how all end together.

Machine 0 hears from all and tells all. A launch of one machine has no others (`Alone`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, Protocol

from ....training.common.errors import EXIT_RESUMABLE, UserError
from ....training.common.json_records import from_json
from ...hosts.meeting.met import Met, name_of
from ...hosts.wire import Wire
from .outcome import Outcome

_VERSION = 1


class Peers(Protocol):
    """What a launch knows of the other machines."""

    def poll(self) -> None:
        """Hear what the others have said since."""

    @property
    def is_ending(self) -> bool:
        """Return whether another machine has failed or is gone in this start, so that this one cannot go on."""

    @property
    def stopped_by(self) -> int | None:
        """Return the signal that has stopped another machine in this start, if one has."""

    def say_failed(self) -> None:
        """Tell the others that this machine has failed."""

    def say_stopped(self, signum: int) -> None:
        """Tell the others that a signal stops this machine."""

    def agree(self, outcome: Outcome, wait: Callable[[], bool]) -> Outcome:
        """Tell the others how this machine ended, and return how all ended; `wait` waits and tells whether to wait on."""

    def decide(self, why_not: str | None, wait: Callable[[], bool]) -> str | None:
        """Return why there is no restart, as machine 0 decides it; None where there is one."""

    def close(self) -> None:
        """Leave the others."""


class Alone:
    """One machine."""

    is_ending = False
    stopped_by: int | None = None

    def poll(self) -> None:
        """There is nobody to hear."""

    def say_failed(self) -> None:
        """There is nobody to tell."""

    def say_stopped(self, signum: int) -> None:
        """There is nobody to tell."""

    def agree(self, outcome: Outcome, wait: Callable[[], bool]) -> Outcome:
        """Return the same outcome."""
        return outcome

    def decide(self, why_not: str | None, wait: Callable[[], bool]) -> str | None:
        """Return the same decision."""
        return why_not

    def close(self) -> None:
        """There is nobody to leave."""


class Together:
    """Several machines that have met."""

    def __init__(self, met: Met) -> None:
        self._rank = met.rank
        self._hosts = met.hosts
        self._wires: dict[int, Wire] = dict(met.wires)
        self._lost: dict[int, None] = {}  # in the order in which they were lost
        self._begin_start()

    def _begin_start(self) -> None:
        self.stopped_by: int | None = None
        self._alarms: dict[int, None] = {}  # machines that failed, the first one first
        self._outcomes: dict[int, Outcome] = {}
        self._verdict: Outcome | None = None
        self._decision: dict[str, Any] | None = None

    @property
    def is_ending(self) -> bool:
        """Return whether another machine has failed or is gone in this start."""
        return bool(self._lost) or any(rank != self._rank for rank in self._alarms)

    def poll(self) -> None:
        """Hear what the others have said since, and as machine 0 tell the rest of them."""
        for rank, wire in list(self._wires.items()):
            try:
                messages = wire.receive()
            except EOFError:
                del self._wires[rank]
                wire.close()
                self._lost[rank] = None
                self._tell(lost=rank)
                continue
            for number, message in enumerate(messages, 1):
                self._hear(rank, message)
                if "verdict" in message or "decision" in message:
                    wire.put_back(messages[number:])  # of what follows, which this machine has not begun
                    break

    def _hear(self, rank: int, message: dict[str, Any]) -> None:
        if "failed" in message:
            self._alarms.setdefault(int(message["failed"]))
        if "stopped" in message:
            self.stopped_by = self.stopped_by or int(message["stopped"])
        if "lost" in message:
            self._lost.setdefault(int(message["lost"]))
        if "failed" in message or "stopped" in message:
            self._tell(but=rank, **message)
        if "ended" in message:
            self._outcomes[rank] = _read(message["ended"])
        if "verdict" in message:
            self._verdict = _read(message["verdict"])
        if "decision" in message:
            self._decision = message

    def _tell(self, but: int | None = None, **message: Any) -> None:
        """Tell machine 0, or as machine 0 all others."""
        for rank, wire in self._wires.items():
            if rank != but:
                wire.send(**message)

    def say_failed(self) -> None:
        """Tell the others that this machine has failed."""
        if self._rank not in self._alarms:
            self._alarms[self._rank] = None
            self._tell(failed=self._rank)

    def say_stopped(self, signum: int) -> None:
        """Tell the others that a signal stops this machine."""
        if self.stopped_by is None:
            self.stopped_by = signum
            self._tell(stopped=signum)

    def agree(self, outcome: Outcome, wait: Callable[[], bool]) -> Outcome:
        """Tell the others how this machine ended, and return how all ended."""
        mine = dataclasses.replace(outcome, host=outcome.host or self._hosts[self._rank])
        if mine.failure is not None:
            self.say_failed()
        self._outcomes[self._rank] = mine
        if self._rank:
            self._tell(ended=_written(mine))
        while self._verdict is None and not self._are_all_in():
            if not wait():
                return outcome
            self.poll()
        verdict = self._verdict or self._combined()
        if self._rank == 0:
            self._tell(verdict=_written(verdict))
        self._begin_start()
        return verdict

    def _are_all_in(self) -> bool:
        """Return whether machine 0 knows how all have ended, or machine 0 is gone."""
        return 0 in self._lost or (self._rank == 0 and set(self._hosts) == set(self._outcomes) | set(self._lost))

    def _combined(self) -> Outcome:
        """Return how all ended: the machine that failed first and not because of another one tells it."""
        failed = [self._outcomes[rank] for rank in (*self._alarms, *self._outcomes) if rank in self._outcomes]
        failed = [one for one in failed if one.failure is not None]
        for outcome in failed:
            if outcome.failure != "lost peer" and not outcome.ended_for_others:
                return outcome
        for rank in self._lost:
            name = name_of(rank, self._hosts[rank])
            return Outcome(exit_code=1, failure="lost machine", code=1, error=name, host=self._hosts[rank])
        if failed:
            return failed[0]
        outcomes = list(self._outcomes.values())
        stopped = next((one for one in outcomes if one.stopped_by is not None), None)
        if stopped is not None:
            resumable = all(one.exit_code == EXIT_RESUMABLE for one in outcomes)
            code = EXIT_RESUMABLE if resumable else 128 + (stopped.stopped_by or 0)
            return dataclasses.replace(stopped, exit_code=code, num_killed=self._outcomes[self._rank].num_killed)
        return max(outcomes, key=lambda one: one.exit_code)

    def decide(self, why_not: str | None, wait: Callable[[], bool]) -> str | None:
        """Return why there is no restart, as machine 0 decides it; None where there is one."""
        if self._lost:
            rank = next(iter(self._lost))
            return f"{name_of(rank, self._hosts[rank])} is gone"
        if self._rank == 0:
            self._tell(decision=why_not)
            return why_not
        while self._decision is None:
            if self._lost or not wait():
                return "machine 0 is gone"
            self.poll()
        why = self._decision["decision"]
        self._decision = None
        return None if why is None else str(why)

    def close(self) -> None:
        """Leave the others."""
        for wire in self._wires.values():
            wire.close()


def _written(outcome: Outcome) -> dict[str, Any]:
    return dataclasses.asdict(outcome)


def _read(data: Any) -> Outcome:
    try:
        return from_json(Outcome, _VERSION, json.dumps(data), "another machine's launcher", "slipway launch")
    except UserError:
        return Outcome(exit_code=1, failure="agent", code=1)

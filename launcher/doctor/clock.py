"""Check of the clocks of several machines, which also shows that they reach each other."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import time
from dataclasses import dataclass
from typing import Any

from ..hardware.record import Scheduler
from ..plan.records import LaunchPlan
from .check import Check, DoctorContext, failed, passed, skipped, warned

_SOME_SKEW_SECONDS = 1.0  # logs and file times of the hosts are out of order
_LARGE_SKEW_SECONDS = 300.0  # signed requests to object stores and Kerberos tickets are refused
_PINGS = 5
_LONGEST_LINE = 1 << 16
_REMEDY = "set the clocks by NTP on every machine: timedatectl set-ntp true, or chronyc makestep"


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A machine's clock against machine 0's: positive is ahead; the truth is within `uncertainty_seconds`."""

    host: str
    offset_seconds: float
    uncertainty_seconds: float


def check_clocks(situation: DoctorContext) -> Check:
    """Compare clocks through the address and port where the machines will meet, where all of them run this."""
    plan = situation.plan
    if plan.num_machines == 1:
        return skipped("clocks", "one machine")
    if not _everywhere(situation.hardware.scheduler, plan.num_machines):
        together = f"srun --nodes={plan.num_machines} --ntasks-per-node=1 slipway doctor"
        return skipped("clocks", f"the {plan.num_machines} machines must run this together, such as by `{together}`")
    try:
        clocks = gather(plan, situation.timeout_seconds)
    except OSError as error:
        return _unreached(plan, error)
    return judge_clocks(clocks)


def _everywhere(scheduler: Scheduler, machines: int) -> bool:
    """Return whether one process on each machine was started for this command: a SLURM step, or torchrun."""
    slurm, torchrun = scheduler.slurm, scheduler.torchrun
    by_slurm = slurm is not None and slurm.place == "step" and slurm.task_count == machines
    return by_slurm or (torchrun is not None and torchrun.world_size == machines)


def _unreached(plan: LaunchPlan, error: OSError) -> Check:
    where = f"{plan.main_process_ip}:{plan.main_process_port}"
    what = error.strerror or str(error)
    if plan.machine_rank == 0:
        evidence = f"not all of {plan.num_machines - 1} other machines came to {where}: {what}"
    else:
        evidence = f"machine 0 did not answer at {where}: {what}"
    return failed("clocks", evidence, "open that port between the machines, or give another --main-process-ip or -port")


def judge_clocks(clocks: tuple[Clock, ...]) -> Check:
    """Return the check of clocks against machine 0's: warn above 1 s between any two, fail above 300 s."""
    first = min(clocks, key=lambda clock: clock.offset_seconds)
    last = max(clocks, key=lambda clock: clock.offset_seconds)
    apart = last.offset_seconds - first.offset_seconds
    certain = apart - first.uncertainty_seconds - last.uncertainty_seconds
    evidence = f"{len(clocks)} machines, at most {apart:.3f} s apart"
    if certain <= _SOME_SKEW_SECONDS:
        return passed("clocks", evidence, skew_seconds=apart)
    evidence += f": {last.host} is ahead of {first.host}"
    found = failed if certain > _LARGE_SKEW_SECONDS else warned
    return found("clocks", evidence, _REMEDY, skew_seconds=apart)


def gather(plan: LaunchPlan, limit_seconds: float) -> tuple[Clock, ...]:
    """Return every machine's clock, the same tuple on all of them.

    Machine 0 listens where the launch will meet; each other one asks it for the time, keeps the fastest of 5 answers,
    and tells what it found. Raises `OSError`, at the latest after the limit.
    """
    deadline = time.monotonic() + limit_seconds
    port = plan.main_process_port or 0
    if plan.machine_rank == 0:
        return _serve(port, plan.num_machines - 1, deadline)
    return _ask(plan.main_process_ip or "", port, plan.machine_rank, deadline)


def _serve(port: int, others: int, deadline: float) -> tuple[Clock, ...]:
    found: dict[int, Clock] = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(port))
        connections = []
        while len(found) < others:
            server.settimeout(_left(deadline))
            connection = stack.enter_context(server.accept()[0])
            # Anybody may connect to an open port: who says nothing sensible in time is left aside.
            connection.settimeout(min(5.0, _left(deadline)))
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                rank, clock = _answer(connection)
                found[rank] = clock
                connections.append(connection)
        clocks = (Clock(host=socket.gethostname(), offset_seconds=0.0, uncertainty_seconds=0.0), *found.values())
        table = json.dumps([vars(clock) for clock in clocks]).encode() + b"\n"
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(table)
    return clocks


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _answer(connection: socket.socket) -> tuple[int, Clock]:
    """Answer a machine's questions for the time; return its rank and what it found."""
    with connection.makefile("rwb") as lines:
        while (line := lines.readline(_LONGEST_LINE)) == b"time?\n":
            lines.write(repr(time.time()).encode() + b"\n")
            lines.flush()
    said = json.loads(line)
    return int(said["rank"]), _clock(said["clock"])


def _ask(address: str, port: int, rank: int, deadline: float) -> tuple[Clock, ...]:
    with _connected(address, port, deadline) as connection, connection.makefile("rwb") as lines:
        measured = []
        for _ in range(_PINGS):
            connection.settimeout(_left(deadline))
            before = time.time()
            lines.write(b"time?\n")
            lines.flush()
            theirs = lines.readline(_LONGEST_LINE)
            after = time.time()
            if not theirs:
                raise ConnectionResetError("the connection was closed")
            measured.append((after - before, (before + after) / 2 - float(theirs)))
        took, offset = min(measured)
        mine = Clock(host=socket.gethostname(), offset_seconds=offset, uncertainty_seconds=max(0.0, took / 2))
        lines.write(json.dumps({"rank": rank, "clock": vars(mine)}).encode() + b"\n")
        lines.flush()
        connection.settimeout(_left(deadline))
        try:
            return tuple(_clock(one) for one in json.loads(lines.readline(_LONGEST_LINE)))
        except (ValueError, TypeError, KeyError):
            raise ConnectionResetError("the connection was closed") from None


def _connected(address: str, port: int, deadline: float) -> socket.socket:
    """Connect; machine 0 may begin to listen later. Raises `OSError` after the limit."""
    while True:
        try:
            return socket.create_connection((address, port), timeout=_left(deadline))
        except OSError:
            if time.monotonic() + 0.2 > deadline:
                raise
            time.sleep(0.2)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _clock(data: Any) -> Clock:
    host = "".join(letter if letter.isprintable() else "?" for letter in str(data["host"]))[:64]
    offset, uncertainty = float(data["offset_seconds"]), float(data["uncertainty_seconds"])
    if not (math.isfinite(offset) and math.isfinite(uncertainty)):
        raise ValueError("not a finite time")
    return Clock(host=host, offset_seconds=offset, uncertainty_seconds=uncertainty)

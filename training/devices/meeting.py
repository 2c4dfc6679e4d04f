"""Where the processes of a launch meet: a store that rank 0, or torchrun's agent, serves. Nothing waits for who cannot come."""

from __future__ import annotations

import contextlib
import datetime
import errno
import ipaddress
import logging
import os
import select
import socket
import time

import psutil
import torch.distributed as dist

from ..common.errors import UserError
from ..common.program.launched import LaunchedWorld, master_of, world_of
from ..common.program.waiting import check_meeting_place

logger = logging.getLogger("slipway")

_TOLD_SECONDS = 5.0
"""After which a line says what is waited for."""
_ALONE_SECONDS = 6.0
"""After which a process that is to meet others on this machine, where there are none, gives up."""
_UNREACHED_SECONDS = 15.0
"""For a name that nobody knows, and an address where no machine answers."""
_POLL_SECONDS = 0.2
_NOBODY = (errno.ECONNREFUSED, errno.ECONNRESET)
"""What a machine answers where nobody listens yet; rank 0 may still be starting there."""


def meet(world: LaunchedWorld, timeout_seconds: float) -> dist.Store:
    """Connect the processes of a world, which all call this; return the store that they share, once all are there.

    Raises `UserError` that names the variables where they cannot meet, within seconds if no other process can come.
    """
    meeting = _Meeting(world, timeout_seconds)
    if _is_loopback(meeting.address):
        check_meeting_place(meeting.address, "MASTER_ADDR")
    by_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    listener = meeting.listen() if world.rank == 0 and not by_agent else None
    try:
        meeting.reach(listener, by_agent=by_agent)
        store = dist.TCPStore(
            meeting.host,
            meeting.port,
            world.size,
            listener is not None,
            timeout=datetime.timedelta(seconds=_UNREACHED_SECONDS),
            wait_for_workers=False,
            master_listen_fd=None if listener is None else listener.detach(),
        )
    except RuntimeError as error:  # torch's DistError
        raise meeting.refusal(f"cannot be used: {str(error).splitlines()[0][:200]}") from None
    finally:
        if listener is not None:
            listener.close()
    store.set_timeout(datetime.timedelta(seconds=timeout_seconds))
    # An agent's store outlives its workers: what the last ones wrote is not for these.
    mine: dist.Store = dist.PrefixStore(f"slipway/attempt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    meeting.gather(mine)
    return mine


class _Meeting:
    def __init__(self, world: LaunchedWorld, timeout_seconds: float) -> None:
        self._world = world
        self.address, self.port = master_of(os.environ, world.promise)
        self.host = "127.0.0.1" if self.address == "localhost" else self.address
        self._timeout_seconds = timeout_seconds
        self._is_local = _is_loopback(self.address) or world.local_size == world.size
        self._began = time.monotonic()
        self._told = False

    def refusal(self, what: str) -> UserError:
        """Return the error of a meeting that cannot be; where no other process is here to tell it, this one does."""
        error = UserError(
            f"MASTER_ADDR={self.address} MASTER_PORT={self.port} {what}; {self._world.promise} and RANK={self._world.rank} "
            "promise a launch: start all of its processes with torchrun or `slipway launch`, or unset WORLD_SIZE, RANK and "
            "LOCAL_RANK to train alone"
        )
        error.is_alone = None if self._has_company() else True
        return error

    def _elsewhere(self) -> UserError:
        return self.refusal("does not lead to this machine, where rank 0 is")

    def listen(self) -> socket.socket:
        """Return the socket of rank 0; on loopback alone where the others come from there. Raises `UserError`."""
        try:
            if _is_loopback(self.address):
                family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
                return socket.create_server((self.host, self.port), family=family)
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", self.port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", self.port))
        except OSError as error:
            raise self.refusal(f"cannot be served by this process, rank 0 ({error.strerror or error})") from None

    def reach(self, listener: socket.socket | None, *, by_agent: bool) -> None:
        """Wait until somebody listens. Raises `UserError` where nobody does, or this process alone should, elsewhere."""
        while True:
            try:
                with socket.create_connection((self.host, self.port), timeout=_TOLD_SECONDS):
                    if listener is None or select.select([listener], [], [], _TOLD_SECONDS)[0]:
                        return
                    raise self._elsewhere()
            except UnicodeError:
                raise self.refusal("is not a host's name") from None
            except OSError as error:
                problem = error
            waited = time.monotonic() - self._began
            answers = problem.errno in _NOBODY
            if listener is not None and waited > _TOLD_SECONDS:
                raise self._elsewhere()
            if answers and by_agent and waited > _TOLD_SECONDS:
                raise self.refusal("is left of another launch: its agent does not answer")
            if answers and self._is_local and waited > _ALONE_SECONDS and not self._has_company():
                raise self.refusal("has no rank 0, and no other process of this launch is on this machine")
            if waited > (self._timeout_seconds if answers else _UNREACHED_SECONDS):
                raise self.refusal(f"cannot be reached ({problem.strerror or problem})")
            self._tell(waited, f"rank 0 at {self.address}:{self.port} ({problem.strerror or problem})")
            time.sleep(_POLL_SECONDS)

    def gather(self, store: dist.Store) -> None:
        """Wait until all ranks are in the store. Raises `UserError` where they cannot come, or the store is gone."""
        began = time.monotonic()
        store.set(f"here/{self._world.rank}", "")
        missing = list(range(self._world.size))
        while missing:
            try:
                # One after the other, so that a world of a million is not asked for at once.
                while missing and store.check([f"here/{missing[0]}"]):
                    missing.pop(0)
            except RuntimeError:
                raise self.refusal("was left by rank 0 before all had come") from None
            if not missing:
                return
            waited = time.monotonic() - began
            if self._is_local and waited > _ALONE_SECONDS and not self._has_company():
                raise self.refusal(
                    f"waits for rank {missing[0]}, and no other process of this launch is on this machine"
                )
            if waited > self._timeout_seconds:
                raise self.refusal(f"waited {waited:.0f} s for rank {missing[0]}")
            self._tell(waited, f"rank {missing[0]} of {self._world.promise}, to come to {self.address}:{self.port}")
            time.sleep(_POLL_SECONDS)

    def _tell(self, waited: float, whom: str) -> None:
        if waited > _TOLD_SECONDS and not self._told:
            self._told = True
            logger.warning(f"rank {self._world.rank} waits for {whom}; Ctrl-C ends it")

    def _has_company(self) -> bool:
        """Return whether another process of this machine has this meeting in its environment, as another rank."""
        with contextlib.suppress(psutil.Error, OSError):
            if self._world.promise.partition("=")[0] not in psutil.Process().environ():
                return True  # the program itself has set it, for processes that it starts
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError, UserError):
                theirs = process.environ()
                theirs_rank = world_of(theirs).rank if theirs.get("MASTER_PORT", "29500") == str(self.port) else None
                if theirs_rank not in (None, self._world.rank):
                    return True
        return False


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False

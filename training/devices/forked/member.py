"""A rank in a fork of the process that asked for it: its place, what it tells, its end."""

from __future__ import annotations

import datetime
import gc
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from ...common.errors import EXIT_FAILED, EXIT_RESUMABLE, TrainingFailed, UserError
from ...common.program.lifeline import end_with_parent
from ..backends import choose_kind
from ..interruption import Interrupted
from ..world import meet_at

GRACE_SECONDS = 30.0
"""Time to save, for a rank whose parent is gone."""

_MEETING_SECONDS = 60

_LOST_PEER = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL", "ECONNRESET")


class Channel:
    """What a rank tells the process that follows it: one line of JSON for each message, through a pipe."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._lock = threading.Lock()

    def send(self, kind: str, **values: Any) -> None:
        """Send a message. Nothing happens if nobody follows any more."""
        line = (json.dumps({"kind": kind, **values}) + "\n").encode()
        with self._lock, suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._file, line) :]


Work = Callable[[Channel], Mapping[str, Any]]
"""What a rank does; what it returns is told, and must be plain values."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of a rank among those that are forked together."""

    rank: int
    size: int
    listener: socket.socket
    """Where rank 0 serves the store in which they meet."""
    parent_pid: int

    def enter(self) -> None:
        """Make this process the rank for all that asks its environment, and connect it to the store."""
        host, port = self.listener.getsockname()
        local = {"RANK": self.rank, "WORLD_SIZE": self.size, "LOCAL_RANK": self.rank, "LOCAL_WORLD_SIZE": self.size}
        os.environ.update({name: str(value) for name, value in local.items()})
        os.environ.update(MASTER_ADDR=host, MASTER_PORT=str(port))
        is_main = self.rank == 0
        store = dist.TCPStore(
            host,
            port,
            self.size,
            is_main,
            timeout=datetime.timedelta(seconds=_MEETING_SECONDS),
            wait_for_workers=False,
            master_listen_fd=self.listener.detach() if is_main else None,
        )
        if not is_main:
            self.listener.close()
        store.set(f"slipway/here/{self.rank}", "")
        if is_main:
            # It takes the store with it: one that ends at once would leave the others trying to connect.
            store.wait([f"slipway/here/{rank}" for rank in range(self.size)])
        meet_at(store)


def run_as_rank(work: Work, place: Place, file: int, streams: tuple[int, int] | None) -> NoReturn:
    """Do the work of a rank, tell what came of it through `file`, and end this process.

    `streams` become its stdout and stderr; None: it keeps those of its parent. The signals that stop a run are blocked
    until the work handles them.
    """
    code, channel = EXIT_FAILED, Channel(file)
    try:
        os.setpgid(0, 0)  # signals come from the parent alone, once
        end_with_parent(place.parent_pid, signal.SIGTERM, GRACE_SECONDS)
        signal.set_wakeup_fd(-1)  # it would wake the event loop of the parent
        gc.freeze()  # what the parent has is not this process's to collect
        if streams is not None:
            for number, stream in enumerate(streams, start=1):
                os.dup2(stream, number)
            sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        place.enter()
        channel.send("result", **work(channel))
        code = 0
    except BaseException as error:
        with suppress(Exception):
            channel.send("error", **_describe(error))
        code = EXIT_RESUMABLE if isinstance(error, Interrupted) else EXIT_FAILED
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def check_fork(device: str) -> None:
    """Raise `UserError` in a rank whose parent has used what does not live on in a fork, if the rank needs it.

    `device` is a kind or `auto`. A parent that only asked for a GPU where there is none has used none.
    """
    used = None
    if (torch.cuda._is_in_bad_fork() or torch.xpu._is_in_bad_fork()) and choose_kind(device) in ("cuda", "xpu"):
        used = "asked for or used the GPU, which does not live on in the processes that it starts"
    else:
        try:
            torch.zeros((), requires_grad=True).backward()
        except RuntimeError:
            used = "trained where there is a GPU, and autograd does not live on in the processes that it starts"
    if used is not None:
        raise UserError(
            f"num_processes: this process has {used}; restart it (the kernel) and start them first, or write a script and "
            "start it with `slipway launch --num-processes N script.py`"
        )


def _describe(error: BaseException) -> dict[str, Any]:
    kinds = {KeyboardInterrupt: "quit", Interrupted: "interrupted", UserError: "user", TrainingFailed: "failed"}
    kind = next((name for one, name in kinds.items() if isinstance(error, one)), "other")
    told: dict[str, Any] = {"error": kind, "name": type(error).__name__, "message": str(error)}
    if isinstance(error, Interrupted):
        told |= {"message": error.what, "folder": None if error.folder is None else str(error.folder)}
    elif isinstance(error, UserError):
        told |= {"option": error.option, "is_alone": error.is_alone}
    elif isinstance(error, TrainingFailed):
        told["is_alone"] = error.is_alone
    elif kind == "other":
        told["stack"] = "".join(traceback.format_exception(error))
        lost = isinstance(error, RuntimeError) and any(word in str(error) for word in _LOST_PEER)
        told["lost_peer"] = lost or isinstance(error, dist.DistError)
    return told

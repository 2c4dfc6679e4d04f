"""Fork the ranks of this machine from this process, follow them, and end with what rank 0 returned or why they failed.

They are forked from a thread that has computed nothing: a pool of OpenMP belongs to the thread that has used it, and a fork
of that thread waits for the pool's threads for ever.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ...common.errors import EXIT_RESUMABLE
from ..interruption import STOPPING
from .failure import End, failure_of
from .member import Place, Work, run_as_rank
from .stream import LineReader, TextReader

Receive = Callable[[str, Mapping[str, Any]], None]

_AFTER_FAILURE_SECONDS = 15.0
"""For the other ranks to see that one has failed."""

_POLL_SECONDS = 0.1
_PRESSES_TO_KILL = 3
_MOST_OUTPUT_BYTES = 4000


def run_forked(work: Work, size: int, receive: Receive, *, captures_output: bool) -> Mapping[str, Any]:
    """Run `work` in `size` forks of this process, the ranks of a world; return what that of rank 0 returned.

    `receive` gets the messages of rank 0, in this thread; that of kind `folder` names the folder of the run. With
    `captures_output` what rank 0 prints goes to `sys.stdout` and `sys.stderr` of this process as text; what others print is
    shown if they fail. Signals go to all ranks. No process is left when it returns or raises: `UserError`,
    `TrainingFailed`, `Interrupted` or `Quit` as the ranks did.
    """
    with ExitStack() as stack:
        group = _Group(work, size, receive, captures_output=captures_output, stack=stack)
        group.start()
        group.follow()
        return group.outcome()


@dataclass(kw_only=True)
class _Member:
    rank: int
    writer: int
    reader: int
    streams: tuple[int, int] | None
    log: IO[bytes] | None
    pid: int = 0
    status: int | None = None
    """Exit code, negative for a signal; None: it runs."""
    was_killed: bool = False
    """By this process."""
    told: dict[str, Mapping[str, Any]] = field(default_factory=dict)


class _Group:
    def __init__(self, work: Work, size: int, receive: Receive, *, captures_output: bool, stack: ExitStack) -> None:
        self._work, self._receive, self._stack = work, receive, stack
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._readers: list[LineReader | TextReader] = []
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._members = [self._make_member(rank, captures_output) for rank in range(size)]
        self._order: list[_Member] = []
        self._failed_at: float | None = None
        self._presses = 0
        self._folder: Path | None = None
        self._is_over = threading.Event()

    def _make_member(self, rank: int, captures_output: bool) -> _Member:
        reader, writer = os.pipe()
        member = _Member(rank=rank, writer=writer, reader=reader, streams=None, log=None)
        self._listen(LineReader(reader, lambda message: self._note(member, message)))
        if rank > 0:
            member.log = log = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            member.streams = (log.fileno(), log.fileno())
        elif captures_output:
            (out, out_writer), (err, err_writer) = os.pipe(), os.pipe()
            self._listen(TextReader(out, sys.stdout))
            self._listen(TextReader(err, sys.stderr))
            member.streams = (out_writer, err_writer)
        return member

    def _listen(self, reader: LineReader | TextReader) -> None:
        os.set_blocking(reader.file, False)
        self._stack.callback(os.close, reader.file)
        self._selector.register(reader.file, selectors.EVENT_READ, reader)
        self._readers.append(reader)

    def start(self) -> None:
        """Fork the ranks. They get the signal of a parent's end when the thread that forked them ends, so it waits."""
        sys.stdout.flush()
        sys.stderr.flush()
        forked, problems = threading.Event(), []
        parent_pid = os.getpid()

        def fork() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
            try:
                for member in self._members:
                    member.pid = os.fork()
                    if member.pid == 0:
                        place = Place(
                            rank=member.rank, size=len(self._members), listener=self._listener, parent_pid=parent_pid
                        )
                        self._become(member, place)
            except OSError as error:
                problems.append(error)
            finally:
                forked.set()
            self._is_over.wait()

        self._stack.callback(self._end)
        threading.Thread(target=fork, name="slipway-fork", daemon=True).start()
        forked.wait()
        for member in self._members:
            for file in {member.writer, *(member.streams or ())} - {member.log.fileno() if member.log else -1}:
                os.close(file)
        self._listener.close()
        if problems:
            raise problems[0]

    def _become(self, member: _Member, place: Place) -> None:
        for other in self._members:
            if other is not member:
                os.close(other.writer)
        for reader in self._readers:
            os.close(reader.file)
        run_as_rank(self._work, place, member.writer, member.streams)

    def follow(self) -> None:
        """Pass on what the ranks tell until all have ended. After the failure of one the others have some seconds."""
        with self._forwarded_signals():
            while running := [one for one in self._members if one.status is None]:
                for key, _ in self._selector.select(_POLL_SECONDS):
                    if not key.data.read():
                        self._selector.unregister(key.fileobj)
                for member in running:
                    self._reap(member)
                if self._failed_at is not None and time.monotonic() > self._failed_at + _AFTER_FAILURE_SECONDS:
                    self._kill()
        for reader in self._readers:
            reader.read()

    def _reap(self, member: _Member) -> None:
        pid, status = os.waitpid(member.pid, os.WNOHANG)
        if pid == 0:
            return
        member.status = os.waitstatus_to_exitcode(status)
        self._order.append(member)
        if member.status not in (0, EXIT_RESUMABLE) and self._failed_at is None:
            self._failed_at = time.monotonic()

    def _note(self, member: _Member, message: dict[str, Any]) -> None:
        kind = message.pop("kind")
        if kind in ("result", "error"):
            member.told[kind] = message
        elif kind == "folder":
            self._folder = Path(message["folder"])
        elif member.rank == 0:
            self._receive(kind, message)

    @contextmanager
    def _forwarded_signals(self) -> Iterator[None]:
        """Send the signals that stop a run to the ranks; in a thread of its own none arrives."""
        before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._forward) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _forward(self, number: int, frame: object) -> None:
        self._presses += number == signal.SIGINT
        if self._presses >= _PRESSES_TO_KILL:
            self._kill()
            return
        for member in self._members:
            if member.status is None:
                with suppress(ProcessLookupError):
                    os.kill(member.pid, number)

    def _kill(self) -> None:
        for member in self._members:
            if member.pid and member.status is None:
                member.was_killed = True
                with suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)

    def _end(self) -> None:
        """Leave no rank behind."""
        self._kill()
        for member in self._members:
            if member.pid and member.status is None:
                os.waitpid(member.pid, 0)
        self._is_over.set()

    def outcome(self) -> Mapping[str, Any]:
        """Return what rank 0 told as its result, or raise why there is none."""
        if all(member.status == 0 for member in self._members):
            return self._members[0].told["result"]
        raise failure_of([self._describe(member) for member in self._order], self._folder)

    @staticmethod
    def _describe(member: _Member) -> End:
        output = ""
        if member.log is not None:
            member.log.seek(max(0, member.log.seek(0, os.SEEK_END) - _MOST_OUTPUT_BYTES))
            output = member.log.read().decode(errors="replace")
        assert member.status is not None
        return End(
            rank=member.rank,
            status=member.status,
            was_killed=member.was_killed,
            told=member.told.get("error", {}),
            output=output,
        )

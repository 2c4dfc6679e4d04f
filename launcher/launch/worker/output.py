"""Send the output of a rank to its log, and that of rank 0 to the terminal too, by file descriptors."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import sys
from pathlib import Path

_STREAMS = (1, 2)
_CHUNK_BYTES = 1 << 16


def route_output(log: Path, *, is_shown: bool) -> int | None:
    """Redirect stdout and stderr, those of C code too; return the pid of the process that copies, or None without one.

    A rank that is not shown writes to its log alone. One that is shown has the terminal to itself where stderr is one;
    elsewhere its output goes to where it went before, and to the log. Another process copies it, since a thread would
    lose the last lines when a signal ends this process. Call it before any thread is started.
    """
    if is_shown and os.isatty(2):
        log.touch()
        return None
    sys.stdout.flush()
    sys.stderr.flush()
    log_descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o664)
    if is_shown:
        return _copy_to(log_descriptor)
    for stream in _STREAMS:
        os.dup2(log_descriptor, stream)
    os.close(log_descriptor)
    return None


def _copy_to(log: int) -> int:
    # One pipe where both streams go to the same place, so that lines keep their order.
    copied = [stream for stream in _STREAMS if not os.isatty(stream)]
    together = len(copied) == 2 and os.path.sameopenfile(*copied)
    pipes = {stream: os.pipe() for stream in (copied[:1] if together else copied)}
    pid = os.fork()
    if pid == 0:
        _copy_process(
            {reader: stream for stream, (reader, _) in pipes.items()}, [end for _, end in pipes.values()], log
        )
    for stream in copied:
        os.dup2(pipes[copied[0] if together else stream][1], stream)
    for descriptor in (log, *(end for ends in pipes.values() for end in ends)):
        os.close(descriptor)
    return pid


def _copy_process(sources: dict[int, int], writers: list[int], log: int) -> None:
    """Copy each source to its stream and to the log until every writer is gone; does not return."""
    try:
        # In another session, which signals to the rank's group do not reach: it ends when there is nothing left to copy.
        os.setsid()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(signum, signal.SIG_IGN)
        for descriptor in writers:
            os.close(descriptor)
        with selectors.DefaultSelector() as selector:
            for source in sources:
                selector.register(source, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, _CHUNK_BYTES)
                    if not data:
                        selector.unregister(key.fd)
                        continue
                    # A full disk must not stop the terminal's copy, and a reader that is gone not the log's.
                    for target in (log, sources[key.fd]):
                        with contextlib.suppress(OSError):
                            _write(target, data)
    finally:
        os._exit(0)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])

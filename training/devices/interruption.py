"""Turn signals into a request to stop, on which the ranks agree at a step boundary."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ..common.errors import EXIT_RESUMABLE
from ..common.program.ipython import OneLine, ipython_shell

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""The signals that ask a run to stop."""

_AT_ONCE_SECONDS = 1.5
"""How long the main thread may take to end by an exception, before the process ends without it."""

_SAME_PRESS_SECONDS = 0.5
"""One press of Ctrl-C may arrive twice: from the terminal and from a launcher."""


_STOPPED_EARLY = "stopped before its first step, so nothing had to be saved"


class Interrupted(OneLine):
    """Training stopped at a step boundary because a signal asked for it; the message says where, and how to go on.

    A script that does not catch it ends with exit code 75, which launchers and schedulers know; in IPython the cell ends.
    """

    _label = ""

    def __init__(self, what: str = "", folder: str | Path | None = None) -> None:
        super().__init__(what)
        self.what = what
        """Where it stopped: `stopped after step 12 and saved`."""
        self.folder = folder
        """Of the run or study to go on with; None: there is none."""

    def __str__(self) -> str:
        return self.what if self.folder is None else f"{self.what}: go on with {how_to_resume(self.folder)}"

    def for_caller(self) -> Interrupted:
        """Return the exception as `train` raises it: outside of IPython, where `SystemExit` ends nothing, it is one."""
        return self if ipython_shell() is not None else _EndOfProgram(self.what, self.folder)


class _EndOfProgram(Interrupted, SystemExit):
    """An `Interrupted` that ends a program which does not catch it."""

    def __init__(self, what: str = "", folder: str | Path | None = None) -> None:
        super().__init__(what, folder)
        self.code = EXIT_RESUMABLE


_EndOfProgram.__name__ = _EndOfProgram.__qualname__ = Interrupted.__name__  # what people see and compare


class Quit(OneLine, KeyboardInterrupt):
    """The second Ctrl-C, or interrupt of a kernel: nothing is saved any more."""

    _label = ""


def how_to_resume(folder: str | Path) -> str:
    """Return what goes on with a run: in IPython a call of `train`, elsewhere an option."""
    if ipython_shell() is None:
        return f"--resume {folder}"
    return f"train(TrainingConfig(..., resume={str(folder)!r}), ...), all else as before"


class StopRequest:
    """Handles the signals that ask a run to stop.

    The first one asks to stop after the present step, and within `at_once` ends the block; a second Ctrl-C interrupts at
    once. Signals are handled only in the main thread of a program: elsewhere the request is never set.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        """The first signal that asked to stop; `None`: there was none."""
        self._pressed_at: float | None = None
        self._before: dict[int, Any] = {}
        self._ends_at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Have a signal within the block raise `Interrupted` at once: for what comes before the first step.

        Where the main thread does not run Python, as while it waits for another host, the process ends after 1.5 s, but not
        that of a notebook.
        """
        if not self._before:
            yield
            return
        self._ends_at_once = True
        try:
            with _ended_from_outside() if ipython_shell() is None else nullcontext():
                yield
        finally:
            self._ends_at_once = False

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._before[number] = signal.signal(number, self._on_signal)
            if hasattr(signal, "pthread_sigmask"):
                # A rank that was forked begins with these blocked, so that none is lost before this.
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # A handler that was not set from Python cannot be set again from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        is_press = number == signal.SIGINT
        if is_press and self._pressed_at is not None:
            if time.monotonic() - self._pressed_at < _SAME_PRESS_SECONDS:
                return
            raise Quit("interrupted: what was not saved is lost")
        if self._ends_at_once:
            self.name, self._pressed_at = name, time.monotonic() if is_press else None
            raise Interrupted(_STOPPED_EARLY)
        if is_press:
            self._pressed_at = time.monotonic()
            again = "press Ctrl-C" if ipython_shell() is None else "interrupt"
            _print_notice(f"stopping after this step, and saving; {again} again to quit at once")
        elif self.name is None:
            _print_notice(f"{name}: stopping after this step, and saving")
        self.name = self.name or name


@contextmanager
def _ended_from_outside() -> Iterator[None]:
    """Within the block, end the process where the main thread does not handle a signal that asks to stop in time."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Python's own handler writes the signal's number there at once, whatever the main thread does.
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    if before != -1:  # an event loop's
        signal.set_wakeup_fd(before)
    is_over = threading.Event()
    with reader, suppress(RuntimeError):  # no thread to be had: a signal waits for the main thread
        threading.Thread(target=_end_late, args=(reader.dup(), is_over), name="signals", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
        if before == -1:
            signal.set_wakeup_fd(-1)
        writer.close()  # which ends the thread


def _end_late(reader: socket.socket, is_over: threading.Event) -> None:
    with reader:
        while numbers := reader.recv(1):
            if numbers[0] in STOPPING and not is_over.wait(_AT_ONCE_SECONDS):
                _print_notice(f"{signal.Signals(numbers[0]).name}: {_STOPPED_EARLY}")
                os._exit(EXIT_RESUMABLE)


def _print_notice(text: str) -> None:
    """Print a line to stderr on rank 0. With os.write, because the signal may have interrupted a print."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            os.write(2, f"\n{text}\n".encode())

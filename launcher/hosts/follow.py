"""Follow a launch on several hosts to its end: what its first rank prints, the logs of all, signals, exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from ...training.common.errors import EXIT_FAILED
from ...training.common.program.streams import print_to_stderr
from ..common.signals import STOP_SIGNALS, ReceivedSignal, SignalQueue
from .link import Link

_POLL_SECONDS = 0.1
_ALIVE_SECONDS = 10.0
_END_SECONDS = 30.0
_SHOWN_LINES = 8


def tell(text: str) -> None:
    """Print a line of the launcher to stderr."""
    print_to_stderr(f"slipway launch: {text}")


class Following:
    """The hosts of a launch, the first of which has rank 0."""

    def __init__(self, links: list[Link], folder: Path, grace_seconds: float) -> None:
        self._links = links
        self._folder = folder
        self._grace_seconds = grace_seconds
        self._codes: dict[str, int] = {}
        self._gone: dict[str, str] = {}
        self._stopped_by: int | None = None
        self._deadline: float | None = None
        self._said_on_first = ""
        self._said: dict[str, str] = {link.name: "" for link in links}

    def run(self, queue: SignalQueue) -> int:
        """Follow to the end; return the exit code. Call it in the main thread, with the queue entered."""
        told = time.monotonic()
        while len(self._codes) + len(self._gone) < len(self._links):
            received = queue.next(_POLL_SECONDS)
            if received is not None:
                self._pass_on(received)
            if time.monotonic() - told > _ALIVE_SECONDS:
                told = time.monotonic()
                for link in self._links:
                    link.send(ask="alive")
            for link in self._links:
                self._hear(link)
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._give_up()
        return self._exit_code()

    def _pass_on(self, received: ReceivedSignal) -> None:
        signum = received.signum
        if signum in STOP_SIGNALS:
            if self._stopped_by is not None:
                if self._stopped_by == signum == signal.SIGINT:
                    tell("interrupted again: killing what is left")
                    self._give_up()
                return
            self._stopped_by = signum
            self._deadline = time.monotonic() + self._grace_seconds + _END_SECONDS
            # Ctrl-C twice kills, and the launchers tell each other of the first.
            signum = signal.SIGTERM
        for link in self._links:
            link.send(ask="signal", signal=int(signum))

    def _hear(self, link: Link) -> None:
        if link.name in self._codes or link.name in self._gone:
            return
        while True:
            try:
                answer = link.next(0.0)
            except TimeoutError:
                return
            except EOFError:
                self._gone[link.name] = link.why_gone()
                self._end_soon()
                return
            if "exit" in answer:
                self._codes[link.name] = int(answer["exit"])
                if self._codes[link.name] != 0:
                    self._end_soon()
                return
            if "broken" in answer:
                self._gone[link.name] = str(answer["broken"])
                self._end_soon()
                return
            self._take(link, answer)

    def _end_soon(self) -> None:
        """Give the other hosts the time to end by themselves: their launchers hear of each other's end."""
        self._deadline = self._deadline or time.monotonic() + self._grace_seconds + _END_SECONDS

    def _take(self, link: Link, answer: dict[str, Any]) -> None:
        data = str(answer.get("text", "")).encode("utf-8", "surrogateescape")
        if "output" in answer:
            if link is self._links[0]:
                with contextlib.suppress(OSError):
                    os.write(int(answer["output"]), data)
            if answer["output"] == 2:
                self._said[link.name] += data.decode("utf-8", "replace")
        if "log" in answer:
            path = self._folder / link.name / str(answer["log"])
            if self._folder in path.resolve().parents:
                with contextlib.suppress(OSError):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("ab") as file:
                        file.write(data)

    def _give_up(self) -> None:
        for link in self._links:
            if link.name not in self._codes and link.name not in self._gone:
                link.close(self._grace_seconds)
                self._gone[link.name] = "it did not end in time"

    def _exit_code(self) -> int:
        first = self._links[0].name
        for name, why in self._gone.items():
            if self._stopped_by is None:
                tell(f"{name} is gone: {why}")
        for link in self._links[1:]:
            if self._codes.get(link.name):
                self._show(link.name, self._said[link.name], self._said[first])
        codes = [self._codes[link.name] for link in self._links if link.name in self._codes]
        code = next((one for one in codes if one), EXIT_FAILED if self._gone else 0)
        code = 128 - code if code < 0 else code
        if self._stopped_by == signal.SIGINT and code == 128 + signal.SIGTERM:
            return 128 + signal.SIGINT
        return code

    def _show(self, name: str, said: str, shown: str) -> None:
        """Print the last lines of a host's launcher that the first host has not said too."""
        already = set(shown.splitlines())
        lines = [line for line in said.splitlines() if line not in already and ("error:" in line or "failed" in line)]
        for line in lines[-_SHOWN_LINES:]:
            print_to_stderr(f"[{name}] {line}")

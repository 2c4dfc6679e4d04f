"""One start of a run that is to be killed: where it is, what there is to kill, and what is left of it afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.launcher.launches import SLIPWAY, Launches

POLL_SECONDS = 0.001
GRACE_SECONDS = 3.0
"""Given to `slipway launch`."""
GONE_SECONDS = GRACE_SECONDS + 12.0
"""After a kill, within which every process of the run has to be gone. It takes a few seconds, more on a busy machine."""
START_SECONDS = 180.0
"""Within which a run has to train, on a machine however busy."""


class Failed(Exception):  # noqa: N818 - of the run that is tested, not of the suite
    """The run did what it must not, so that nothing more can be learned from it."""


class Attempt:
    """A `slipway` command in a folder of its own, and the books of its ranks."""

    def __init__(self, folder: Path, number: int, command: list[str], *, pass_seconds: float = 0.0) -> None:
        self.folder = folder
        self.number = number
        self.started_at = time.time()
        self._launches = Launches(folder)
        self._books = folder / "computed"
        self._books.mkdir(exist_ok=True)
        self._output = folder / "computed" / f"{number:03d}.output"
        environment = self._launches.environment(
            XDG_CACHE_HOME=str(folder / "cache"),
            CHAOS_COMPUTED=str(self._books / f"{number:03d}"),
            CHAOS_PASS_SECONDS=str(pass_seconds),
        )
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [*SLIPWAY, *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def book(self, rank: int) -> Path:
        """Return the book of a rank, which is there from when its model is built."""
        return self._books / f"{self.number:03d}.{rank}"

    def num_passes(self) -> int:
        """Return the forward passes of training that rank 0 has begun."""
        with suppress(OSError):
            return self.book(0).read_bytes().count(b"\n")
        return 0

    def said(self) -> str:
        """Return the end of what the command has printed."""
        return self._output.read_text(encoding="utf-8", errors="replace")[-2000:]

    def until(self, condition: Callable[[], object]) -> bool:
        """Wait for a condition; return whether it came before the command ended. Raises `Failed` where neither comes."""
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            if condition():
                return True
            if self.process.poll() is not None:
                return bool(condition())
            time.sleep(POLL_SECONDS)
        raise Failed(f"attempt {self.number}: nothing happened for {START_SECONDS:g} s: {self.said()}")

    def pids_of(self, target: str, rank: int, rng: random.Random) -> list[int]:
        """Return the processes of `rank` (that one's), `launcher`, `agent`, or `everything`, in an order drawn by chance.

        Raises `Failed` where they are gone already.
        """
        try:
            launcher = psutil.Process(self.process.pid)
            if target == "rank":
                return [self.rank_pid(rank)]
            if target == "agent":
                return [agent.pid for agent in launcher.children()]
            pids = [launcher.pid, *(child.pid for child in launcher.children(recursive=True))]
            rng.shuffle(pids)
            return pids if target == "everything" else [launcher.pid]
        except (OSError, ValueError, psutil.Error) as error:
            raise Failed(f"attempt {self.number} ended by itself ({error}): {self.said()}") from None

    def rank_pid(self, rank: int) -> int:
        """Return the process of a rank, as the launcher has it."""
        (folder,) = (self.folder / "runs" / ".launches").glob(f"*-{self.process.pid}")
        return int(json.loads((folder / f"rank_{rank}.json").read_text())["pid"])

    def wait_until_gone(self) -> float:
        """Return how long it took until no process of the run was left. Raises `Failed` after `GONE_SECONDS`."""
        began = time.monotonic()
        while self.process.poll() is None or self._launches.left():
            if time.monotonic() > began + GONE_SECONDS:
                left = [" ".join(one.cmdline())[:100] for one in self._launches.left()]
                raise Failed(f"attempt {self.number}: after {GONE_SECONDS:g} s there are still {left}")
            time.sleep(0.02)
        return time.monotonic() - began

    def finish(self) -> int:
        """Wait for the command to end by itself and return its exit code."""
        self.until(lambda: self.process.poll() is not None)
        return int(self.process.returncode)

    def close(self) -> None:
        """End whatever is left, whichever way this was left."""
        for process in self._launches.left():
            with suppress(psutil.Error):
                process.kill()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def kill(pids: list[int]) -> None:
    """Send SIGKILL to each; one that an earlier kill took with it is passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

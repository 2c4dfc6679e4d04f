"""One training on one or two processes in which a fault is made: what it says, how it ends, what it has kept."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from tests.chaos.attempt import POLL_SECONDS, START_SECONDS, Failed
from tests.chaos.faults.gated import BATCH_SIZE, EPOCHS, MICRO_BATCH_SIZE, SAVE_STEPS
from tests.conftest import ROOT
from tests.launcher.launches import SLIPWAY, Launches

_TOLD = re.compile(r"(?:^|level=)(?:warning|error)\b|Traceback|slipway launch: ")
_USUAL = re.compile(r"training samples over \d processes|slipway launch: \d process")
"""What is told of this training without any fault."""


@dataclass(kw_only=True)
class Start:
    """How the command of a trial is started."""

    prefix: Sequence[str] = ()
    """A command that starts it in another place."""
    environment: dict[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    """More of the training."""
    streams: dict[str, int | IO[str] | None] = field(default_factory=dict)
    """`stdout` and `stderr`, where they do not go to the file of the trial."""


class Trial:
    """A run in a folder of its own. `runs` is its folder of runs, which may be on another disk."""

    def __init__(self, folder: Path, world_size: int) -> None:
        self.folder, self.world_size = folder, world_size
        folder.mkdir(parents=True)
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.run = self.runs / "run"
        self._launches = Launches(folder)
        self._num_starts = 0
        self.process: subprocess.Popen[str] | None = None
        self.reader = -1
        """Of the pipe that what is said goes to, where there is one."""

    def command(self) -> list[str]:
        """Return the command that starts or resumes the run: in this process alone, or launched on several."""
        options: dict[str, Any] = {
            "task": "tests.chaos.faults.gated:make_task",
            "device": "cpu",
            "batch-size": BATCH_SIZE,
            "batch-rule": "fixed",
            "micro-batch-size": MICRO_BATCH_SIZE,
            "epochs": EPOCHS,
            "save-every": f"{SAVE_STEPS}step",
            "num-workers": 2,
            "mixed-precision": "no",
            "experiment-name": "run",
            "runs-dir": self.runs,
            "resume": "auto",
        }
        training = [str(ROOT / "bin" / "train.py"), *(f"--{name}={value}" for name, value in options.items())]
        if self.world_size == 1:
            return [sys.executable, *training]
        launch = [f"--num-processes={self.world_size}", "--device=cpu", "--main-process-port=0", "--grace-seconds=5"]
        return [*SLIPWAY, "launch", *launch, f"--log-dir={self.folder / 'launches'}", *training]

    def start(self, how: Start, *, is_gated: bool = False) -> None:
        """Start the run, or resume it; with `is_gated` the ranks wait for `open_gate`."""
        self._num_starts += 1
        environment = self._launches.environment(XDG_CACHE_HOME=str(self.folder / "cache"), **how.environment)
        if is_gated:
            environment["FAULTS_GATE"] = str(self.gate)
        with self._output.open("a", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                [*how.prefix, *self.command(), *how.options],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                text=True,
                **{"stdout": output, "stderr": output, **how.streams},
            )

    @property
    def _started(self) -> subprocess.Popen[str]:
        assert self.process is not None
        return self.process

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._started.pid

    @property
    def gate(self) -> Path:
        """The file that opens the gate."""
        return self.folder / "gate"

    @property
    def _output(self) -> Path:
        return self.folder / f"output.{self._num_starts}"

    def said(self) -> str:
        """Return what this start has printed, and what the logs of its ranks have."""
        texts = [self._output, *sorted((self.folder / "launches").glob(f"*-{self.pid}/rank_[1-9].log"))]
        return "".join(one.read_text(encoding="utf-8", errors="replace") for one in texts if one.exists())

    def told(self) -> list[str]:
        """Return the lines that tell of something wrong."""
        return [line for line in self.said().splitlines() if _TOLD.search(line) and not _USUAL.search(line)]

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition and return it. Raises `Failed` where the command ends before, or nothing happens."""
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            if found := condition():
                return found
            if self._started.poll() is not None:
                raise Failed(f"ended with {self._started.returncode} before {what}: {self.said()[-1500:]}")
            time.sleep(POLL_SECONDS)
        raise Failed(f"not within {START_SECONDS:g} s: {what}: {self.said()[-1500:]}")

    def until_at_gate(self) -> None:
        """Wait until every rank is at the gate, and the checkpoint before it is written."""
        self.until(lambda: len(self.pids()) == self.world_size, "the gate")
        self.until(lambda: self.saved_step() >= SAVE_STEPS * 2, "a checkpoint")

    def pids(self) -> list[int]:
        """Return the processes of the ranks that are at the gate, by rank."""
        files = [self.folder / f"{self.gate.name}.{rank}" for rank in range(self.world_size)]
        return [int(text) for file in files if file.exists() and (text := file.read_text())]

    def open_gate(self) -> None:
        """Let the ranks go on."""
        self.gate.touch()

    def finish(self) -> int:
        """Wait until the command ends, and no process of it is left; return its exit code."""
        try:
            code = int(self._started.wait(START_SECONDS))
        except subprocess.TimeoutExpired:
            raise Failed(f"has not ended after {START_SECONDS:g} s: {self.said()[-1500:]}") from None
        limit = time.monotonic() + 15.0
        while left := self._launches.left():
            if time.monotonic() > limit:
                raise Failed(f"left running: {[' '.join(one.cmdline())[:100] for one in left]}")
            time.sleep(0.05)
        return 128 - code if code < 0 else code

    def saved_step(self) -> int:
        """Return the step of the newest checkpoint, -1 where there is none."""
        steps = [-1]
        with suppress(OSError):
            steps += [int(path.name.rsplit("-", 1)[1]) for path in self.run.glob("checkpoints/[0-9]*-step-*")]
        return max(steps)

    def state(self) -> str:
        """Return the state in `run.json`; empty where it cannot be read."""
        with suppress(OSError, ValueError):
            return str(json.loads((self.run / "run.json").read_text(encoding="utf-8"))["state"])
        return ""

    def weights(self) -> dict[str, bytes]:
        """Return the files of the final weights. Raises `OSError` where one is not there."""
        return {kind: (self.run / kind / "model.safetensors").read_bytes() for kind in ("best", "last")}

    def close(self) -> None:
        """End whatever is left."""
        if self.process is None:
            return
        for _ in range(2):
            for process in self._launches.left():
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

"""Real launches in a folder of their own, and the proof that none of their processes is left."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from slipway.launcher.launch.environment import stale_variables
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS, wait_until

SLIPWAY = [sys.executable, "-P", "-c", "import sys; from slipway.launcher.cli import main; sys.exit(main())"]


class Launches:
    """Starts `slipway launch` in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def script(self, text: str, name: str = "script.py") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def environment(self, **changes: str) -> dict[str, str]:
        """Return an environment without traces of a launch, in which every process can be found by the folder."""
        dropped = stale_variables(os.environ)
        kept = {
            name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("SLIPWAY_")
        }
        return {
            **kept,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "XDG_CONFIG_HOME": str(self.folder),
            "TEST_FOLDER": str(self.folder),
            **changes,
        }

    def start(
        self, *arguments: object, environment: dict[str, str] | None = None, **settings: Any
    ) -> subprocess.Popen[str]:
        command = [*SLIPWAY, "launch", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment or self.environment(),
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings},
        )
        self._started.append(process)
        return process

    def run(self, *arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **settings)
        out, err = process.communicate(timeout=HANG_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def until_said(self, word: str, num_ranks: int = 1) -> None:
        """Wait until that many ranks have written a line that ends so to their log."""
        wait_until(lambda: sum(f"{word}\n" in log.read_text() for log in self.logs()) == num_ranks)

    def launch_folder(self) -> Path:
        (folder,) = (self.folder / "runs" / ".launches").iterdir()
        return folder

    def logs(self) -> list[Path]:
        return sorted(self.folder.glob("runs/.launches/*/rank_*.log"))

    def states(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.launch_folder().glob("rank_*.json"))]

    def left(self) -> list[psutil.Process]:
        """Return the processes of this folder that still run."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            words = (*process.cmdline(), *process.environ().values())
            return process.pid != os.getpid() and any(str(self.folder) in word for word in words)
        return False

    def close(self) -> None:
        left = self.left()
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for started in self._started:
            started.kill()
            started.communicate(timeout=HANG_SECONDS)
        assert not left, f"left running: {left}"


@pytest.fixture
def launches(tmp_path: Path) -> Iterator[Launches]:
    """Launches in `tmp_path`; at the end none of their processes is left."""
    one = Launches(tmp_path)
    yield one
    one.close()

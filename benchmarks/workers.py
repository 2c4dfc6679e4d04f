"""Processes that stay between the rounds, each with one side's imports done, and groups of ranks that measure together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

_TAIL_CHARACTERS = 2000


class Worker:
    """A Python module in a process of its own, which answers one request after another: see `serve`.

    One side's imports, threads and settings so leave the others alone, and are paid before the clock starts.
    """

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name = " ".join([module, *arguments])
        self._said = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - see __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, **environment},
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate()
        self._said.close()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request. Raises `RuntimeError`, with the process's last words, where it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._said.seek(0)
            raise RuntimeError(f"{self._name} ended: {self._said.read()[-_TAIL_CHARACTERS:]}")
        return json.loads(line)


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer the requests on stdin until it ends. What is printed meanwhile goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        for line in sys.stdin:
            replies.write(json.dumps(answer(json.loads(line))) + "\n")
            replies.flush()


def run_ranks(module: str, num_ranks: int, arguments: Sequence[str]) -> dict[str, Any]:
    """Start a module on that many CPU ranks, several with torchrun; return what rank 0 wrote to the file after `--output`.

    Raises `RuntimeError` where a rank failed.
    """
    group = ["-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(num_ranks)]
    group += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "found.json"
        command = [*(group if num_ranks > 1 else []), "-m", module, *arguments, "--output", str(output)]
        done = subprocess.run(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode:
            raise RuntimeError(f"{module} on {num_ranks} ranks failed: {done.stderr[-_TAIL_CHARACTERS:]}")
        return json.loads(output.read_text(encoding="utf-8"))

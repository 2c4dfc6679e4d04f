"""Ranks as real processes, forked from a server that imports torch once: a start costs a fraction of a second."""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import torch

from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

_CONTEXT = multiprocessing.get_context("forkserver")


def set_preload(*modules: str) -> None:
    """Let the server import these modules too, once for all ranks; only before the first group is started."""
    _CONTEXT.set_forkserver_preload(
        # The last is what torch's optimizers import when the first of them is made.
        [
            "slipway.training.run.train",
            "accelerate",
            "slipway.training.observers.screen.console",
            "torch._dynamo",
            *modules,
        ]
    )


set_preload("tests.training.misbehaviour")


class Group:
    """The processes of one world; each one's output is in a file of its own."""

    def __init__(self, processes: list[Any], folder: Path) -> None:
        self.processes = processes
        self._folder = folder

    def exit_codes(self, seconds: float = HANG_SECONDS) -> list[int]:
        """Wait for the end of all and return their exit codes, by rank; a signal's is negative."""
        for process in self.processes:
            process.join(seconds)
        ended = [process.exitcode for process in self.processes]
        assert None not in ended, f"ranks that did not end: {ended}\n{self.output()}"
        return ended

    def output(self, rank: int | None = None) -> str:
        """Return what a rank wrote, or all of them."""
        ranks = range(len(self.processes)) if rank is None else [rank]
        return "\n".join((self._folder / f"rank_{number}.txt").read_text(errors="replace") for number in ranks)


@contextmanager
def started(size: int, folder: Path, function: Callable[..., int | None], *arguments: Any) -> Iterator[Group]:
    """Run `function(*arguments)` in a world of `size` processes; what it returns is the exit code.

    The processes see this one's environment. None is left when the block ends.
    """
    start_server()
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        _CONTEXT.Process(target=_enter, args=(rank, size, environment, folder, function, arguments))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        yield Group(processes, folder)
    finally:
        for process in processes:
            process.kill()
            process.join()


def run_group(size: int, folder: Path, function: Callable[..., int | None], *arguments: Any) -> list[int]:
    """Return the exit codes of a world that runs to its end."""
    with started(size, folder, function, *arguments) as group:
        return group.exit_codes()


def is_running(process: str) -> bool:
    """Return whether a process, by its number, has not ended; some hosts keep the entries of ended ones for seconds."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start_server() -> None:
    """Start what all ranks are forked from, unless it runs."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "PYTHONPATH")}
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _enter(
    rank: int,
    size: int,
    environment: Mapping[str, str],
    folder: Path,
    function: Callable[..., int | None],
    arguments: tuple[Any, ...],
) -> None:
    gc.freeze()  # what the server imported: a collection would copy its pages
    os.environ.clear()
    os.environ.update(environment)
    if size > 1:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        os.environ.update({name: str(number) for name, number in numbers.items()})
    output = os.open(folder / f"rank_{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))  # noqa: SIM115
    torch.set_num_threads(1)
    sys.exit(function(*arguments))

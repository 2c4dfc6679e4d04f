"""Processes that read samples: Python code in several threads takes turns, and shares one set of random generators."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
import torch.multiprocessing as multiprocessing

from ...common.errors import TrainingFailed
from .sources import ItemSource

_PARENT_SECONDS = 0.5
"""How often a process looks whether the one that trains is still there: a killed one cannot tell."""

_sources: Mapping[str, ItemSource] = {}
"""In a process of the pool: what it reads."""


class SampleProcesses:
    """Processes, started as those of torch's `DataLoader` are: forked on Linux, which needs no data set that can be pickled."""

    def __init__(self, sources: Mapping[str, ItemSource], count: int) -> None:
        context = multiprocessing.get_context()
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(dict(sources),))
        # Started here and not when first wanted: a process must not be forked from a thread.
        try:
            self._pool.submit(os.getpid).result()
        except BrokenProcessPool:
            method = context.get_start_method()
            raise TrainingFailed(
                f"processes that read samples cannot be started ({method}); a script that is imported again in each of them "
                "calls train() below if __name__ == '__main__':, or --num-workers 0 reads in the process that trains"
            ) from None

    def fetch(self, split: str, indices: Sequence[int], keys: Sequence[int]) -> Any:
        """Return collated samples, made in one of the processes. What a sample raises is raised here."""
        try:
            return self._pool.submit(_fetch, split, indices, keys).result()
        except BrokenProcessPool:
            raise TrainingFailed(
                "a process that reads samples was ended from outside, perhaps for want of memory; --num-workers with fewer "
                "processes needs less, 0 reads in the process that trains"
            ) from None

    def close(self) -> None:
        """End the processes; what they have not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def why_no_processes(sources: Mapping[str, ItemSource]) -> str | None:
    """Return why the sources cannot be read in other processes; None: they can."""
    if multiprocessing.get_context().get_start_method() == "fork":
        return None
    try:
        ForkingPickler.dumps(dict(sources))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        return " ".join(str(error).split())
    return None


def _begin(sources: Mapping[str, ItemSource]) -> None:
    global _sources
    _sources = sources
    # The process that trains decides when to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End when the process that trains does. With a fork server the parent is the server, which outlives it."""
    trains = multiprocessing.parent_process()
    while os.getppid() == parent and (trains is None or trains.is_alive()):
        time.sleep(_PARENT_SECONDS)
    os._exit(1)


def _fetch(split: str, indices: Sequence[int], keys: Sequence[int]) -> Any:
    return _sources[split].fetch(indices, keys)

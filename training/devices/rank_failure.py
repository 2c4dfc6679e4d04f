"""Decide which rank reports an error: rank 0 if all failed alike, else the rank that failed."""

from __future__ import annotations

import time

import torch.distributed as dist

from ..common.errors import TrainingFailed, UserError
from .ranks import Ranks

_ALIKE_SECONDS = 2.0
"""Time for the other ranks to fail with the same error."""

_POLL_SECONDS = 0.05


def decide_reporter(error: Exception, ranks: Ranks) -> None:
    """Publish why this rank ends, and add to the error why others ended before.

    Sets `is_alone` of a `UserError` or `TrainingFailed`, for which it waits a moment for ranks that fail alike. Never raises.
    """
    if ranks.size == 1 or not dist.is_initialized():
        return
    others = [rank for rank in range(ranks.size) if rank != ranks.rank]
    try:
        store = dist.distributed_c10d._get_default_store()
        ended = [rank for rank in others if store.check([_key(rank)])]
        if isinstance(error, RuntimeError) and ended:
            # Perhaps the error only is that the connection to another rank is gone.
            for rank in ended:
                error.add_note(f"rank {rank} had ended with {store.get(_key(rank)).decode()}")
            return
        own = f"{type(error).__name__}: {error}"
        store.set(_key(ranks.rank), own)
        if not isinstance(error, (UserError, TrainingFailed)):
            return
        if ranks.is_main:
            # It may keep the store, which the others have yet to read.
            error.is_alone = not _wait_for(store, [f"{_key(rank)}/done" for rank in others])
        else:
            error.is_alone = not _wait_for(store, [_key(0)]) or store.get(_key(0)).decode() != own
            store.set(f"{_key(ranks.rank)}/done", "")
    except RuntimeError:
        return  # the rank that keeps the store has ended, and has reported why


def _key(rank: int) -> str:
    return f"slipway/failed/{rank}"


def _wait_for(store: dist.Store, keys: list[str]) -> bool:
    """Return whether the keys are set within a moment. Polled: the store's own wait prints to stderr when it times out."""
    deadline = time.monotonic() + _ALIKE_SECONDS
    while not store.check(keys):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True

"""Who tells of an error: where all ranks fail alike rank 0 does, and a rank that fails alone speaks for itself."""

from __future__ import annotations

import time

import torch.distributed as dist

from ..common.errors import TrainingFailed, UserError
from .ranks import Ranks

_ALIKE_SECONDS = 2.0
"""For other ranks to fail of the same, where they do."""

_POLL_SECONDS = 0.05


def decide_reporter(error: Exception, ranks: Ranks) -> None:
    """Tell the other ranks why this one ends, before it leaves them; note on the error what they have told.

    `is_alone` of a `UserError` or `TrainingFailed` is then known. Nothing is waited for but, with one of those, the ranks
    that fail alike, for a moment. Never raises.
    """
    if ranks.size == 1 or not dist.is_initialized():
        return
    others = [rank for rank in range(ranks.size) if rank != ranks.rank]
    try:
        store = dist.distributed_c10d._get_default_store()
        told = [rank for rank in others if store.check([_key(rank)])]
        if isinstance(error, RuntimeError) and told:
            # Perhaps it only says that the connection to another rank is gone.
            for rank in told:
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
        return  # whoever keeps the store has ended, and has said why


def _key(rank: int) -> str:
    return f"slipway/failed/{rank}"


def _wait_for(store: dist.Store, keys: list[str]) -> bool:
    """Return whether the keys are there soon. Asked again and again: the store's own wait tells on stderr of its end."""
    deadline = time.monotonic() + _ALIKE_SECONDS
    while not store.check(keys):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True

"""The data of a run, prepared once per host: its first process prepares or finds them, and all of its processes map them."""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
import zlib
from pathlib import Path

import torch

from ...common.errors import UserError
from ...devices.ranks import Ranks
from ...storage.entries import discard
from ..specs import DataSpec
from .cache import DataCache
from .prepare import Preparation, find_or_prepare
from .prepared import PreparedData


def prepare_data_once(
    spec: DataSpec, seed: int, ranks: Ranks, *, use_cache: bool
) -> tuple[PreparedData, Preparation | None]:
    """Return the data, mapped by all processes of a host where there are several, and how this rank prepared them.

    Data that are not cached lie in a temporary folder until all have mapped them. Raises `UserError` on every rank for data
    that cannot be read or written, and if hosts read different samples.
    """
    cache = DataCache.of_user() if use_cache else None
    if ranks.size == 1:
        alone = find_or_prepare(spec, seed, cache)
        return alone.data, alone
    token = ranks.broadcast_text(uuid.uuid4().hex)
    # One for each host, though hosts may share their temporary folder: each may have its own cache.
    folder = Path(tempfile.gettempdir()) / f"slipway-{token}-{_first_of_host(ranks)}"
    own: Preparation | None = None
    error: UserError | None = None
    try:
        if ranks.local_rank == 0:
            try:
                own = find_or_prepare(spec, seed, cache)
                _offer(own, folder)
            except UserError as caught:
                error = caught
            except OSError as caught:
                error = UserError(f"{folder}: {caught.strerror or caught}; point TMPDIR at a folder with room")
        ranks.raise_on_all_ranks(error)
        # An entry of the cache is mapped by the process that found it, which keeps it from being removed.
        data = own.data if own is not None and own.folder is not None else PreparedData.open_shared(folder)
        # Removed once every process has it mapped: the pages exist as long as the processes do.
        ranks.barrier()
    finally:
        if ranks.local_rank == 0:
            discard(folder)
    _check_hosts(data, spec.source, ranks)
    return data, own


def _first_of_host(ranks: Ranks) -> int:
    """Return the rank of this host's first process. All ranks must call it.

    Local ranks are not enough: torchrun numbers the processes host by host, but MPI may do so across the hosts. Names of
    hosts are not either: containers may share a name, and two of torchrun's agents a host.
    """
    host = zlib.crc32(f"{socket.gethostname()} {os.environ.get('GROUP_RANK')}".encode()) >> 1
    table = torch.zeros(ranks.size, 2, dtype=torch.int32, device=ranks.device)
    table[ranks.rank] = torch.tensor([host, ranks.local_rank], dtype=torch.int32)
    below = enumerate(ranks.sum_(table)[: ranks.rank + 1].tolist())
    firsts = (rank for rank, (other, local_rank) in below if other == host and local_rank == 0)
    return max(firsts, default=ranks.rank - ranks.local_rank)


def _offer(preparation: Preparation, folder: Path) -> None:
    """Put the data, or a link to them, into a folder for the other processes of the host. Raises `OSError`."""
    if preparation.folder is None:
        preparation.data.save(folder)
        return
    folder.symlink_to(preparation.folder, target_is_directory=True)


def _check_hosts(data: PreparedData, source: str, ranks: Ranks) -> None:
    """Raise `UserError` on every rank if one has other data than rank 0. All ranks must call it."""
    fingerprint = data.facts.fingerprint
    error = None
    if fingerprint != ranks.broadcast_text(fingerprint):
        error = UserError(f"{source}: rank {ranks.rank}'s host reads other samples than rank 0's")
    ranks.raise_on_all_ranks(error)

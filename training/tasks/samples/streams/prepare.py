"""Streams made ready by all ranks: one process of a host writes, the others wait; hosts must have the same samples."""

from __future__ import annotations

from collections.abc import Generator

import torch

from ....common.errors import UserError
from ....devices.interruption import Interrupted, StopRequest
from ....devices.ranks import Ranks
from .folder import StreamFolder
from .origin import origin_of
from .store import StoredStream
from .stream import Stream
from .write import HostWork


def prepare_stream(
    stream: Stream, split: str, where: str, ranks: Ranks, stop: StopRequest | None = None, *, is_collated: bool
) -> StoredStream:
    """Return the samples of a stream, written if they are not there. All ranks must call it, and get the same samples.

    Raises `UserError` on every rank for a stream that cannot be read or kept, that gives each rank a part, or other samples
    on another host; and `Interrupted` where a signal asked to stop.
    """
    _check_sharded(stream, where, ranks)
    folder = StreamFolder.of_user()
    work = HostWork(stream, folder, where, split, is_collated) if ranks.local_rank == 0 else None
    _work_together(_nothing() if work is None else work.turns(), where, ranks, stop)
    stored = None if work is None else work.stored
    content = ranks.broadcast_text("" if stored is None else stored.content)
    error: UserError | None = None
    if stored is None:
        try:
            stored = folder.open(content, {})
        except UserError as caught:
            error = UserError(f"{where}: {caught}")
        except (OSError, ValueError, KeyError):
            error = UserError(
                f"{where}: rank {ranks.rank} does not find the stream that another process has written below "
                f"{folder.folder}; let XDG_CACHE_HOME name one folder for all processes of a host"
            )
    elif stored.content != content:
        error = UserError(
            f"{where}: the host of rank {ranks.rank} read other samples from the stream than that of rank 0; let it give the "
            "same ones everywhere: the same files, sorted, and seeds of its own"
        )
    ranks.raise_on_all_ranks(error)
    assert stored is not None
    return stored


def _work_together(turns: Generator[None], where: str, ranks: Ranks, stop: StopRequest | None) -> None:
    """Take turns until all ranks have done their work: all agree on whether it goes on, failed, or is to stop."""
    error: UserError | None = None
    is_working = True
    while True:
        try:
            next(turns)
        except StopIteration:
            is_working = False
        except UserError as caught:
            error, is_working = caught, False
        should_stop = stop is not None and stop.name is not None
        votes = torch.tensor([is_working, error is not None, should_stop], dtype=torch.int32, device=ranks.device)
        working, failed, stopping = ranks.sum_(votes).tolist()
        if failed:
            turns.close()
            ranks.raise_on_all_ranks(error)
        if stopping and working:
            turns.close()
            raise Interrupted(
                f"{where}: stopped while the stream was written; start again, and it is read from its beginning"
            )
        if not working:
            return


def _nothing() -> Generator[None]:
    yield from ()


def _check_sharded(stream: Stream, where: str, ranks: Ranks) -> None:
    """Raise `UserError` on every rank if a number that the stream uses is the rank in each process: each has a part then."""
    if ranks.size == 1:
        return
    own = {name for name, value in origin_of(stream.source).items() if type(value) is int and value == ranks.rank}
    names = ranks.broadcast_text("\n".join(sorted(name for name in own if "\n" not in name))).split("\n")
    found = torch.tensor([name in own for name in names], dtype=torch.int32, device=ranks.device)
    everywhere = [name for name, count in zip(names, ranks.sum_(found).tolist(), strict=True) if count == ranks.size]
    if everywhere:
        raise UserError(
            f"{where}: {everywhere[0]} is the rank in each process, so each would read a part of the stream; give the complete "
            "stream in every process: it is read once, and the ranks share its samples"
        )

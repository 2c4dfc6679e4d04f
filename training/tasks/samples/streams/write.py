"""Writing a stream on one host: found under its key, or read to its end, sample by sample, with an eye on the disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from ....common.errors import UserError
from ....common.keyed_random import fold
from ....common.program.places import words_of
from ....storage.files import describe_os_error
from ..random_state import State, generator_states, kept_generators, seed_generators, set_generators
from ..structure import sizes_of
from .alone import as_if_alone
from .encoding import MOST_PARTS, Form, NotStorable
from .folder import Named, StreamFolder
from .origin import origin_name, origin_of
from .progress import WritingProgress, megabytes
from .store import StoredStream, StreamWriter
from .stream import Stream, begin, why_empty

logger = logging.getLogger("slipway")

_TURN_SECONDS = 0.5
"""How long one turn of the work takes, after which the ranks look at each other."""

_MOST_SAMPLES = 500_000
_MOST_OF_FREE = 0.5
"""What is taken of a stream that does not say its length: as many samples, or this share of the free space."""

_READING = 0x57EA


@dataclass
class HostWork:
    """The work of one process of a host; `turns` does it piece by piece, then `stored` is there."""

    stream: Stream
    folder: StreamFolder
    where: str
    split: str
    is_collated: bool
    """Whether samples are put together by torch's `default_collate`, which needs them to be of one structure."""
    stored: StoredStream | None = None
    _first: tuple[Any, Any] | None = None
    _free: int = 0
    _said: int | None = None
    """What the stream says its length is."""
    _states: State | None = field(default=None, repr=False)

    def turns(self) -> Generator[None]:
        """Find or write the stream; the time between two turns is for others. Raises `UserError`."""
        try:
            yield from self._turns()
        except OSError as error:
            raise UserError(
                f"{self.where}: the stream has to be written below {self.folder.folder}, which fails: "
                f"{describe_os_error(error)}; let XDG_CACHE_HOME name a folder that can be written and has room"
            ) from error

    def _turns(self) -> Generator[None]:
        if self.stream.is_endless and self.stream.samples is None:
            raise self._unbounded("has no end")
        self.folder.make()
        parts = (self.split, self.stream.samples, self.stream.key)
        name = origin_name(origin_of(self.stream.source), *parts)
        if self.stream.key is None:
            yield from self._write(name)
            return
        is_waiting = False
        while True:
            with self.folder.locked(name) as is_ours:
                named = self.folder.named(name)
                self.stored = self.folder.find(named.content) if named is not None else None
                if self.stored is not None:
                    logger.info(
                        "%s: %s samples that were written before under the key %r; another key reads the stream again",
                        self.where,
                        f"{len(self.stored):,}",
                        self.stream.key,
                    )
                    return
                if is_ours:
                    yield from self._write(name)
                    return
            if not is_waiting:
                logger.info("%s: another process writes the stream %r; waiting for it", self.where, self.stream.key)
            is_waiting = True
            time.sleep(_TURN_SECONDS)
            yield

    def _write(self, name: str) -> Generator[None]:
        self._free, self._said = self.folder.free_bytes(1), self.stream.length
        if self._free <= 0:
            raise self._no_room(1)
        total = self.stream.samples or self._said
        with kept_generators():
            seed_generators(fold(_READING))
            began = generator_states()
            self._states = began
        with self.folder.new() as (partial, hold), WritingProgress(self.where, total) as progress:
            with StreamWriter(partial, self._before_batch) as writer:
                for _ in self._read(writer):
                    progress.update(writer.count, writer.num_bytes)
                    yield
                self._check_end(writer.count)
                content = writer.finish()
            self.stored = self.folder.keep(partial, hold, content, writer.classes)
        self.folder.name(name, Named(content, self.stream.key))
        self._tell_end(writer, drew=began != self._states)

    def _read(self, writer: StreamWriter) -> Generator[None]:
        """Read the stream to its end or to its `samples`, as if this process were alone, with generators of its own."""
        iterator: Iterator[Any] | None = None
        is_done = False
        while not is_done:
            turn_ends = time.monotonic() + _TURN_SECONDS
            with as_if_alone(), kept_generators():
                assert self._states is not None
                set_generators(self._states)
                try:
                    if iterator is None:
                        iterator = begin(self.stream, self.where)
                    while not is_done and time.monotonic() < turn_ends:
                        is_done = self._read_one(iterator, writer)
                except UserError:
                    raise
                except Exception as error:
                    raise self._raised(error, writer.count) from error
                self._states = generator_states()
            yield

    def _read_one(self, iterator: Iterator[Any], writer: StreamWriter) -> bool:
        """Write the next sample; return whether it was the last, or there is none."""
        number = writer.count
        try:
            sample = next(iterator)
        except StopIteration:
            return True
        if self.stream.samples is None:
            self._check_length(number)
        try:
            form = writer.add(sample)
        except NotStorable as error:
            raise UserError(f"{self.where}: sample {number} cannot be kept: {error}") from error
        except OSError as error:
            raise _DiskError(error) from error
        if self.is_collated and form is not None:
            self._check_structure(form, sample, number)
        return writer.count == self.stream.samples

    def _check_length(self, count: int) -> None:
        """Raise `UserError` for one sample more than the stream may have."""
        said = self._said
        if said is None and count == _MOST_SAMPLES:
            raise self._unbounded(f"has not ended after {_MOST_SAMPLES:,} samples")
        if said is not None and count == said:
            raise UserError(
                f"{self.where}: the stream goes on after the {said:,} samples of its len(); say how many to take: "
                f"slipway.Stream(..., samples={said})"
            )

    def _check_structure(self, form: Form, sample: Any, number: int) -> None:
        """Raise `UserError` for a sample that `default_collate` could not put together with the first, or would cut."""
        if self._first is None:
            self._first = _skeleton(form), sizes_of(sample)
        elif _skeleton(form) != self._first[0]:
            raise UserError(
                f"{self.where}: sample {number} is {sizes_of(sample)}, but the first is {self._first[1]}; give samples of one "
                "structure, or a collate_fn that puts them together"
            )

    def _before_batch(self, writer: StreamWriter, num_bytes: int) -> None:
        """Raise `UserError` before the disk is full, or as soon as it can be seen that it will be."""
        written = writer.num_bytes + num_bytes
        total = self.stream.samples or self._said
        to_come = num_bytes if total is None else num_bytes + written // writer.count * max(0, total - writer.count)
        if self.folder.free_bytes(to_come) < to_come:
            raise self._no_room(writer.num_bytes + to_come)
        if total is None and written > self._free * _MOST_OF_FREE:
            raise self._unbounded(f"has not ended after {writer.count:,} samples, {megabytes(written)},")

    def _check_end(self, count: int) -> None:
        if count == 0:
            raise UserError(f"{self.where}: the stream {why_empty(self.stream)}")
        said, asked = self._said, self.stream.samples
        if asked is not None and count < asked:
            logger.warning("%s: the stream ended after %s of %s samples", self.where, f"{count:,}", f"{asked:,}")
        elif asked is None and said is not None and count < said:
            logger.warning("%s: the stream gave %s samples, but its len() is %s", self.where, f"{count:,}", f"{said:,}")

    def _tell_end(self, writer: StreamWriter, *, drew: bool) -> None:
        logger.info(
            "%s: %s samples of the stream are written, %s; they are read by number from now on",
            self.where,
            f"{writer.count:,}",
            megabytes(writer.num_bytes),
        )
        if drew:
            logger.info(
                "%s: the stream drew random numbers, which are the same in each epoch from now on; for new ones in each "
                "epoch give a data set with __len__ and __getitem__, and draw there",
                self.where,
            )

    def _raised(self, error: Exception, count: int) -> Exception:
        if isinstance(error, _DiskError):
            return error.args[0]
        return UserError(
            f"{self.where}: the stream raised {words_of(error)} after {count:,} samples; nothing is trained on a part of "
            "it: mend it, or end it there"
        )

    def _unbounded(self, what: str) -> UserError:
        return UserError(
            f"{self.where}: the stream {what} and does not say its length; say how many samples to take at most: "
            "slipway.Stream(..., samples=100_000)"
        )

    def _no_room(self, needed: int) -> UserError:
        free = self.folder.free_bytes(0)
        return UserError(
            f"{self.where}: the stream takes {'about ' if needed > 1 else ''}{megabytes(needed)}, but {self.folder.folder} has "
            f"room for {megabytes(max(0, free))}; free some, take fewer (slipway.Stream(..., samples=N)), or let "
            "XDG_CACHE_HOME name a folder with more"
        )


class _DiskError(Exception):
    pass


def _skeleton(form: Form) -> Any:
    """Return the structure of a form: the keys of dictionaries and records, the lengths of tuples; not the kinds of values."""
    if isinstance(form, str):
        return None
    kind, *rest = form
    if kind in ("dict", "ordered"):
        return frozenset(zip(rest[0], map(_skeleton, rest[1:]), strict=True))
    if kind == "dataclass":
        return (rest[0], *map(_skeleton, rest[2:]))
    if kind == "namedtuple":
        return (rest[0], *map(_skeleton, rest[1:]))
    return tuple(map(_skeleton, rest)) if kind == "tuple" and len(rest) < MOST_PARTS else None

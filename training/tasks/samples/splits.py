"""The data sets of a task, by split; streams among them are written to the disk once they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...common.errors import UserError
from ...devices.interruption import StopRequest
from ...devices.ranks import Ranks
from ..fingerprint import samples_fingerprint
from .sources import Collate, Source, make_source, split_named
from .streams.prepare import prepare_stream
from .streams.stream import Stream, as_stream


class Splits:
    """Makes a source of what is given for each split, and checks the lengths of its samples."""

    def __init__(
        self,
        given: Mapping[str, Any],
        lengths: Mapping[str, Sequence[int] | np.ndarray],
        collate: Collate | None,
        task: str,
        arguments: Sequence[str],
    ) -> None:
        self._task, self._collate = task, collate
        self.made: dict[str, Source] = {}
        """What can be read now."""
        self.contents: dict[str, str] = {}
        """The hashes of the streams that are written."""
        self._streams: dict[str, tuple[Stream, str]] = {}
        for word, data in given.items():
            if data is not None:
                split, where = split_named(word, f"{task}: unknown argument or split", arguments), f"{task}: {word}"
                if split in self.made or split in self._streams:
                    raise UserError(f"{task}: two data sets for {split}; give it once")
                if (stream := as_stream(data)) is not None:
                    self._streams[split] = stream, where
                    continue
                self.made[split] = make_source(data, collate, where)
                if self.made[split].size == 0:
                    raise UserError(f"{where} has no samples{'' if split == 'train' else '; leave it out'}")
        if "train" not in self.made and "train" not in self._streams:
            raise UserError(f"{task}: no data to train on; give train=")
        self.lengths = {split_named(word, f"{task}: lengths"): np.asarray(of) for word, of in lengths.items()}
        for split in self.lengths:
            if split not in self._streams:
                self._check_lengths(split)

    def make_ready(self, ranks: Ranks, stop: StopRequest | None = None) -> None:
        """Write the streams to the disk, or find them there. All ranks must call it."""
        for split, (stream, where) in list(self._streams.items()):
            stored = prepare_stream(stream, split, where, ranks, stop, is_collated=self._collate is None)
            self.made[split] = make_source(stored, self._collate, where)
            self.contents[split] = stored.content
            del self._streams[split]
            self._check_lengths(split)

    def all(self) -> Mapping[str, Source]:
        """Return the source of each split; streams that are not written yet are written by this process alone."""
        if self._streams:
            self.make_ready(Ranks.alone())
        return self.made

    def fingerprint(self, fetch: Callable[[str, torch.Tensor], Mapping[str, torch.Tensor]]) -> str | None:
        """Return a hash of all samples of the streams and of some of the other splits; None: there is no stream."""
        others = {split: one.size for split, one in self.all().items() if split not in self.contents}
        if not self.contents:
            return None
        parts = [samples_fingerprint(others, fetch), *(f"{split} {one}" for split, one in self.contents.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def _check_lengths(self, split: str) -> None:
        count = self.made[split].size if split in self.made else 0
        of = self.lengths.get(split)
        if of is not None and of.shape != (count,):
            raise UserError(f"{self._task}: lengths of {split}: {of.size:,} for {count:,} samples")

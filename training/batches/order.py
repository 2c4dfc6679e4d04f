"""The order of samples: a pure function of (seed, epoch, position), the same in every process of any world.

A keyed permutation by cycle walking (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002) over a
Feistel network whose halves are residues modulo about the square root of n. Nothing of size n is stored, and any position
is reached in constant time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..common.keyed_random import fold, fold_array, mix64_array

NUM_ROUNDS = 16
"""Rounds of the network: 16 are uniform for n from 5 up, 4 and 8 are not."""

_HALF = np.uint64(32)


def permute(positions: np.ndarray, num_samples: int, key: int) -> np.ndarray:
    """Return the image of each position in [0, num_samples) under the permutation named by `key`, as int64."""
    rows = math.isqrt(num_samples - 1) + 1
    columns = -(-num_samples // rows)
    round_keys = np.array([fold(key, number) for number in range(NUM_ROUNDS)], dtype=np.uint64)
    images = _network(positions.astype(np.uint64), rows, columns, round_keys)
    outside = np.flatnonzero(images >= num_samples)
    while outside.size:
        images[outside] = _network(images[outside], rows, columns, round_keys)
        outside = outside[images[outside] >= num_samples]
    return images.astype(np.int64)


def permute_each(positions: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return what `permute` returns, int64, where each position has a size, int64, and a key, uint64, of its own."""
    rows = np.sqrt(sizes - 1).astype(np.int64) + 1
    columns = -(-sizes // rows)
    firsts = fold_array(0, keys)
    round_keys = np.stack([fold_array(firsts, np.array([number])) for number in range(NUM_ROUNDS)])
    images = _network(positions.astype(np.uint64), rows, columns, round_keys)
    outside = np.flatnonzero(images >= sizes)
    while outside.size:
        images[outside] = _network(images[outside], rows[outside], columns[outside], round_keys[:, outside])
        outside = outside[images[outside] >= sizes[outside]]
    return images.astype(np.int64)


def _network(
    words: np.ndarray, rows: int | np.ndarray, columns: int | np.ndarray, round_keys: np.ndarray
) -> np.ndarray:
    left, right = np.divmod(words, np.uint64(columns))
    for number in range(0, NUM_ROUNDS, 2):
        left = _add_modulo(left, _residues(right, round_keys[number], rows), rows)
        right = _add_modulo(right, _residues(left, round_keys[number + 1], columns), columns)
    return left * np.uint64(columns) + right


def _residues(words: np.ndarray, key: np.uint64, modulus: int | np.ndarray) -> np.ndarray:
    """Return a keyed residue for each word; the high 32 bits of the hash are scaled, which is cheaper than a division."""
    return ((mix64_array(words ^ key) >> _HALF) * np.uint64(modulus)) >> _HALF


def _add_modulo(words: np.ndarray, residues: np.ndarray, modulus: int | np.ndarray) -> np.ndarray:
    words = words + residues
    np.subtract(words, np.uint64(modulus), out=words, where=words >= modulus)
    return words


@dataclass(frozen=True, kw_only=True)
class Order:
    """The order in which the samples of a data set are drawn, each once in an epoch.

    What is drawn is a number for each position: the sample's index, plus `num_samples` for each time that the epoch may
    have drawn the sample before. Here nothing is drawn twice, so it is the index; see `ClassOrder`.
    """

    seed: int
    num_samples: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_samples < 1 << 62:
            raise ValueError(f"an order needs between 1 and 2**62 samples, got {self.num_samples}")

    def indices(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Return what is drawn at positions [start, stop) of an epoch, or up to its end, int64."""
        positions = np.arange(start, min(stop, self.num_samples), dtype=np.int64)
        return permute(positions, self.num_samples, fold(self.seed, epoch))

    def num_steps(self, batch_size: int) -> int:
        """Return the optimizer steps of an epoch; the last one may be short."""
        return -(-self.num_samples // batch_size)

    def batch(self, epoch: int, step: int, batch_size: int) -> np.ndarray:
        """Return what one global batch draws: positions [step * batch_size, (step + 1) * batch_size)."""
        return self.indices(epoch, step * batch_size, (step + 1) * batch_size)


class BatchReader:
    """Reads the global batches of an epoch in turn, computing the order one block at a time.

    A block holds a bounded number of positions, whatever the size of the data set: the cost per batch is small and the
    memory constant. After a jump the first block is small, so that a seek is cheap.
    """

    def __init__(self, order: Order, batch_size: int, block_size: int = 8192, first_block_size: int = 512) -> None:
        self._order = order
        self._batch_size = batch_size
        self._most = max(1, block_size // batch_size)
        self._fewest = max(1, min(block_size, first_block_size) // batch_size)
        self._epoch, self._first_step, self._num_batches = -1, 0, 0
        self._block = np.empty(0, dtype=np.int64)

    def batch(self, epoch: int, step: int) -> np.ndarray:
        """Return what `Order.batch` returns, from the present block where it holds the step."""
        if epoch != self._epoch or not 0 <= step - self._first_step < self._num_batches:
            self._read(epoch, step)
        start = (step - self._first_step) * self._batch_size
        return self._block[start : start + self._batch_size]

    def _read(self, epoch: int, step: int) -> None:
        follows = epoch == self._epoch and step == self._first_step + self._num_batches
        goes_on = follows or (epoch == self._epoch + 1 and step == 0 and self._epoch >= 0)
        self._num_batches = min(self._most, 2 * self._num_batches) if goes_on else self._fewest
        start, size = step * self._batch_size, self._num_batches * self._batch_size
        self._block = self._order.indices(epoch, start, start + size)
        self._epoch, self._first_step = epoch, step

"""Random numbers that are functions of a key, so that every plan draws the same ones.

A key is a 64-bit word folded from seed, epoch and sample index. `mix64` is the finaliser of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014); the 32-bit rounds of `keep_mask` use the
multipliers of C. Wellons' `lowbias32` search. Neither depends on the device, the batch an element is in, or its padding.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def _signed(word: int, bits: int = 64) -> int:
    """Return the two's complement reading of an unsigned word: torch has signed integers only."""
    return word - (1 << bits) if word >> (bits - 1) else word


_GOLDEN_SIGNED, _FIRST_SIGNED, _SECOND_SIGNED = _signed(_GOLDEN), _signed(_FIRST), _signed(_SECOND)


def mix64(word: int) -> int:
    """Return a well-mixed 64-bit word, a bijection of the given one."""
    word &= _WORD
    word = ((word ^ (word >> 30)) * _FIRST) & _WORD
    word = ((word ^ (word >> 27)) * _SECOND) & _WORD
    return word ^ (word >> 31)


@functools.lru_cache(maxsize=1024)
def fold(*words: int) -> int:
    """Return one 64-bit key for a sequence of integers; the order of the words matters."""
    key = 0
    for word in words:
        key = mix64(key + _GOLDEN + word * _SECOND)
    return key


def mix64_array(words: np.ndarray) -> np.ndarray:
    """`mix64` of each element of a uint64 array."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
    return words ^ (words >> np.uint64(31))


def mix64_tensor(words: torch.Tensor) -> torch.Tensor:
    """`mix64` of each element of an int64 tensor, read as unsigned."""
    words = (words ^ ((words >> 30) & ((1 << 34) - 1))) * _FIRST_SIGNED
    words = (words ^ ((words >> 27) & ((1 << 37) - 1))) * _SECOND_SIGNED
    return words ^ ((words >> 31) & ((1 << 33) - 1))


def sample_keys(seed: int, epoch: int, indices: np.ndarray) -> torch.Tensor:
    """Return a key for each sample, int64 [samples], a pure function of (seed, epoch, sample index)."""
    base = np.uint64(fold(seed, epoch))
    keys = mix64_array(base + indices.astype(np.uint64) * np.uint64(_GOLDEN))
    return torch.from_numpy(keys.view(np.int64))


def uniform(keys: torch.Tensor, stream: int, *counters: torch.Tensor) -> torch.Tensor:
    """Return numbers in [0, 1) in float64, one for each (key, counters), independent between streams.

    Keys are int64 of any shape, counters int64 tensors that broadcast with them: `uniform(keys[:, None], 3, frames)`.
    """
    words = mix64_tensor(keys + _signed(fold(stream)))
    for counter in counters:
        words = mix64_tensor(words + counter * _GOLDEN_SIGNED)
    return ((words >> 11) & ((1 << 53) - 1)).to(torch.float64) * 2.0**-53


@functools.lru_cache(maxsize=8)
def _element_words(frames: int, words_per_frame: int, device: torch.device) -> torch.Tensor:
    """Return a constant word for each place of a sample, int32 [frames, words_per_frame], the same for any padding."""
    words = torch.arange(frames * words_per_frame, dtype=torch.int32, device=device)
    return (words * _signed(0x9E3779B1, 32)).view(frames, words_per_frame)


def element_words(keys: torch.Tensor, stream: int, frames: int, words_per_frame: int) -> torch.Tensor:
    """Return 32 random bits for each element of each sample, int32 [samples, frames, words_per_frame].

    `keys` is int64 [samples]. A word depends on the sample's key, the stream and the element's place in its own sample.
    """
    stream_keys = mix64_tensor(keys + _signed(fold(stream, 0x5EED))).to(torch.int32)
    words = _element_words(frames, words_per_frame, keys.device) ^ stream_keys[:, None, None]
    words.mul_(0x7FEB352D)
    words.bitwise_xor_((words >> 15).bitwise_and_(0x1FFFF))
    words.mul_(_signed(0x846CA68B, 32))
    words.bitwise_xor_((words >> 16).bitwise_and_(0xFFFF))
    words.mul_(_signed(0x9E3779B1, 32))
    return words.bitwise_xor_((words >> 16).bitwise_and_(0xFFFF))


def keep_mask(keys: torch.Tensor, layer: int, frames: int, channels: int, drop_probability: float) -> torch.Tensor:
    """Return which elements a dropout layer keeps, bool [samples, frames, channels].

    Two elements share a hashed word, 16 bits each, so the probability is a multiple of 2**-16.
    """
    halves = element_words(keys, layer, frames, (channels + 1) // 2).view(torch.int16)[..., :channels]
    return halves >= round(drop_probability * 2**16) - 2**15


def element_noise(keys: torch.Tensor, stream: int, frames: int, channels: int) -> torch.Tensor:
    """Return noise of mean 0 and standard deviation 1, float32 [samples, frames, channels].

    The sum of a word's four bytes (Irwin-Hall, within 3.5 standard deviations): near normal, without transcendentals.
    """
    words = element_words(keys, stream, frames, channels)
    pairs = (words & 0x00FF00FF) + ((words >> 8) & 0x00FF00FF)
    sums = (pairs & 0xFFFF) + (pairs >> 16)
    return (sums - 510).to(torch.float32) * (1.0 / (4 * (256**2 - 1) / 12) ** 0.5)

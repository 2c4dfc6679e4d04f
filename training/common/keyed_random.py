"""Random numbers that are functions of a key, so that every plan draws the same ones.

A key is a 64-bit word folded from seed, epoch and sample index. `mix64` is the finaliser of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014); the 32-bit rounds of `keep_masks` use the
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
_GOLDEN_32, _FIRST_32, _SECOND_32 = 0x9E3779B1, 0x7FEB352D, 0x846CA68B
_ELEMENTS = 0x5EED
"""Folded into the streams whose elements have words of 32 bits."""
_RING_BITS = 17
_MOST_KEPT_WORDS = 1 << 15


def _signed(word: int, bits: int = 64) -> int:
    """Return the two's complement reading of an unsigned word: torch has signed integers only."""
    return word - (1 << bits) if word >> (bits - 1) else word


_BY_30, _BY_27, _BY_31 = np.uint64(30), np.uint64(27), np.uint64(31)
_GOLDEN_UNSIGNED, _FIRST_UNSIGNED, _SECOND_UNSIGNED = np.uint64(_GOLDEN), np.uint64(_FIRST), np.uint64(_SECOND)
_FIRST_SIGNED, _SECOND_SIGNED = _signed(_FIRST), _signed(_SECOND)


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
    """Return `mix64` of each element of a uint64 array."""
    words = words ^ (words >> _BY_30)
    words *= _FIRST_UNSIGNED
    words ^= words >> _BY_27
    words *= _SECOND_UNSIGNED
    words ^= words >> _BY_31
    return words


def fold_array(key: int | np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return `fold(*before, word)` for each word, uint64, where `key` is `fold(*before)`, or one such key for each word."""
    return mix64_array(words.astype(np.uint64) * _SECOND_UNSIGNED + _GOLDEN_UNSIGNED + np.asarray(key, dtype=np.uint64))


def mix64_tensor(words: torch.Tensor) -> torch.Tensor:
    """Return `mix64` of each element of an int64 tensor, read as unsigned."""
    words = (words ^ ((words >> 30) & ((1 << 34) - 1))) * _FIRST_SIGNED
    words = (words ^ ((words >> 27) & ((1 << 37) - 1))) * _SECOND_SIGNED
    return words ^ ((words >> 31) & ((1 << 33) - 1))


def sample_keys(seed: int, epoch: int, indices: np.ndarray) -> torch.Tensor:
    """Return a key for each sample, int64 [samples], a pure function of (seed, epoch, sample index)."""
    base = np.uint64(fold(seed, epoch))
    words = indices.astype(np.uint64)
    words *= _GOLDEN_UNSIGNED
    words += base
    return torch.from_numpy(mix64_array(words).view(np.int64))


@functools.lru_cache(maxsize=64)
def _stream_constants(streams: tuple[int, ...]) -> np.ndarray:
    return np.array([fold(stream) for stream in streams], dtype=np.uint64)


def stream_words(keys: torch.Tensor, streams: tuple[int, ...]) -> np.ndarray:
    """Return a word for each (key, stream), uint64 [samples, streams], from `keys`, int64 [samples], on the host."""
    return mix64_array(_unsigned(keys)[:, None] + _stream_constants(streams))


def _unsigned(keys: torch.Tensor) -> np.ndarray:
    return keys.numpy().view(np.uint64)


def counted_words(words: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """Return a word for each (word, counter): uint64 and integers that broadcast with them."""
    return mix64_array(words + counters.astype(np.uint64) * _GOLDEN_UNSIGNED)


def uniform(words: np.ndarray) -> np.ndarray:
    """Return words as numbers in [0, 1), float64, independent between samples, streams and counters.

    `uniform(counted_words(stream_words(keys, (3,)), np.arange(5)))` is 5 numbers for each sample.
    """
    return (words >> np.uint64(11)) * 2.0**-53


@functools.lru_cache(maxsize=64)
def _element_streams(streams: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor([_signed(fold(stream, _ELEMENTS)) for stream in streams], device=device)


@functools.lru_cache(maxsize=64)
def _channel_words(count: int, device: torch.device) -> torch.Tensor:
    """Return a constant word for each pair of channels, int32 [count]."""
    return torch.arange(count, dtype=torch.int32, device=device) * _signed(_GOLDEN_32, 32)


def _mix32(words: torch.Tensor) -> torch.Tensor:
    """Mix words, int32, in place."""
    words.mul_(_FIRST_32)
    words.bitwise_xor_((words >> 15).bitwise_and_(0x1FFFF))
    words.mul_(_signed(_SECOND_32, 32))
    words.bitwise_xor_((words >> 16).bitwise_and_(0xFFFF))
    words.mul_(_signed(_GOLDEN_32, 32))
    return words.bitwise_xor_((words >> 16).bitwise_and_(0xFFFF))


def keep_masks(keys: torch.Tensor, layers: tuple[int, ...], channels: int, drop_probability: float) -> torch.Tensor:
    """Return which channels of each sample some dropout layers keep, bool [layers, samples, channels].

    `keys` is int64 [samples]. A channel's word depends on the sample's key, the layer and the channel. Two channels share a
    hashed word, 16 bits each, so the probability is a multiple of 2**-16.
    """
    stream_keys = mix64_tensor(keys + _element_streams(layers, keys.device)[:, None]).to(torch.int32)
    count = (channels + 1) // 2
    # Those of large activations are not kept.
    words_of = _channel_words if count <= _MOST_KEPT_WORDS else _channel_words.__wrapped__
    words = words_of(count, keys.device) ^ stream_keys[..., None]
    halves = _mix32(words).view(torch.int16)[..., :channels]
    return halves >= round(drop_probability * 2**16) - 2**15


@functools.lru_cache(maxsize=8)
def _noise_windows(channels: int) -> np.ndarray:
    """Return every window of a ring of noise, float32 [ring, channels], a view.

    A number is the sum of a word's eight bytes (Irwin-Hall, within 5 standard deviations): near normal, from integers, so
    the same on every machine.
    """
    places = np.arange(1, 1 + (1 << _RING_BITS), dtype=np.uint64)
    sums = mix64_array(places * _GOLDEN_UNSIGNED).view(np.uint8).reshape(-1, 8).sum(axis=1, dtype=np.int64)
    noise = ((sums - 8 * 255 / 2) * (8 * (256**2 - 1) / 12) ** -0.5).astype(np.float32)
    ring = np.resize(noise, len(noise) + channels - 1)
    return np.lib.stride_tricks.sliding_window_view(ring, channels)


def row_noise(keys: torch.Tensor, stream: int, sample: np.ndarray, frame: np.ndarray, channels: int) -> np.ndarray:
    """Return noise of mean 0 and standard deviation 1 for samples end to end, float32 [rows, channels].

    `keys` is int64 [samples] on the host; `sample` and `frame` say what each row is, int64 [rows]. A row's key, the stream and
    its frame choose where in a fixed ring of 2**17 numbers it is read, which takes a tenth of the time of drawing each number.
    """
    words = counted_words(stream_words(keys, (stream,))[:, 0].take(sample), frame)
    return _noise_windows(channels)[(words >> np.uint64(64 - _RING_BITS)).astype(np.intp)]

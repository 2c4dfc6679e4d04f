"""Keyed randomness is random enough, and a function of its key alone."""

from __future__ import annotations

import numpy as np
import torch

from slipway.training.common.keyed_random import (
    counted_words,
    fold,
    keep_masks,
    mix64,
    mix64_array,
    mix64_tensor,
    row_noise,
    sample_keys,
    stream_words,
    uniform,
)


def make_keys(count: int = 64, seed: int = 1, epoch: int = 2) -> torch.Tensor:
    return sample_keys(seed, epoch, np.arange(count))


def test_python_numpy_and_torch_mix_alike() -> None:
    words = [0, 1, 2**63, 2**64 - 1, 0x123456789ABCDEF]
    expected = [mix64(word) for word in words]
    array = np.array(words, dtype=np.uint64)
    assert mix64_array(array).tolist() == expected
    mixed = mix64_tensor(torch.from_numpy(array.view(np.int64)))
    assert mixed.numpy().view(np.uint64).tolist() == expected


def test_keys_differ_between_samples_epochs_and_seeds() -> None:
    keys = torch.cat([make_keys(), make_keys(epoch=3), make_keys(seed=2)])
    assert len(set(keys.tolist())) == 3 * 64
    assert fold(1, 2) != fold(2, 1)


def test_a_mask_does_not_depend_on_the_batch_or_the_other_layers() -> None:
    keys = make_keys()
    whole = keep_masks(keys, (3, 4, 1000), 97, 0.3)
    assert torch.equal(keep_masks(keys[10:20], (4,), 97, 0.3)[0], whole[1, 10:20])


def test_a_mask_drops_its_share_independently_of_channel_sample_and_layer() -> None:
    kept = keep_masks(make_keys(512), tuple(range(8)), 97, 0.3).double()
    deviation = (0.3 * 0.7 / kept.numel()) ** 0.5
    assert abs(kept.mean() - 0.7) < 5 * deviation
    centred = kept - 0.7
    for first, second in (
        (centred[:-1], centred[1:]),
        (centred[:, :-1], centred[:, 1:]),
        (centred[:, :, :-1], centred[:, :, 1:]),
    ):
        correlation = (first * second).mean() / 0.21
        assert abs(correlation) < 5 / first.numel() ** 0.5


def test_masks_and_draws_are_those_of_runs_before() -> None:
    keys = make_keys(2)
    assert keep_masks(keys, (3, 8), 6, 0.5).int().tolist() == [
        [[0, 1, 1, 0, 1, 0], [1, 0, 0, 1, 0, 0]],
        [[0, 0, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0]],
    ]
    units = [[0.16307975441623035, 0.993099549861532], [0.05472259749823949, 0.5040351550526071]]
    assert uniform(stream_words(keys, (0, 7))).tolist() == units
    counted = [[0.3170318934219596, 0.9910713107942669], [0.19482052808970673, 0.13344478112445646]]
    assert uniform(counted_words(stream_words(keys, (9,)), np.arange(2))).tolist() == counted
    noise = row_noise(keys, 8, np.array([0, 1, 1]), np.array([0, 0, 4]), 2)
    expected = [[1.0668757, 0.6458665], [0.220073, 0.53583], [0.7606872, -0.6219455]]
    assert np.allclose(noise, expected, atol=1e-6)


def test_uniform_numbers_are_uniform_and_streams_independent() -> None:
    words = stream_words(make_keys(), (3, 4))
    values, other = (uniform(counted_words(words[:, stream, None], np.arange(1000))) for stream in (0, 1))
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    chi_squared = ((counts - 3200) ** 2 / 3200).sum()
    assert chi_squared < 19 + 5 * (2 * 19) ** 0.5
    assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.02


def make_noise(keys: torch.Tensor, frames: int, channels: int) -> np.ndarray:
    """Return noise of clips of equal length, [samples, frames, channels]."""
    sample, frame = np.arange(len(keys)).repeat(frames), np.tile(np.arange(frames), len(keys))
    return row_noise(keys, 5, sample, frame, channels).reshape(len(keys), frames, channels)


def test_noise_has_mean_zero_and_deviation_one() -> None:
    values = make_noise(make_keys(), 50, 63)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    neighbours = np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_noise_does_not_depend_on_the_batch_or_the_length() -> None:
    keys = make_keys()
    assert np.array_equal(make_noise(keys, 50, 63)[10:20, :40], make_noise(keys[10:20], 40, 63))

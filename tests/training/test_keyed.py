"""Keyed randomness is random enough, and a function of its key alone."""

from __future__ import annotations

import numpy as np
import torch

from training.keyed import (
    element_noise,
    fold,
    keep_mask,
    mix64,
    mix64_array,
    mix64_tensor,
    sample_keys,
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


def test_a_mask_does_not_depend_on_the_batch_or_the_padding() -> None:
    keys = make_keys()
    whole = keep_mask(keys, 3, 40, 96, 0.3)
    assert torch.equal(keep_mask(keys[10:20], 3, 40, 96, 0.3), whole[10:20])
    assert torch.equal(keep_mask(keys, 3, 55, 96, 0.3)[:, :40], whole)


def test_a_mask_drops_its_share_independently_of_place_sample_and_layer() -> None:
    keys = make_keys()
    kept = keep_mask(keys, 3, 40, 97, 0.3).double()
    deviation = (0.3 * 0.7 / kept.numel()) ** 0.5
    assert abs(kept.mean() - 0.7) < 5 * deviation
    centred = kept - 0.7
    other_layer = keep_mask(keys, 4, 40, 97, 0.3).double() - 0.7
    for first, second in (
        (centred, other_layer),
        (centred[:, :, :-1], centred[:, :, 1:]),
        (centred[:, :-1], centred[:, 1:]),
        (centred[:-1], centred[1:]),
    ):
        correlation = (first * second).mean() / 0.21
        assert abs(correlation) < 5 / first.numel() ** 0.5


def test_uniform_numbers_are_uniform_and_streams_independent() -> None:
    keys, frames = make_keys(), torch.arange(1000)
    values = uniform(keys[:, None], 3, frames)
    assert values.min() >= 0
    assert values.max() < 1
    counts = torch.histc(values, bins=20, min=0, max=1)
    chi_squared = ((counts - 3200) ** 2 / 3200).sum()
    assert chi_squared < 19 + 5 * (2 * 19) ** 0.5
    other = uniform(keys[:, None], 4, frames)
    assert abs(torch.corrcoef(torch.stack([values.flatten(), other.flatten()]))[0, 1]) < 0.02


def test_noise_has_mean_zero_and_deviation_one() -> None:
    values = element_noise(make_keys(), 5, 50, 63)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02

"""The bundled model and its augmentation are functions of the sample alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.data.augment import augment_clips
from training.data.features import landmark_features, num_features
from training.data.landmarks import LandmarkLayout
from training.data.normalise import normalise_clips
from training.data.store import RaggedStore
from training.keyed import sample_keys
from training.models.layers import soft_maximum
from training.models.sign_encoder import SignEncoder
from training.recipe import Augmentation, ModelSpec
from training.stages import AUGMENTATION

LAYOUT = LandmarkLayout(
    num_landmarks=6, num_coords=3, parts=((0, 3, 0), (3, 6, 3)), mirror=(3, 4, 5, 0, 1, 2), center=(0,), scale=((0, 1),)
)
EVERYTHING = Augmentation(**{**AUGMENTATION.__dict__, "flip_probability": 0.5})


def make_store(count: int = 12) -> RaggedStore:
    random = np.random.default_rng(3)
    offsets = np.concatenate([[0], np.cumsum(random.integers(3, 20, count))])
    values = random.normal(size=(offsets[-1], 6, 3)).astype(np.float32)
    values[random.random(values.shape[:2]) < 0.1] = np.nan
    return RaggedStore(
        values=torch.from_numpy(values),
        offsets=torch.from_numpy(offsets),
        labels=torch.from_numpy(random.integers(0, 4, count)),
    )


def make_model() -> SignEncoder:
    torch.manual_seed(0)
    model = SignEncoder(LAYOUT, 4, ModelSpec(width=32, kernel_size=5)).double()
    model.set_dropout(0.3)
    return model


def test_scores_do_not_change_with_padding_or_company() -> None:
    store, model = make_store(), make_model()
    indices = torch.arange(12)
    keys = sample_keys(0, 1, indices.numpy())
    landmarks, lengths = store.fetch(indices)
    together = model(landmarks, lengths, keys)
    for index in range(12):
        clip, length = store.fetch(indices[index : index + 1])
        assert torch.allclose(model(clip, length, keys[index : index + 1]), together[index], atol=1e-12)
    padded = torch.cat([landmarks, torch.full((12, 9, 6, 3), 1e6)], dim=1)
    assert torch.allclose(model(padded, lengths, keys), together, atol=1e-12)


def test_the_forward_pass_leaves_its_input_alone() -> None:
    landmarks, lengths = make_store().fetch(torch.arange(5))
    before = landmarks.clone()
    make_model()(landmarks, lengths)
    assert torch.equal(landmarks.nan_to_num(9.0), before.nan_to_num(9.0))


def test_dropout_is_on_with_keys_and_off_without() -> None:
    landmarks, lengths = make_store().fetch(torch.arange(5))
    model = make_model()
    first, second = (model(landmarks, lengths, sample_keys(0, epoch, np.arange(5))) for epoch in (0, 1))
    assert not torch.allclose(first, second)
    assert torch.equal(model(landmarks, lengths), model(landmarks, lengths))


def test_every_parameter_has_a_gradient_that_is_not_rounding() -> None:
    landmarks, lengths = make_store().fetch(torch.arange(12))
    model = make_model()
    torch.nn.functional.cross_entropy(model(landmarks, lengths), torch.arange(12) % 4).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-8, name


def test_pooling_does_not_let_rounding_choose_where_the_gradient_goes() -> None:
    def gradient(values: list[float]) -> torch.Tensor:
        inputs = torch.tensor(values, dtype=torch.float64)[None, :, None].requires_grad_()
        mask = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)[None, :, None]
        soft_maximum(inputs, mask).sum().backward()
        assert inputs.grad is not None
        return inputs.grad.flatten()

    first, second = gradient([2.0, 2.0 + 1e-12, -1.0, 9.0]), gradient([2.0 + 1e-12, 2.0, -1.0, 9.0])
    assert torch.allclose(first, second, atol=1e-9)
    assert first[:2].min() > 0.4
    assert first[3] == 0.0


def test_a_clip_without_any_point_is_survived() -> None:
    landmarks = torch.full((2, 4, 6, 3), math.nan)
    scores = make_model()(landmarks, torch.tensor([4, 2]))
    assert scores.isfinite().all()


def test_augmentation_depends_on_the_clip_and_its_key_alone() -> None:
    store = make_store()
    indices = torch.arange(12)
    keys = sample_keys(0, 5, indices.numpy())
    together, lengths = augment_clips(*store.fetch(indices), keys, EVERYTHING, LAYOUT)
    for index in range(12):
        chosen = slice(index, index + 1)
        alone, length = augment_clips(*store.fetch(indices[chosen]), keys[chosen], EVERYTHING, LAYOUT)
        assert length.item() == lengths[index]
        assert torch.allclose(alone[0, : int(length)], together[index, : int(length)], atol=1e-6, equal_nan=True)


def test_each_strength_changes_the_clip_and_zero_does_not() -> None:
    store = make_store()
    landmarks, lengths = store.fetch(torch.arange(12))
    keys = sample_keys(0, 5, np.arange(12))
    same, same_lengths = augment_clips(landmarks, lengths, keys, Augmentation(), LAYOUT)
    assert same is landmarks
    assert same_lengths is lengths
    for name, strength in EVERYTHING.__dict__.items():
        # Stronger than in use, so that one draw is sure to show.
        only = Augmentation(**{name: max(0.5, strength)})
        changed, new_lengths = augment_clips(landmarks, lengths, keys, only, LAYOUT)
        frames = min(changed.shape[1], landmarks.shape[1])
        equal = torch.equal(changed[:, :frames].nan_to_num(9.0), landmarks[:, :frames].nan_to_num(9.0))
        assert not equal or not torch.equal(new_lengths, lengths), name


def test_a_rotation_keeps_distances_and_a_flip_swaps_sides() -> None:
    landmarks, lengths = make_store().fetch(torch.arange(12))
    keys = sample_keys(0, 5, np.arange(12))
    rotated, _ = augment_clips(landmarks, lengths, keys, Augmentation(rotation_degrees=40), LAYOUT)
    before, after = (torch.linalg.norm(clip[:, :, 0] - clip[:, :, 1], dim=-1) for clip in (landmarks, rotated))
    assert torch.allclose(before, after, atol=1e-4, equal_nan=True)
    flipped, _ = augment_clips(landmarks, lengths, keys, Augmentation(flip_probability=1.0), LAYOUT)
    expected = landmarks[:, :, [3, 4, 5, 0, 1, 2]] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(flipped, expected, equal_nan=True)


def test_channels_that_are_not_positions_are_not_moved() -> None:
    layout = LandmarkLayout(num_landmarks=6, num_coords=1, spatial=False)
    values = torch.randn(3, 5, 6, 1)
    lengths, keys = torch.tensor([5, 4, 3]), sample_keys(0, 0, np.arange(3))
    only = Augmentation(rotation_degrees=40, scale=0.5, shift=0.5, flip_probability=1.0)
    assert torch.equal(augment_clips(values, lengths, keys, only, layout)[0], values)
    assert np.array_equal(normalise_clips(values[0].numpy(), np.array([0, 5]), layout), values[0].numpy())


def test_normalised_clips_do_not_know_where_and_how_large_they_were() -> None:
    store = make_store()
    values, offsets = store.values.numpy(), store.offsets.numpy()
    normalised = normalise_clips(values, offsets, LAYOUT)
    moved = normalise_clips(values * 7.0 + np.array([100.0, -50.0, 3.0], dtype=np.float32), offsets, LAYOUT)
    assert np.allclose(normalised, moved, atol=1e-3, equal_nan=True)
    assert np.array_equal(np.isnan(normalised), np.isnan(values))
    first = normalised[offsets[0] : offsets[1]]
    assert np.abs(np.nanmean(first[:, 0], axis=0)).max() < 1e-5
    distance = np.nanmean(np.linalg.norm(first[:, 0] - first[:, 1], axis=-1))
    assert distance == pytest.approx(1.0, abs=1e-5)


def test_features_are_positions_motion_and_presence() -> None:
    landmarks = torch.zeros(1, 4, 6, 3)
    landmarks[0, :, 2, 0] = torch.tensor([0.0, 1.0, 4.0, 9.0])
    landmarks[0, 1, 5] = math.nan
    features = landmark_features(landmarks, LAYOUT)
    assert features.shape == (1, 4, num_features(LAYOUT))
    x_of_2 = 2 * 3
    velocity, acceleration = 18 + 18 + x_of_2, 18 + 18 + 18 + x_of_2
    assert features[0, :, x_of_2].tolist() == [0.0, 1.0, 4.0, 9.0]
    assert features[0, :, velocity].tolist() == [0.5, 2.0, 4.0, 2.5]
    assert features[0, 1:3, acceleration].tolist() == [2.0, 2.0]
    assert features[0, :, -1].tolist() == [1.0, 0.0, 1.0, 1.0]
    assert features.isfinite().all()


def test_a_store_fetches_any_clips_padded_with_their_last_frame(tmp_path) -> None:  # type: ignore[no-untyped-def]
    store = make_store()
    store.save(tmp_path)
    for opened in (store, RaggedStore.open_shared(tmp_path)):
        landmarks, lengths = opened.fetch(torch.tensor([7, 2]))
        for row, index in enumerate((7, 2)):
            clip = store.values[store.offsets[index] : store.offsets[index + 1]]
            assert lengths[row] == len(clip)
            assert torch.equal(landmarks[row, : len(clip)].nan_to_num(9.0), clip.nan_to_num(9.0))
            assert torch.equal(landmarks[row, -1].nan_to_num(9.0), clip[-1].nan_to_num(9.0))

"""The bundled model and its augmentation are functions of the sample alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.padded_encoder import PaddedEncoder, pad
from slipway.training.common.keyed_random import sample_keys
from slipway.training.config.recipe import Stage
from slipway.training.data.augment import augment_clips
from slipway.training.data.features import end_pairs, landmark_features, num_features
from slipway.training.data.landmarks import SPLITS, LandmarkLayout
from slipway.training.data.layouts.mediapipe import compose
from slipway.training.data.normalise import normalise_clips, with_place_and_size
from slipway.training.data.packing import Rows, real_frames
from slipway.training.data.prepared.prepared import DataFacts, PreparedData
from slipway.training.data.prepared.store import RaggedStore
from slipway.training.data.specs import Augmentation
from slipway.training.tasks.sign.encoder import SignEncoder
from slipway.training.tasks.sign.layers import soft_maximum
from slipway.training.tasks.sign.options import AUGMENTATION, ModelSpec, SignStage
from slipway.training.tasks.sign.task import SignTask
from slipway.training.tasks.task import Batch

LAYOUT = LandmarkLayout(
    num_landmarks=6,
    num_coords=3,
    parts=((0, 3, 0), (3, 6, 3)),
    mirror=(3, 4, 5, 0, 1, 2),
    center=(0,),
    scale=((0, 1),),
    bones=((0, 1), (1, 2), (3, 4), (4, 5)),
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


def fetch_padded(store: RaggedStore, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return clips padded with zeros, [clips, frames, landmarks, coords], and their lengths."""
    rows, lengths = store.fetch(indices)
    return pad(rows, lengths), lengths


def make_task() -> SignTask:
    """Return the sign task on the clips of `make_store`."""
    facts = DataFacts(
        name="random clips",
        source_format="none",
        synthetic=True,
        class_names=tuple("abcd"),
        layout=LAYOUT,
        split_mode="none",
        notes=(),
        fingerprint="",
    )
    data = PreparedData(store=make_store(), indices=dict.fromkeys(SPLITS, torch.arange(12)), facts=facts)
    return SignTask(data, ModelSpec(width=32, kernel_size=5))


def gradients(model: torch.nn.Module, scores: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the scores' squares, flattened."""
    model.zero_grad()
    scores.square().sum().backward()
    found = [parameter.grad for parameter in model.parameters()]
    return torch.cat([gradient.flatten() for gradient in found if gradient is not None])


def test_scores_do_not_change_with_padding_or_company() -> None:
    store, model = make_store(), make_model()
    indices = torch.arange(12)
    keys = sample_keys(0, 1, indices.numpy())
    landmarks, lengths = fetch_padded(store, indices)
    together = model(landmarks, lengths, keys)
    for index in range(12):
        clip, length = fetch_padded(store, indices[index : index + 1])
        assert torch.allclose(model(clip, length, keys[index : index + 1]), together[index], atol=1e-12)
    padded = torch.cat([landmarks, torch.full((12, 9, 6, 3), 1e6)], dim=1)
    assert torch.allclose(model(padded, lengths, keys), together, atol=1e-12)


def test_clips_end_to_end_have_scores_and_gradients_of_padded_ones() -> None:
    task, model = make_task(), make_model()
    indices = torch.arange(12)
    keys = sample_keys(0, 1, indices.numpy())
    batch = Batch(indices, keys, task.fetch("train", indices))
    landmarks, lengths = fetch_padded(make_store(), indices)
    scores = task.forward(model, batch)
    by_hand = PaddedEncoder(model)(landmarks, lengths, keys)
    assert torch.allclose(scores, by_hand, atol=1e-12)
    expected = gradients(model, by_hand)
    assert expected.abs().max() > 0.1
    assert torch.allclose(gradients(model, scores), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same(dtype: torch.dtype) -> None:
    task, model = make_task(), make_model().float()
    batch = Batch(torch.arange(12), sample_keys(0, 1, np.arange(12)), task.fetch("train", torch.arange(12)))
    exact = task.forward(model, batch)
    with torch.autocast("cpu", dtype=dtype):
        scores = task.forward(model, batch)
    assert scores.dtype == dtype
    assert torch.allclose(scores.float(), exact, atol=0.1)
    assert gradients(model, scores.float()).isfinite().all()


def test_computing_again_in_the_backward_pass_changes_nothing() -> None:
    task, model, recomputing = make_task(), make_model(), make_model()
    recomputing.gradient_checkpointing_enable()
    batch = Batch(torch.arange(12), sample_keys(0, 1, np.arange(12)), task.fetch("train", torch.arange(12)))
    first, second = (gradients(each, task.forward(each, batch)) for each in (model, recomputing))
    assert torch.equal(first, second)


def test_a_pass_never_waits_for_the_device() -> None:
    task, model = make_task(), make_model().to("meta")
    tensors = {name: tensor.to("meta") for name, tensor in task.fetch("train", torch.arange(12)).items()}
    # Tensors without values: what asked for one would fail.
    scores = task.forward(model, Batch(torch.arange(12), sample_keys(0, 1, np.arange(12)).to("meta"), tensors))
    scores.sum().backward()
    assert scores.shape == (12, 4)


def test_the_encoder_can_be_exported() -> None:
    model = make_model().float().eval()
    landmarks, lengths = fetch_padded(make_store(), torch.arange(3))
    program = torch.export.export(model, (landmarks, lengths)).module()
    shorter = lengths - 1
    assert torch.allclose(program(landmarks, shorter), model(landmarks, shorter), atol=1e-5)


class LastFrame(torch.nn.Module):
    """Somebody's model: what it is given, and the first landmark at the end of each padded clip as scores."""

    def forward(self, landmarks: torch.Tensor, lengths: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
        self.given = landmarks, lengths, keys
        return landmarks[:, -1, 0]


def test_another_model_of_the_sign_task_is_given_padded_clips() -> None:
    task, model, store = make_task(), LastFrame(), make_store()
    indices, keys = torch.tensor([7, 2, 5]), sample_keys(0, 1, np.array([7, 2, 5]))
    scores = task.forward(model, Batch(indices, keys, task.fetch("train", indices)))
    landmarks, lengths, given_keys = model.given
    assert landmarks.shape == (3, int(lengths.max()), 6, 3)
    assert given_keys is keys
    for row, index in enumerate(indices):
        clip = store.values[store.offsets[index] : store.offsets[index + 1]]
        assert lengths[row] == len(clip)
        assert torch.equal(landmarks[row, : len(clip)].nan_to_num(9.0), clip.nan_to_num(9.0))
        assert torch.equal(scores[row].nan_to_num(9.0), clip[-1, 0].nan_to_num(9.0))


def test_a_batch_of_a_stage_that_augments_says_which_frames_are_real() -> None:
    task = make_task()
    indices, keys = torch.arange(12), sample_keys(0, 1, np.arange(12))
    stage = Stage(name="only", epochs=1, options=SignStage(augmentation=EVERYTHING))
    fetched = task.fetch("train", indices)
    augmented = task.augment(fetched, keys, stage)
    assert not torch.equal(augmented["lengths"], fetched["lengths"])
    for tensors in (fetched, augmented):
        assert torch.equal(tensors["real"].sum(dim=1), tensors["lengths"])
        assert len(tensors["landmarks"]) == tensors["lengths"].sum()


def test_the_forward_pass_leaves_its_input_alone() -> None:
    task = make_task()
    tensors = task.fetch("train", torch.arange(5))
    before = tensors["landmarks"].clone()
    task.forward(make_model(), Batch(torch.arange(5), None, tensors))
    assert torch.equal(tensors["landmarks"].nan_to_num(9.0), before.nan_to_num(9.0))
    padded, lengths = fetch_padded(make_store(), torch.arange(5))
    before = padded.clone()
    make_model()(padded, lengths)
    assert torch.equal(padded.nan_to_num(9.0), before.nan_to_num(9.0))


def test_dropout_is_on_with_keys_and_off_without() -> None:
    landmarks, lengths = fetch_padded(make_store(), torch.arange(5))
    model = make_model()
    first, second = (model(landmarks, lengths, sample_keys(0, epoch, np.arange(5))) for epoch in (0, 1))
    assert not torch.allclose(first, second)
    assert torch.equal(model(landmarks, lengths), model(landmarks, lengths))


def test_every_parameter_has_a_gradient_that_is_not_rounding() -> None:
    landmarks, lengths = fetch_padded(make_store(), torch.arange(12))
    model = make_model()
    torch.nn.functional.cross_entropy(model(landmarks, lengths), torch.arange(12) % 4).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-8, name


def test_pooling_does_not_let_rounding_choose_where_the_gradient_goes() -> None:
    def gradient(values: list[float]) -> torch.Tensor:
        inputs = torch.tensor(values, dtype=torch.float64)[None, :, None].requires_grad_()
        soft_maximum(inputs, torch.tensor([[True, True, True, False]])).sum().backward()
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
    assert len(together) == lengths.sum()
    for index, clip in enumerate(together.split(lengths.tolist())):
        chosen = slice(index, index + 1)
        alone, length = augment_clips(*store.fetch(indices[chosen]), keys[chosen], EVERYTHING, LAYOUT)
        assert length.item() == lengths[index]
        assert torch.allclose(alone, clip, atol=1e-6, equal_nan=True)


def test_each_strength_changes_the_clip_and_zero_does_not() -> None:
    store = make_store()
    landmarks, lengths = store.fetch(torch.arange(12))
    before = landmarks.clone()
    keys = sample_keys(0, 5, np.arange(12))
    same, same_lengths = augment_clips(landmarks, lengths, keys, Augmentation(), LAYOUT)
    assert same is landmarks
    assert same_lengths is lengths
    for name, strength in EVERYTHING.__dict__.items():
        # Stronger than in use, so that one draw is sure to show.
        only = Augmentation(**{name: max(0.5, strength)})
        changed, new_lengths = augment_clips(landmarks, lengths, keys, only, LAYOUT)
        assert len(changed) == new_lengths.sum()
        is_as_long = torch.equal(new_lengths, lengths)
        assert not is_as_long or not torch.equal(changed.nan_to_num(9.0), landmarks.nan_to_num(9.0)), name
        assert torch.equal(landmarks.nan_to_num(9.0), before.nan_to_num(9.0)), name


def test_a_rotation_keeps_distances_and_a_flip_swaps_sides() -> None:
    landmarks, lengths = make_store().fetch(torch.arange(12))
    keys = sample_keys(0, 5, np.arange(12))
    rotated, _ = augment_clips(landmarks, lengths, keys, Augmentation(rotation_degrees=40), LAYOUT)
    before, after = (torch.linalg.norm(clip[:, 0] - clip[:, 1], dim=-1) for clip in (landmarks, rotated))
    assert torch.allclose(before, after, atol=1e-4, equal_nan=True)
    flipped, _ = augment_clips(landmarks, lengths, keys, Augmentation(flip_probability=1.0), LAYOUT)
    expected = landmarks[:, [3, 4, 5, 0, 1, 2]] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(flipped, expected, equal_nan=True)


@pytest.mark.parametrize(("frames", "points"), [(1, 21), (16, 1)])
def test_dropout_never_leaves_a_clip_without_a_point(frames: int, points: int) -> None:
    values, lengths = torch.randn(400 * frames, points, 2), torch.full((400,), frames)
    layout, keys = LandmarkLayout(num_landmarks=points, num_coords=2), sample_keys(0, 1, np.arange(400))
    values[: frames // 2] = math.nan
    dropped, _ = augment_clips(values, lengths, keys, Augmentation(frame_dropout=0.5, landmark_dropout=0.5), layout)
    assert dropped.isnan().any()
    assert not dropped.view(400, -1).isnan().all(dim=1).any()


def test_channels_that_are_not_positions_are_not_moved() -> None:
    layout = LandmarkLayout(num_landmarks=6, num_coords=1, spatial=False)
    values = torch.randn(12, 6, 1)
    lengths, keys = torch.tensor([5, 4, 3]), sample_keys(0, 0, np.arange(3))
    only = Augmentation(rotation_degrees=40, scale=0.5, shift=0.5, flip_probability=1.0)
    assert torch.equal(augment_clips(values, lengths, keys, only, layout)[0], values)
    assert np.array_equal(normalise_clips(values[:5].numpy(), np.array([0, 5]), layout), values[:5].numpy())


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


def test_points_without_a_body_have_the_place_and_size_of_the_training_clips() -> None:
    values = np.random.default_rng(0).normal(size=(12, 3, 2)).astype(np.float32) * 5.0 + np.float32([300.0, -20.0])
    values[1, 1] = np.nan
    offsets, train = np.array([0, 4, 8, 12]), np.array([0, 2])
    layout = with_place_and_size(LandmarkLayout(num_landmarks=3, num_coords=2), values, offsets, train)
    trained = np.concatenate([values[:4], values[8:]]).reshape(-1, 2)
    assert np.allclose(layout.origin, np.nanmean(trained, axis=0), rtol=1e-6)
    first, moved = (normalise_clips(one, offsets, layout) for one in (values, values + np.float32(7.0)))
    assert np.nanmean((first[[0, 1, 2, 3, 8, 9, 10, 11]] ** 2).sum(axis=2)) == pytest.approx(1.0, abs=1e-5)
    assert np.nanmax(np.abs(moved - first - 7.0 / layout.unit)) < 1e-4  # where a clip is, is not lost
    with_nose = with_place_and_size(LandmarkLayout(num_landmarks=3, num_coords=2, center=(2,)), values, offsets, train)
    assert with_nose.origin == ()
    assert np.allclose(
        normalise_clips(values, offsets, with_nose),
        normalise_clips(values + np.float32(7.0), offsets, with_nose),
        atol=1e-4,
        equal_nan=True,
    )
    for other in (LAYOUT, LandmarkLayout(num_landmarks=6, num_coords=3, spatial=False)):
        assert with_place_and_size(other, np.zeros((12, 6, 3), np.float32), offsets, train) == other


def test_features_are_positions_motion_and_presence() -> None:
    landmarks = torch.zeros(6, 6, 3)
    landmarks[:4, 2, 0] = torch.tensor([0.0, 1.0, 4.0, 9.0])
    landmarks[1, 5] = math.nan
    landmarks[4:] = 50.0  # another clip, which the first knows nothing of
    features = landmark_features(landmarks, Rows.of(torch.tensor([4, 2]), 6), LAYOUT)
    assert features.shape == (6, num_features(LAYOUT))
    x_of_2 = 2 * 3
    velocity, acceleration = 18 + 18 + x_of_2, 18 + 18 + 18 + x_of_2
    assert features[:4, x_of_2].tolist() == [0.0, 1.0, 4.0, 9.0]
    assert features[:4, velocity].tolist() == [0.5, 2.0, 4.0, 2.5]
    assert features[1:3, acceleration].tolist() == [2.0, 2.0]
    assert features[:4, -1].tolist() == [1.0, 0.0, 1.0, 1.0]
    assert features[4:, velocity].tolist() == [0.0, 0.0]
    assert features.isfinite().all()


def test_a_turned_hand_keeps_the_distances_between_wrist_and_fingertips() -> None:
    hand = compose(["right_hand"], 2)
    pairs = end_pairs(hand)
    assert {point for pair in pairs for point in pair} == {0, 4, 8, 12, 16, 20}
    assert len(pairs) == 15
    assert num_features(hand, distances=True) == num_features(hand) + 15
    points, turn = torch.randn(1, 21, 2), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    points[0, 8] = math.nan
    rows, first = Rows.of(torch.tensor([1]), 1), 2 * 21 * 2
    before, after = (landmark_features(one, rows, hand, True)[0, first : first + 15] for one in (points, points @ turn))
    assert torch.allclose(before, after, atol=1e-5)
    assert [pair for pair, distance in zip(pairs, before, strict=True) if distance == 0] == [
        pair for pair in pairs if 8 in pair
    ]


def test_a_store_fetches_any_clips_end_to_end(tmp_path) -> None:  # type: ignore[no-untyped-def]
    store = make_store()
    store.save(tmp_path)
    for opened in (store, RaggedStore.open_shared(tmp_path)):
        rows, lengths = opened.fetch(torch.tensor([7, 2]))
        clips = [store.values[store.offsets[index] : store.offsets[index + 1]] for index in (7, 2)]
        assert lengths.tolist() == [len(clip) for clip in clips]
        assert torch.equal(rows.nan_to_num(9.0), torch.cat(clips).nan_to_num(9.0))
        assert real_frames(lengths).sum(dim=1).tolist() == lengths.tolist()

"""Augmentation of a micro-batch of landmark clips, vectorised, every draw keyed by (seed, epoch, sample)."""

from __future__ import annotations

import math

import torch

from training.data.landmarks import LandmarkLayout
from training.keyed import element_noise, uniform
from training.recipe import Augmentation

_SPEED, _CROP_START, _CROP_STOP, _FLIP, _SCALE, _SHEAR, _SHIFT, _ROTATION, _NOISE, _FRAMES, _LANDMARKS = range(11)
"""Streams of randomness, one for each decision, so that switching one off does not change the others."""


def augment_clips(
    landmarks: torch.Tensor,
    lengths: torch.Tensor,
    keys: torch.Tensor,
    augmentation: Augmentation,
    layout: LandmarkLayout,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return augmented clips and their lengths.

    `landmarks` is [clips, frames, landmarks, coords] with missing points as NaN, `lengths` and `keys` int64 [clips]. A
    clip's result depends on the clip and its key alone: neither on the other clips nor on the padding.
    """
    if augmentation == Augmentation():
        return landmarks, lengths
    if augmentation.resample > 0 or augmentation.crop > 0:
        landmarks, lengths = _play_at_another_speed(landmarks, lengths, keys, augmentation)
    if layout.spatial:
        if augmentation.flip_probability > 0 and layout.mirror:
            landmarks = _flip(landmarks, keys, augmentation.flip_probability, layout)
        landmarks = _transform(landmarks, keys, augmentation)
    if augmentation.noise > 0:
        clips, frames, points, coords = landmarks.shape
        noise = element_noise(keys, _NOISE, frames, points * coords).view(clips, frames, points, coords)
        landmarks = landmarks + augmentation.noise * noise.to(landmarks.dtype)
    return _lose_points(landmarks, keys, augmentation), lengths


def _play_at_another_speed(
    landmarks: torch.Tensor, lengths: torch.Tensor, keys: torch.Tensor, augmentation: Augmentation
) -> tuple[torch.Tensor, torch.Tensor]:
    """Crop the ends and resample what is left, by linear interpolation between frames."""
    last = (lengths - 1).to(torch.float64)
    start = augmentation.crop * uniform(keys, _CROP_START) * last
    stop = last - augmentation.crop * uniform(keys, _CROP_STOP) * last
    speed = (1.0 + augmentation.resample) ** (2.0 * uniform(keys, _SPEED) - 1.0)
    new_lengths = ((stop - start) / speed).round().to(torch.int64) + 1
    frames = torch.arange(int(new_lengths.max()))
    fraction = torch.minimum(frames / (new_lengths - 1).clamp(min=1)[:, None], torch.ones((), dtype=torch.float64))
    position = start[:, None] + fraction * (stop - start)[:, None]
    before = position.floor().to(torch.int64)
    after = torch.minimum(before + 1, (lengths - 1)[:, None])
    weight = (position - before).to(landmarks.dtype)[:, :, None, None]
    clip = torch.arange(len(landmarks))[:, None]
    first, second = landmarks[clip, before], landmarks[clip, after]
    between = first + weight * (second - first)
    # Beside a missing point the nearer frame decides, so that a gap neither grows nor closes.
    return torch.where(between.isnan(), torch.where(weight < 0.5, first, second), between), new_lengths


def _flip(landmarks: torch.Tensor, keys: torch.Tensor, probability: float, layout: LandmarkLayout) -> torch.Tensor:
    mirrored = landmarks[:, :, list(layout.mirror)].clone()
    mirrored[..., 0].neg_()
    chosen = uniform(keys, _FLIP) < probability
    return torch.where(chosen[:, None, None, None], mirrored, landmarks)


def _transform(landmarks: torch.Tensor, keys: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    """Rotate, scale, shear and shift each clip as a whole, about the origin of its normalised coordinates."""
    clips, frames, points, coords = landmarks.shape
    if coords not in (2, 3):
        return landmarks
    axes = torch.arange(coords)
    matrix = torch.eye(coords, dtype=torch.float64).expand(clips, coords, coords)
    if augmentation.scale > 0:
        factor = (1.0 + augmentation.scale) ** (2.0 * uniform(keys, _SCALE) - 1.0)
        matrix = matrix * factor[:, None, None]
    if augmentation.shear > 0:
        shear = torch.zeros(clips, coords, coords, dtype=torch.float64)
        shear[:, 0, 1] = augmentation.shear * (2.0 * uniform(keys, _SHEAR) - 1.0)
        matrix = matrix + shear @ matrix
    if augmentation.rotation_degrees > 0:
        largest = math.radians(augmentation.rotation_degrees)
        for plane, share in (((0, 1), 1.0), ((0, 2), 0.5), ((1, 2), 0.5))[: 1 if coords == 2 else 3]:
            angle = share * largest * (2.0 * uniform(keys, _ROTATION, torch.tensor(plane[0] + plane[1])) - 1.0)
            matrix = _rotation(angle, plane, coords) @ matrix
    moved = landmarks.view(clips, frames * points, coords) @ matrix.transpose(1, 2).to(landmarks.dtype)
    if augmentation.shift > 0:
        shift = augmentation.shift * (2.0 * uniform(keys[:, None], _SHIFT, axes) - 1.0)
        moved = moved + shift[:, None, :].to(landmarks.dtype)
    return moved.view(clips, frames, points, coords)


def _rotation(angle: torch.Tensor, plane: tuple[int, int], coords: int) -> torch.Tensor:
    first, second = plane
    rotation = torch.eye(coords, dtype=torch.float64).repeat(len(angle), 1, 1)
    rotation[:, first, first] = rotation[:, second, second] = angle.cos()
    rotation[:, first, second] = -angle.sin()
    rotation[:, second, first] = angle.sin()
    return rotation


def _lose_points(landmarks: torch.Tensor, keys: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    clips, frames, points, _ = landmarks.shape
    lost = torch.zeros(clips, frames, points, dtype=torch.bool)
    if augmentation.frame_dropout > 0:
        lost |= (uniform(keys[:, None], _FRAMES, torch.arange(frames)) < augmentation.frame_dropout)[:, :, None]
    if augmentation.landmark_dropout > 0:
        lost |= (uniform(keys[:, None], _LANDMARKS, torch.arange(points)) < augmentation.landmark_dropout)[:, None, :]
    return landmarks.masked_fill(lost[..., None], math.nan)

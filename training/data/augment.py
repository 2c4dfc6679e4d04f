"""Augments the landmark clips of a micro-batch, vectorised, every draw keyed by (seed, epoch, sample).

With NumPy, whose calls cost less than torch's on arrays as small as a micro-batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ..common.keyed_random import counted_words, row_noise, stream_words, uniform
from .landmarks import LandmarkLayout
from .specs import Augmentation

_SPEED, _CROP_START, _CROP_STOP, _FLIP, _SCALE, _SHEAR, _SHIFT, _ROTATION, _NOISE, _FRAMES, _LANDMARKS = range(11)
"""Streams of randomness, one for each decision, so that switching one off does not change the others."""

_STREAMS = tuple(range(11))

_PLANES = (((0, 1), 1.0), ((0, 2), 0.5), ((1, 2), 0.5))
"""Planes of rotation by their axes, and the share of the largest angle for each; in two dimensions only the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draws:
    """The random numbers of each clip."""

    words: np.ndarray
    """uint64 [clips, streams]."""
    units: np.ndarray
    """The words as numbers in [0, 1), float64 [clips, streams]."""

    def of(self, stream: int, counters: np.ndarray) -> np.ndarray:
        """Return numbers in [0, 1) of a stream, float64 [clips, counters]."""
        return uniform(counted_words(self.words[:, stream, None], counters))


class _Frames(NamedTuple):
    """The clip and the frame of each row when clips are laid end to end."""

    lengths: np.ndarray
    """int64 [clips]."""
    clip: np.ndarray
    """int64 [rows]."""
    frame: np.ndarray
    """The row's number in its clip, from 0, int64 [rows]."""


def augment_clips(
    landmarks: torch.Tensor,
    lengths: torch.Tensor,
    keys: torch.Tensor,
    augmentation: Augmentation,
    layout: LandmarkLayout,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return augmented clips, end to end, [rows, landmarks, coords], and their lengths, int64 [clips].

    `landmarks` is [rows, landmarks, coords] with missing points as NaN, `lengths` and `keys` are int64 [clips], all on the
    host. A clip's result depends only on the clip and its key.
    """
    if augmentation == Augmentation():
        return landmarks, lengths
    words = stream_words(keys, _STREAMS)
    draws = _Draws(words=words, units=uniform(words))
    values = landmarks.numpy()
    if augmentation.resample > 0 or augmentation.crop > 0:
        values, frames = _change_speed(values, lengths.numpy(), draws, augmentation)
        lengths = torch.from_numpy(frames.lengths)
    else:
        values, frames = values.copy(), _frames_of(lengths.numpy())
    if layout.spatial:
        if augmentation.flip_probability > 0 and layout.mirror:
            values = _flip(values, frames, draws, augmentation.flip_probability, layout)
        values = _transform(values, frames, draws, augmentation)
    if augmentation.noise > 0:
        noise = row_noise(keys, _NOISE, frames.clip, frames.frame, values[0].size)
        noise *= augmentation.noise
        values += noise.reshape(values.shape)
    _drop_points(values, frames, draws, augmentation)
    return torch.from_numpy(values), lengths


def _frames_of(lengths: np.ndarray) -> _Frames:
    clip = np.repeat(np.arange(len(lengths)), lengths)
    return _Frames(lengths, clip, np.arange(len(clip)) - (np.cumsum(lengths) - lengths)[clip])


def _change_speed(
    values: np.ndarray, lengths: np.ndarray, draws: _Draws, augmentation: Augmentation
) -> tuple[np.ndarray, _Frames]:
    """Crop the ends and resample the rest by linear interpolation between frames."""
    last = (lengths - 1).astype(np.float64)
    start = augmentation.crop * draws.units[:, _CROP_START] * last
    span = last - augmentation.crop * draws.units[:, _CROP_STOP] * last - start
    speed = (1.0 + augmentation.resample) ** (2.0 * draws.units[:, _SPEED] - 1.0)
    frames = _frames_of((span / speed).round().astype(np.int64) + 1)
    clip = frames.clip
    steps = np.maximum(frames.lengths - 1, 1)[clip].astype(np.float32)
    position = start[clip] + np.minimum(frames.frame.astype(np.float32) / steps, 1.0) * span[clip]
    floor = np.floor(position)
    weight = (position - floor).astype(values.dtype)[:, None, None]
    stops = np.cumsum(lengths)
    before = (stops - lengths)[clip] + floor.astype(np.int64)
    after = np.minimum(before + 1, stops[clip] - 1)
    first, between = values.take(before, axis=0), values.take(after, axis=0)
    between -= first
    between *= weight
    between += first
    # Next to a missing point the nearer frame is taken, so that a gap neither grows nor closes.
    gaps = np.isnan(between)
    if gaps.any():
        np.copyto(between, values[np.where(weight[:, 0, 0] < 0.5, before, after)], where=gaps)
    return between, frames


def _flip(values: np.ndarray, frames: _Frames, draws: _Draws, probability: float, layout: LandmarkLayout) -> np.ndarray:
    mirrored = values[:, list(layout.mirror)]
    mirrored[..., 0] *= -1.0
    chosen = draws.units[:, _FLIP] < probability
    return np.where(chosen[frames.clip, None, None], mirrored, values)


def _transform(values: np.ndarray, frames: _Frames, draws: _Draws, augmentation: Augmentation) -> np.ndarray:
    """Rotate, scale, shear and shift each clip as a whole, about the origin of its normalised coordinates."""
    coords = values.shape[2]
    if coords not in (2, 3):
        return values
    matrix = _matrices(draws, augmentation, coords).transpose(0, 2, 1).astype(values.dtype)
    moved = values @ matrix.take(frames.clip, axis=0)
    if augmentation.shift > 0:
        shift = augmentation.shift * (2.0 * draws.of(_SHIFT, np.arange(coords)) - 1.0)
        # Repeated for all points of a frame: a broadcast along the last axis alone is slow.
        of_frame = np.tile(shift.astype(values.dtype), values.shape[1])
        moved += of_frame.take(frames.clip, axis=0).reshape(values.shape)
    return moved


def _matrices(draws: _Draws, augmentation: Augmentation, coords: int) -> np.ndarray:
    """Return the matrix with which the points of each clip are multiplied, float64 [clips, coords, coords]."""
    matrix = np.zeros((len(draws.units), coords, coords)) + np.eye(coords)
    if augmentation.scale > 0:
        factor = (1.0 + augmentation.scale) ** (2.0 * draws.units[:, _SCALE] - 1.0)
        matrix *= factor[:, None, None]
    if augmentation.shear > 0:
        shear = augmentation.shear * (2.0 * draws.units[:, _SHEAR] - 1.0)
        matrix[:, 0] += shear[:, None] * matrix[:, 1]
    if augmentation.rotation_degrees > 0:
        planes = _PLANES[: 1 if coords == 2 else 3]
        turns = 2.0 * draws.of(_ROTATION, np.array([sum(plane) for plane, _ in planes])) - 1.0
        angles = turns * np.array([share * math.radians(augmentation.rotation_degrees) for _, share in planes])
        cosines, sines = np.cos(angles)[:, :, None], np.sin(angles)[:, :, None]
        for number, (plane, _) in enumerate(planes):
            cosine, sine = cosines[:, number], sines[:, number]
            first, second = matrix[:, plane[0]], matrix[:, plane[1]]
            turned = cosine * first - sine * second
            matrix[:, plane[1]] = sine * first + cosine * second
            matrix[:, plane[0]] = turned
    return matrix


def _drop_points(values: np.ndarray, frames: _Frames, draws: _Draws, augmentation: Augmentation) -> None:
    """Set dropped landmarks and frames to NaN, in place. A clip of which nothing would be left keeps them all."""
    if augmentation.landmark_dropout == 0 and augmentation.frame_dropout == 0:
        return
    rows, points, coords = values.shape
    gone = np.zeros((rows, points), dtype=bool)
    if augmentation.landmark_dropout > 0:
        lost = draws.of(_LANDMARKS, np.arange(points)) < augmentation.landmark_dropout
        lost.take(frames.clip, axis=0, out=gone)
    if augmentation.frame_dropout > 0:
        words = counted_words(draws.words[frames.clip, _FRAMES], frames.frame)
        gone |= (uniform(words) < augmentation.frame_dropout)[:, None]
    is_left = (~gone & ~np.isnan(values[..., 0])).any(axis=1)
    starts = np.cumsum(frames.lengths) - frames.lengths
    gone &= np.logical_or.reduceat(is_left, starts).take(frames.clip)[:, None]
    # A mask of elements is applied in half the time of a mask of points.
    values.reshape(rows, -1)[gone.repeat(coords, axis=1)] = np.nan

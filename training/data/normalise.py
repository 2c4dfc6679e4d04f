"""Normalises clips once, when data are prepared: place and size are the body's, or those of all training clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .landmarks import LandmarkLayout

_SMALLEST = 1e-8


def with_place_and_size(
    layout: LandmarkLayout, values: np.ndarray, offsets: np.ndarray, train: np.ndarray
) -> LandmarkLayout:
    """Return the layout with the origin and the unit that the training clips, int64 `train`, give to all clips.

    That is where a skeleton has no origin or no unit of its own: there the place and the size of a motion are what may
    tell classes apart, and a clip's own mean and spread would take them away.
    """
    if not layout.spatial or layout.scale or len(train) == 0:
        return layout
    lengths = np.diff(offsets)
    is_trained = np.isin(np.arange(len(lengths)), train)
    rows = values[np.repeat(is_trained, lengths)]
    if layout.center:
        rows = _centred(rows, np.concatenate([[0], np.cumsum(lengths[is_trained])]), layout)
    points = rows.reshape(-1, layout.num_coords).astype(np.float64)
    points = points[~np.isnan(points).any(axis=1)]
    if len(points) == 0:
        return layout
    if not layout.center:
        layout = replace(layout, origin=tuple(points.mean(axis=0).tolist()))
        points -= layout.origin
    spread = float(np.sqrt((points**2).sum(axis=1).mean()))
    return replace(layout, unit=spread) if spread > _SMALLEST else layout


def normalise_clips(values: np.ndarray, offsets: np.ndarray, layout: LandmarkLayout) -> np.ndarray:
    """Return the clips centred and scaled, float32 [total_frames, landmarks, coords]; a point with a NaN is all NaN.

    The origin is the clip's mean of `layout.center` (wrist, shoulders), the unit the clip's mean distance of the pairs
    of `layout.scale` (hand or shoulder size). If the layout has none of these, or they are missing in a clip, it is
    `layout.origin` or `layout.unit`, and where it has none of these either, the mean of all of the clip's points, and their
    root mean square distance from it. Channels that are not positions stay as they are.
    """
    values = values.astype(np.float32, copy=True)
    values[np.isnan(values).any(axis=2)] = np.nan
    if not layout.spatial or len(values) == 0:
        return values
    lengths = np.diff(offsets)
    values = _centred(values, offsets, layout)
    unit = np.full((len(lengths), 1), layout.unit)
    if not layout.unit:
        unit = np.sqrt(_clip_mean((values**2).sum(axis=2)[:, :, None], offsets))
    if layout.scale:
        first, second = np.asarray(layout.scale).T
        distances = np.linalg.norm(values[:, first] - values[:, second], axis=2)
        unit = _or_else(_clip_mean(distances[:, :, None], offsets), unit)
    # A clip whose points are all in one place has no size: it stays as it is.
    unit = np.where(np.isfinite(unit) & (unit > _SMALLEST), unit, 1.0)
    return values / np.repeat(unit, lengths, axis=0)[:, None, :].astype(np.float32)


def _centred(values: np.ndarray, offsets: np.ndarray, layout: LandmarkLayout) -> np.ndarray:
    """Return the clips moved to their origin, float32 [total_frames, landmarks, coords]."""
    lengths = np.diff(offsets)
    if layout.origin:
        origin = np.repeat(np.array([layout.origin], np.float32), len(lengths), axis=0)
    else:
        origin = _clip_mean(values, offsets)
    if layout.center:
        origin = _or_else(_clip_mean(values[:, list(layout.center)], offsets), origin)
    return values - np.repeat(origin, lengths, axis=0)[:, None, :]


def _clip_mean(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the mean over each clip's frames and landmarks, [clips, coords], without NaN; NaN if all are."""
    present = ~np.isnan(values)
    sums = np.add.reduceat(np.where(present, values, 0.0).sum(axis=1, dtype=np.float64), offsets[:-1], axis=0)
    counts = np.add.reduceat(present.sum(axis=1), offsets[:-1], axis=0)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0).astype(np.float32)


def _or_else(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.where(np.isfinite(others), others, 0.0))

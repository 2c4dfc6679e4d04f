"""Normalises clips once, when data are prepared: the origin at a reference landmark, the unit from the body or the hand."""

from __future__ import annotations

import numpy as np

from .landmarks import LandmarkLayout


def normalise_clips(values: np.ndarray, offsets: np.ndarray, layout: LandmarkLayout) -> np.ndarray:
    """Return the clips centred and scaled, float32 [total_frames, landmarks, coords]; a point with a NaN is all NaN.

    The origin is the clip's mean of `layout.center` (wrist, shoulders), the unit the clip's mean distance of the pairs
    of `layout.scale` (hand or shoulder size). If the layout has none of these, or they are missing in a clip, it is the
    mean of all its points, and their root mean square distance from it. Channels that are not positions stay as they are.
    """
    values = values.astype(np.float32, copy=True)
    values[np.isnan(values).any(axis=2)] = np.nan
    if not layout.spatial or len(values) == 0:
        return values
    lengths = np.diff(offsets)
    origin = _clip_mean(values, offsets)
    if layout.center:
        origin = _or_else(_clip_mean(values[:, list(layout.center)], offsets), origin)
    values -= np.repeat(origin, lengths, axis=0)[:, None, :]
    spread = np.sqrt(_clip_mean((values**2).sum(axis=2)[:, :, None], offsets))
    unit = spread
    if layout.scale:
        first, second = np.asarray(layout.scale).T
        distances = np.linalg.norm(values[:, first] - values[:, second], axis=2)
        unit = _or_else(_clip_mean(distances[:, :, None], offsets), spread)
    # A clip whose points are all in one place has no size: it stays as it is.
    unit = np.where(np.isfinite(unit) & (unit > 1e-8), unit, 1.0)
    return values / np.repeat(unit, lengths, axis=0)[:, None, :].astype(np.float32)


def _clip_mean(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the mean over each clip's frames and landmarks, [clips, coords], without NaN; NaN if all are."""
    present = ~np.isnan(values)
    sums = np.add.reduceat(np.where(present, values, 0.0).sum(axis=1, dtype=np.float64), offsets[:-1], axis=0)
    counts = np.add.reduceat(present.sum(axis=1), offsets[:-1], axis=0)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0).astype(np.float32)


def _or_else(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.where(np.isfinite(others), others, 0.0))

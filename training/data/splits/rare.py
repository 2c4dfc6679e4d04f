"""Leaves out the classes that have too few clips to learn and to test them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...common.errors import UserError
from ..landmarks import LandmarkData


def without_rare_classes(data: LandmarkData, min_clips: int) -> LandmarkData:
    """Return the data without the classes of fewer clips, and a note that says so; the other classes keep their order.

    Raises `UserError` if no class has as many.
    """
    counts = np.bincount(data.labels, minlength=len(data.class_names))
    is_kept = counts >= min_clips
    if is_kept.all():
        return data
    if not is_kept.any():
        raise UserError(
            f"--min-clips {min_clips}: no class of {data.name} has as many; the largest has {counts.max()}: give a smaller one"
        )
    clips = np.flatnonzero(is_kept[data.labels])
    lengths = np.diff(data.offsets)
    kept = clips.tolist()
    note = (
        f"{np.count_nonzero(~is_kept)} of {len(counts)} classes left out, with fewer than {min_clips} clips each "
        f"({len(data) - len(kept)} of {len(data)} clips)"
    )
    where = data.where
    return replace(
        data,
        values=data.values[np.repeat(is_kept[data.labels], lengths)],
        offsets=np.concatenate([[0], np.cumsum(lengths[clips])]),
        labels=(np.cumsum(is_kept) - 1)[data.labels[clips]],
        class_names=tuple(name for name, is_frequent in zip(data.class_names, is_kept, strict=True) if is_frequent),
        groups={kind: [of_clips[clip] for clip in kept] for kind, of_clips in data.groups.items()},
        own_split=[data.own_split[clip] for clip in kept] if data.own_split else (),
        notes=(*data.notes, note),
        where=lambda index: where(kept[index]),
    )

"""The data's own split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...common.errors import UserError
from ..landmarks import SPLITS
from .clips import DROPPED, TRAIN, Clips, count_clips, later_copies


def own_parts(clips: Clips, drop: bool, notes: list[str]) -> np.ndarray:
    """Return the parts [clips] of the data's own split; copies go to test before validation before train."""
    parts = clips.own.copy()
    if not (parts == TRAIN).any() or len(np.unique(parts[parts >= 0])) < 2:
        raise UserError(f"{clips.name}: has no own split into train and test; choose --split stratified or signer")
    if (parts < 0).any():
        raise UserError(
            f"{clips.name}: {count_clips(np.count_nonzero(parts < 0))} without a split where others have one; first is "
            f"clip {np.flatnonzero(parts < 0)[0]}"
        )
    furthest = np.full(len(parts), TRAIN)
    np.maximum.at(furthest, clips.originals, parts)
    straddling = parts != furthest[clips.originals]
    if straddling.any():
        parts[straddling] = DROPPED if drop else furthest[clips.originals][straddling]
        what = "dropped from" if drop else "moved out of"
        notes.append(
            f"{count_clips(np.count_nonzero(straddling))} {what} the own split as exact copies of test or validation "
            "clips"
        )
    if drop:
        copies = later_copies(clips, np.flatnonzero(parts == TRAIN))
        parts[copies] = DROPPED
        if len(copies):
            notes.append(f"{count_clips(len(copies))} dropped from train as exact copies of earlier ones")
    return parts


def refuse_no_train(marks: Sequence[str], name: str, remedy: str) -> None:
    """Raise `UserError` where each sample has a mark of the data's own split, and none that of train."""
    if marks and not {"", SPLITS[TRAIN]} & set(marks):
        found = " or ".join(sorted(set(marks)))
        raise UserError(
            f"{name}: its own split marks every sample as {found} and none as train: correct it, or {remedy}"
        )

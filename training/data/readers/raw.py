"""What a reader returns: the numbers as they stand in the files, what the files say about them, and the faults found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...common.errors import UserError
from ..landmarks import LandmarkLayout, end_to_end

_MOST_SHOWN = 10
_MOST_CELL = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class RawClips:
    """Clips as they stand in their files, in the order of the source; `understand` makes landmarks of them."""

    name: str
    source_format: str
    values: np.ndarray
    """All clips end to end, float32 [total_frames, numbers] or [total_frames, points, coords]; missing numbers as NaN.

    May be changed by `understand`.
    """
    offsets: np.ndarray
    """int64 [clips + 1]: clip i is frames offsets[i] to offsets[i + 1]."""
    labels: Sequence[str]
    """The class of each clip by its name."""
    class_names: Sequence[str] | None = None
    """The classes in the order of their numbers, if the source gives one; None: the labels, sorted."""
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """As `LandmarkData.groups`."""
    splits: Sequence[str] | None = None
    layout: LandmarkLayout | None = None
    """What the points are, if the format says so; then `values` is [total_frames, landmarks, coords] and complete."""
    parts: tuple[str, ...] | None = None
    """The parts of a body in the order in which their points stand, such as ("face", "left_hand", "pose", "right_hand")."""
    number_names: Sequence[str] | None = None
    """The name of each number of a frame, such as a column's."""
    files: Sequence[str] = ()
    """The names of the files that were read, if they are few; empty: the name of the source."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    where: Callable[[int], str]
    """The place of a clip in its source, for messages."""


class Faults:
    """The faults of a source, collected so that one start tells all of them."""

    def __init__(self, source: object) -> None:
        self._source = source
        self._found: list[str] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, message: str) -> None:
        """Add a fault: where, what, and what to do, in one line."""
        self._found.append(message)

    def check(self) -> None:
        """Raise `UserError` with the first ten faults and their count, if there is one."""
        if len(self._found) == 1:
            raise UserError(self._found[0])
        if self._found:
            shown = self._found[:_MOST_SHOWN]
            rest = len(self._found) - len(shown)
            more = [f"and {rest:,} more"] if rest else []
            raise UserError("\n  ".join([f"{self._source}: {len(self._found):,} faults", *shown, *more]))


def cut(cell: object) -> str:
    """Return a cell for a message, as `repr` shows it, cut to 40 characters."""
    text = str(cell)
    return repr(text if len(text) <= _MOST_CELL else f"{text[: _MOST_CELL - 3]}...")


def raw_clips(clips: Sequence[np.ndarray], **fields: object) -> RawClips:
    """Return `RawClips` of a list of clips, each [frames, ...] of one shape, and the other fields."""
    values, offsets = end_to_end(clips)
    return RawClips(values=values, offsets=offsets, **fields)  # type: ignore[arg-type]

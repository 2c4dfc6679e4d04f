"""How the numbers of a frame were read, as a record that is kept with a model: other frames of it are then read the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...common.errors import UserError
from ..landmarks import LandmarkLayout
from .interpretation import Interpretation


@dataclass(frozen=True, kw_only=True)
class FrameForm:
    """Where the landmarks stand among the numbers of a frame, and what a missing one looks like. Goes to JSON and back."""

    numbers: int
    """Numbers of a frame, as they stand in the source."""
    names: tuple[str, ...] = ()
    """The name of each, such as a column's; empty if they have none."""
    places: tuple[tuple[int, ...], ...]
    """Of the coordinates of each landmark, [landmarks, coords]."""
    flags: tuple[int, ...]
    """The place of the number that is 0 for a missing landmark, or -1, [landmarks]."""
    parts: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Places of all coordinates of each part, which is missing where they are all 0."""
    part_of: tuple[int, ...]
    """The part of each landmark."""
    marks: tuple[float, ...] = ()
    """What in x and y at once means that a point is missing."""

    @classmethod
    def of(cls, read_as: Interpretation, numbers: int, names: tuple[str, ...], marks: tuple[float, ...]) -> FrameForm:
        """Return the record of an interpretation of so many numbers."""
        return cls(
            numbers=numbers,
            names=names,
            places=tuple(map(tuple, read_as.places.tolist())),
            flags=tuple(read_as.flags.tolist()),
            parts=tuple(tuple(map(tuple, part.tolist())) for part in read_as.parts),
            part_of=tuple(read_as.part_of.tolist()),
            marks=marks,
        )

    def fits(self, numbers: int, names: tuple[str, ...]) -> bool:
        """Return whether frames of so many numbers, with these names if any, are of this form, as far as names tell."""
        return numbers == self.numbers and (not names or not self.names or names == self.names)

    def interpretation(self, layout: LandmarkLayout) -> Interpretation:
        """Return the interpretation of frames of this form. Raises `UserError` for places outside of a frame."""
        places, flags = np.array(self.places, dtype=np.int64), np.array(self.flags, dtype=np.int64)
        part_of, parts = np.array(self.part_of, dtype=np.int64), [np.array(part, np.int64) for part in self.parts]
        shape = (layout.num_landmarks, layout.num_coords)
        inside = all(
            one.ndim == dims and one.size and one.min() >= least and one.max() < self.numbers
            for one, dims, least in ((places, 2, 0), (flags, 1, -1), (part_of, 1, 0), *((part, 2, 0) for part in parts))
        )
        if not inside or places.shape != shape or len(flags) != len(part_of) or len(flags) != len(places):
            raise UserError("the record of how frames were read is damaged; give another run, or train it again")
        return Interpretation(layout=layout, places=places, flags=flags, parts=tuple(parts), part_of=part_of)

"""Arrays as graph networks take them, [clips, coords, frames, points] or [clips, coords, frames, points, bodies].

They are those of github.com/yysijie/st-gcn and of the many after it for NTU, AUTSL and WLASL: the second body, or the third,
is 0 where there is one person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....common.errors import UserError
from ..numpy_files import StoredArray
from .forms import KNOWN_POINTS, MOST_COORDS

_LEAST_COORDS, _MOST_BODIES = 2, 4


@dataclass(frozen=True, kw_only=True)
class TurnedArray(StoredArray):
    """An array of coordinates first, as [clips, frames, points, coords]."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, [clips, frames, points, coords]."""
        clips, coords, frames, points = self.header.shape[:4]
        return clips, frames, points, coords

    def read_into(self, out: np.ndarray) -> None:
        """Write its numbers into `out`, float32, of as many elements; of several bodies those of the one that is not 0.

        Raises `UserError` for a clip of several bodies.
        """
        target = out.reshape(self.shape)
        for index, clip in enumerate(self.load()):
            bodies = clip.reshape(*clip.shape[:3], -1)
            present = np.flatnonzero(np.nan_to_num(bodies).any(axis=(0, 1, 2)))
            if len(present) > 1:
                raise UserError(
                    f"{self}, clip {index}: holds {len(present)} bodies; keep one of them, as X[..., 0], or join their points"
                )
            target[index] = bodies[..., present[0] if len(present) else 0].transpose(1, 2, 0)


def turned(array: StoredArray) -> TurnedArray | None:
    """Return an array of clips with its coordinates last, if they certainly stand first; `None` for another one."""
    shape = array.header.shape
    is_first = len(shape) in (4, 5) and _LEAST_COORDS <= shape[1] <= MOST_COORDS < shape[3]
    if not is_first or (len(shape) == 5 and shape[4] > _MOST_BODIES):
        return None
    if shape[2] in KNOWN_POINTS and shape[3] not in KNOWN_POINTS:
        return None  # perhaps [clips, coords, points, frames]
    return TurnedArray(file=array.file, name=array.name, header=array.header)

"""Draws clips as SVG: skeletons frame by frame, the tracks of a few points, or channels as lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from html import escape

import numpy as np

from ...data.landmarks import LandmarkLayout

_CELL, _MARGIN, _FOOT = 100, 7, 14
_LARGE = 2
"""How many times larger what moves is drawn, so that whole numbers are fine enough."""
_STRIP = 400
"""The width of a strip of frames; how many fit depends on how tall what they show is."""
_MOST_TRACKS = 5
"""Points without bones, up to so many, are drawn as tracks."""
_MOST_CHANNELS = 16
_MOST_JOINTS = 80
"""With more landmarks their bones alone are drawn."""
_FADES = 6
"""Steps in which a track gets darker."""
_SIDES = ("l", "r", "m")
_LEG = re.compile("knee|ankle|heel|foot|toe")
_SIDE_COLOURS = {"m": "no side", "l": "left", "r": "right"}


class ClipDrawer:
    """Draws clips of one layout.

    Attributes:
        is_track: Whether the ways of few points are drawn.
        is_wide: Whether a drawing is a strip of frames or lines, and not a square.
        sides: The sides that the layout has points of: of "m" (no side), "l" (left) and "r" (right).

    """

    def __init__(
        self, layout: LandmarkLayout, *, most_frames: int, longest: int, ranges: np.ndarray, aspect: float
    ) -> None:
        """`most_frames` is the most frames of a strip, `longest` the frames of the longest clip.

        `ranges`, [landmarks, 2], is the least and the greatest value of each channel in all clips, and `aspect` the usual
        width of what a clip shows by its height.
        """
        self._layout = layout
        self._hidden = hidden_landmarks(layout)
        self._ranges = ranges
        stretch = min(1.3, max(0.75, aspect**0.5))
        self._width, self._height = round(_CELL * stretch), round(_CELL / stretch)
        self._frames = max(1, min(most_frames, longest, round(_STRIP / self._width)))
        side_of = [_side_of(name) for name in layout.names] or ["m"] * layout.num_landmarks
        self._of_side = {side: np.array([one == side for one in side_of]) for side in _SIDES}
        self._in_bone = np.zeros(layout.num_landmarks, dtype=bool)
        self._in_bone[[point for bone in layout.bones for point in bone]] = True
        self.is_track = layout.spatial and not layout.bones and layout.num_landmarks <= _MOST_TRACKS and longest > 1
        self.is_wide = longest > 1 and not self.is_track
        self.sides = [side for side in _SIDES if self._of_side[side].any()]

    def draw(self, clip: np.ndarray, title: str) -> str:
        """Return the SVG of a clip [frames, landmarks, coords]; `title` says what it shows."""
        if not self._layout.spatial:
            width, height, body = self._channels(clip[..., 0])
        else:
            points = clip[..., :2] if clip.shape[2] >= 2 else np.concatenate([clip, np.zeros_like(clip)], axis=2)
            points = np.where(self._hidden[:, None], np.nan, points)
            seen = np.flatnonzero(~np.isnan(points[..., 0]).all(axis=1))
            if not len(seen):
                width, height, body = (
                    _CELL,
                    _CELL,
                    f'<text x="{_CELL // 2}" y="50" text-anchor="middle">all missing</text>',
                )
            elif self.is_track:
                width, height, body = self._tracks(_fit(points, _CELL, _CELL))
            else:
                width, height, body = self._strip(points, seen)
        return f'<svg class="clip" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{body}</svg>'

    def animate(self, clip: np.ndarray, title: str) -> str:
        """Return the SVG of a skeleton in the middle of a clip [frames, landmarks, coords], with all its frames as data.

        `data-frames` of the SVG are the points of each frame, `x,y x,y;...`, in which a missing one is `-`; `data-bones` and
        `data-dots` of a path are the pairs of points, and the points, that it draws. A clip of nothing, and one of a layout
        that is not drawn as a skeleton, is drawn as by `draw`.
        """
        points = np.where(self._hidden[:, None], np.nan, clip[..., :2])
        seen = np.flatnonzero(~np.isnan(points[..., 0]).all(axis=1))
        if not self._layout.spatial or self.is_track or not len(seen):
            return self.draw(clip, title)
        fitted = _fit(points, _LARGE * _CELL, _LARGE * _CELL)
        used = np.asarray(~np.isnan(points[..., 0]).all(axis=0))
        frames = ";".join(" ".join(f"{x},{y}" if x >= 0 else "-" for x, y in frame[used].tolist()) for frame in fitted)
        number = np.cumsum(used) - 1
        dots = self._dots_of(used)
        body = []
        for side, colour in self._sides_with_colours():
            bones = [(number[a], number[b]) for a, b in self._bones_of(side, used)]
            spots = number[dots & self._of_side[side]]
            width = _LARGE * (1.6 if self._layout.bones else 3.4)
            body.append(
                f'<path class="{colour}" stroke-width="{width}" data-bones="{" ".join(f"{a},{b}" for a, b in bones)}" '
                f'data-dots="{" ".join(map(str, spots))}"/>'
            )
        middle = fitted[seen[len(seen) // 2]]
        still = "".join(self._skeleton(middle, _LARGE))
        size = _LARGE * _CELL
        return (
            f'<svg class="clip" viewBox="0 0 {size} {size}" role="img" aria-label="{escape(title)}" '
            f'data-frames="{frames}"><g class="still">{still}</g><g class="moving">{"".join(body)}</g></svg>'
        )

    def _strip(self, points: np.ndarray, seen: np.ndarray) -> tuple[int, int, str]:
        """Draw frames of a clip from left to right, evenly spaced over those that show anything."""
        shown = seen[np.unique(np.linspace(0, len(seen) - 1, self._frames).round().astype(int))]
        width, height, has_numbers = self._width, self._height, len(points) > 1
        cells = []
        for cell, (number, frame) in enumerate(zip(shown.tolist(), _fit(points[shown], width, height), strict=True)):
            label = (
                f'<text x="{width // 2}" y="{height + 10}" text-anchor="middle">{number}</text>' if has_numbers else ""
            )
            cells.append(f'<g transform="translate({cell * width})">{"".join(self._skeleton(frame))}{label}</g>')
        return width * (self._frames if self.is_wide else 1), height + (_FOOT if has_numbers else 0), "".join(cells)

    def _skeleton(self, frame: np.ndarray, scale: int = 1) -> Iterator[str]:
        """Yield the bones and the dots of each side; `frame` is [landmarks, 2] in whole numbers, missing ones below 0."""
        present = frame[:, 0] >= 0
        dots = self._dots_of(present)
        for side, colour in self._sides_with_colours():
            lines = "".join(
                f"M{frame[one, 0]} {frame[one, 1]}L{frame[other, 0]} {frame[other, 1]}"
                for one, other in self._bones_of(side, present)
            )
            if lines:
                yield f'<path class="{colour}" stroke-width="{1.6 * scale}" d="{lines}"/>'
            if spots := "".join(f"M{x} {y}h0" for x, y in frame[dots & self._of_side[side]]):
                yield f'<path class="{colour}" stroke-width="{(2.6 if self._layout.bones else 3.4) * scale}" d="{spots}"/>'

    def _sides_with_colours(self) -> list[tuple[str, str]]:
        return [(side, side if len(self.sides) > 1 else "t0") for side in self.sides]

    def _bones_of(self, side: str, present: np.ndarray) -> list[tuple[int, int]]:
        """Return the bones of a side between landmarks that are there."""
        return [
            (one, other)
            for one, other in self._layout.bones
            if present[one] and present[other] and _bone_side(self._of_side, one, other) == side
        ]

    def _dots_of(self, present: np.ndarray) -> np.ndarray:
        """Return which landmarks are drawn as dots: all of a small layout, else those without a bone."""
        return present if self._layout.num_landmarks <= _MOST_JOINTS else present & ~self._in_bone

    def _tracks(self, fitted: np.ndarray) -> tuple[int, int, str]:
        """Draw the way of each point: it gets darker in time, and a dot is where it ends."""
        body = []
        edges = np.linspace(0, len(fitted) - 1, _FADES + 1).round().astype(int)
        for point in range(fitted.shape[1]):
            colour = f"t{point}"
            for step, (first, last) in enumerate(itertools.pairwise(edges)):
                line = _polyline(fitted[first : last + 1, point])
                if line:
                    opacity = 0.25 + 0.75 * (step + 1) / _FADES
                    body.append(f'<path class="{colour}" stroke-width="1.8" opacity="{opacity:.2f}" d="{line}"/>')
            there = np.flatnonzero(fitted[:, point, 0] >= 0)
            if len(there):
                x, y = fitted[there[-1], point]
                body.append(f'<circle class="{colour}" cx="{x}" cy="{y}" r="2.8"/>')
        return _CELL, _CELL, "".join(body)

    def _channels(self, values: np.ndarray) -> tuple[int, int, str]:
        """Draw the channels of a clip [frames, channels] as one line each, below each other, each in its own range."""
        shown = min(values.shape[1], _MOST_CHANNELS)
        width, row = (300, 17) if self.is_wide else (_CELL, 7)
        low, high = self._ranges[:shown, 0], self._ranges[:shown, 1]
        span = np.where(high > low, high - low, 1)
        body = []
        for channel in range(shown):
            top = channel * row
            shares = np.clip((values[:, channel] - low[channel]) / span[channel], 0, 1)
            body.append(f'<path class="axis" d="M0 {top + row}H{width}"/>')
            if len(values) == 1:
                if not np.isnan(shares[0]):
                    length = f"{shares[0] * (width - 4):.0f}"
                    body.append(f'<path class="t0" stroke-width="3" d="M2 {top + row - 3}h{length}"/>')
                continue
            x = np.linspace(2, width - 2, len(values))
            line = _polyline(np.stack([x, top + row - 2 - (row - 4) * shares], axis=1), digits=1)
            body.append(f'<path class="t0" stroke-width="1.2" d="{line}"/>')
        rest = values.shape[1] - shown
        if rest:
            body.append(f'<text x="0" y="{shown * row + 11}">and {rest} more channels</text>')
        return width, shown * row + (_FOOT if rest else 1), "".join(body)


def hidden_landmarks(layout: LandmarkLayout) -> np.ndarray:
    """Return which landmarks are not drawn, [landmarks]: the legs, which say nothing where there are hands."""
    has_hands = any("hand" in name.split(".")[0] for name in layout.names if "." in name)
    return np.array([has_hands and bool(_LEG.search(name)) for name in layout.names] or [False] * layout.num_landmarks)


def side_name(side: str) -> str:
    """Return what a side's colour stands for."""
    return _SIDE_COLOURS[side]


def _fit(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return points [frames, landmarks, 2] in whole numbers inside a cell, all to one scale; missing ones as -1."""
    flat = points.reshape(-1, 2)
    low, high = np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)
    size = np.array([width, height])
    span = np.where(high > low, high - low, 1e-9)
    scale = ((size - 2 * _MARGIN) / span).min()
    scaled = (points - (low + high) / 2) * scale + size / 2
    return np.where(np.isnan(scaled), -1, scaled.round(0)).astype(int)


def _polyline(points: np.ndarray, digits: int = 0) -> str:
    """Return the path through points [points, 2], with gaps where they are missing (NaN or below 0)."""
    pieces, is_drawing = [], False
    for x, y in points.tolist():
        is_there = x >= 0 and y >= 0
        if is_there:
            pieces.append(f"{'L' if is_drawing else 'M'}{x:.{digits}f} {y:.{digits}f}")
        is_drawing = is_there
    return "".join(pieces)


def _side_of(name: str) -> str:
    """Return "l" or "r" for a name such as `left_hand.wrist` or `r_shoulder`, else "m"."""
    words = re.split(r"[^a-z]+", name.lower())
    if "left" in words or "l" in words:
        return "l"
    return "r" if "right" in words or "r" in words else "m"


def _bone_side(of_side: dict[str, np.ndarray], one: int, other: int) -> str:
    return next((side for side in ("l", "r") if of_side[side][one] and of_side[side][other]), "m")

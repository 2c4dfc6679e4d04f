"""What was understood of a data set, as a record: its form, its counts, what is missing, and the sentence that says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..landmarks import SIGNER, SPLITS, LandmarkData, LandmarkLayout
from .columns import may_hold_gaps

_BLOCK_NUMBERS = 1 << 22
"""Numbers that are looked at at once, so that little memory is needed beside the data."""


@dataclass(frozen=True, kw_only=True)
class FrameCounts:
    """The frames of the clips of a data set."""

    min: int
    median: float
    max: int


@dataclass(frozen=True, kw_only=True)
class Understood:
    """What was understood of a data set; goes to JSON and comes back equal."""

    format: str
    """The name of the reader."""
    source: tuple[str, ...]
    """The names of the files or of the folder, without their places."""
    layout: str
    """What the landmarks are: `hand`, `pose, both hands`, `points`, `channels`."""
    clips: int
    frames: FrameCounts
    landmarks: int
    """Landmarks of a frame, or channels."""
    coords: str
    """The coordinates that are kept, such as `xyz`; empty for channels."""
    classes: dict[str, int]
    """Clips of each class, in the order of the classes."""
    signers: dict[str, int]
    """Clips of each signer; empty if none is known."""
    groups: dict[str, int]
    """The number of groups of each other kind, such as `recording`."""
    splits: dict[str, int]
    """Clips of each split of the data's own; empty if they have none."""
    missing_share: float
    """The share of points that are missing, from 0 to 1."""
    missing_by_landmark: dict[str, float]
    """The same of each landmark, by its name, or by its number if it has none."""
    notes: tuple[str, ...]
    """What was decided and left out, one sentence each."""
    warnings: tuple[str, ...]
    """What is doubtful, and what to do, one sentence each."""

    def __str__(self) -> str:
        """Return the sentence: `180 clips of 1 frame, 21 landmarks (hand) x, y, z, 0 % missing, 3 classes; from a.csv`."""
        if self.coords:
            form = f"{_count(self.landmarks, 'landmark')} ({self.layout}) {', '.join(self.coords)}"
        else:
            form = _count(self.landmarks, "channel")
        parts = [
            f"{_count(self.clips, 'clip')} of {_frames(self.frames)}",
            form,
            f"{_percent(self.missing_share)} missing",
            _count(len(self.classes), "class", "classes"),
        ]
        if self.signers:
            parts.append(_count(len(self.signers), "signer"))
        return f"{', '.join(parts)}; from {', '.join(self.source)}"


def summarise(data: LandmarkData) -> Understood:
    """Return the record of a data set. Clips without a known signer, group or split are not counted there."""
    lengths = np.diff(data.offsets)
    missing = missing_by_landmark(data.values)
    splits = Counter(name for name in data.own_split if name)
    return Understood(
        format=data.source_format,
        source=tuple(data.source) or (data.name,),
        layout=data.layout.title or ("points" if data.layout.spatial else "channels"),
        clips=len(data),
        frames=FrameCounts(min=int(lengths.min()), median=float(np.median(lengths)), max=int(lengths.max())),
        landmarks=data.layout.num_landmarks,
        coords="xyz"[: data.layout.num_coords] if data.layout.spatial else "",
        classes=dict(
            zip(data.class_names, np.bincount(data.labels, minlength=len(data.class_names)).tolist(), strict=True)
        ),
        signers=_counts(data.signers),
        groups={kind: len(_counts(of_clip)) for kind, of_clip in data.groups.items() if kind != SIGNER},
        splits={name: splits[name] for name in SPLITS if splits[name]},
        missing_share=float(missing.mean()),
        missing_by_landmark=dict(zip(landmark_names(data.layout), missing.tolist(), strict=True)),
        notes=tuple(data.notes),
        warnings=tuple(data.warnings),
    )


def landmark_names(layout: LandmarkLayout) -> tuple[str, ...]:
    """Return the name of each landmark: its own, or its number from 0."""
    return layout.names or tuple(map(str, range(layout.num_landmarks)))


def missing_by_landmark(values: np.ndarray) -> np.ndarray:
    """Return the share of frames, [landmarks], in which each landmark of `values` [frames, landmarks, coords] is missing."""
    rows = max(1, _BLOCK_NUMBERS // max(1, values[0].size)) if len(values) else 1
    counts = np.zeros(values.shape[1], dtype=np.int64)
    for start in range(0, len(values), rows):
        block = values[start : start + rows]
        if may_hold_gaps(block):
            counts += np.isnan(block[:, :, 0]).sum(axis=0)
    return counts / max(1, len(values))


def _counts(texts: Sequence[str]) -> dict[str, int]:
    found = Counter(text for text in texts if text)
    return {text: found[text] for text in sorted(found)}


def _frames(frames: FrameCounts) -> str:
    if frames.min == frames.max:
        return _count(frames.min, "frame")
    return f"{frames.min:,} to {frames.max:,} frames (median {frames.median:g})"


def _percent(share: float) -> str:
    """Return a share in per cent with two digits at least, so that little is not said to be nothing."""
    percent = 100.0 * share
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"

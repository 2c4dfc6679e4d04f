"""The options of landmark data: their source, their split, their augmentation. No torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ..config.recipe import check

SplitMode = Literal["auto", "stratified", "signer", "own"]
Duplicates = Literal["drop", "keep"]
LandmarkKind = Literal["auto", "hand", "hands", "pose", "holistic", "points", "channels"]
CoordsKind = Literal["auto", "xy", "xyz", "xyzv", "xyc"]

SYNTHETIC = "synthetic"
"""The name of the embedded default."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the files of a source are to be understood, where they do not say it themselves."""

    format: str | None = None
    """The name of a reader; None: the one that recognises the source."""
    landmarks: LandmarkKind = "auto"
    """What the numbers of a frame are."""
    coords: CoordsKind = "auto"
    """What the numbers of a point are: v is visibility, c is confidence."""
    layout: str | None = None
    """The path of a file that describes a skeleton: names, sides, center, scale, bones."""
    keep: str | None = None
    """Landmarks to keep, by name or by part, with commas between them; None: all."""
    label: str | None = None
    """The column of the class; None: one with a usual name."""
    signer: str | None = None
    """The column of the signer; None: one with a usual name."""
    group: str | None = None
    """`recording`, `view`, or a column: clips with the same value there are not split."""
    encoding: str | None = None
    """The encoding of text files; None: UTF-8."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The samples and how they are split."""

    source: str = SYNTHETIC
    reading: Reading = dataclasses.field(default_factory=Reading)
    split: SplitMode = "auto"
    train_ratio: float = 0.7
    duplicates: Duplicates = "drop"

    def __post_init__(self) -> None:
        check(0 < self.train_ratio < 1, "data", "train_ratio", self.train_ratio, "between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The strengths of the augmentations; zero switches one off. Lengths are in units of the hand or body size."""

    rotation_degrees: float = 0.0
    """Largest rotation in the image plane, either way; with three coordinates half as much out of it."""
    scale: float = 0.0
    """The clip is enlarged or shrunk by a factor in [1 / (1 + scale), 1 + scale]."""
    shear: float = 0.0
    shift: float = 0.0
    flip_probability: float = 0.0
    """Of a left-right flip, which exchanges the landmarks of the left and the right side."""
    noise: float = 0.0
    """Standard deviation of the noise on every coordinate."""
    resample: float = 0.0
    """The clip is played at a speed in [1 / (1 + resample), 1 + resample], by linear interpolation."""
    crop: float = 0.0
    """Largest share of the frames removed at each end."""
    frame_dropout: float = 0.0
    """Probability that a frame loses all its landmarks."""
    landmark_dropout: float = 0.0
    """Probability that a landmark is missing throughout a clip."""

    def strengthened(self, factor: float) -> Augmentation:
        """Return the same augmentations, each `factor` times as strong; the flip stays as likely."""
        values = {name: value * factor for name, value in dataclasses.asdict(self).items()}
        return Augmentation(**{**values, "flip_probability": self.flip_probability})

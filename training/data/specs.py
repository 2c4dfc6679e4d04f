"""The options of landmark data: their source, their split, their augmentation. No torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ..common.errors import UserError, flag_of
from ..config.recipe import check

SplitMode = Literal["auto", "stratified", "signer", "own"]
Duplicates = Literal["drop", "keep"]
Normalise = Literal["set", "clip"]
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
    """`signer`, `recording`, `view`, `blocks` or a column: clips with the same value there are in one split."""
    encoding: str | None = None
    """The encoding of text files; None: UTF-8."""

    def __post_init__(self) -> None:
        for option, value in (("coords", self.coords), ("layout", self.layout)):
            if self.landmarks == "channels" and value not in (None, "auto"):
                raise UserError(
                    f"{flag_of(option)} {value}: contradicts --landmarks channels, numbers without geometry; give one of them",
                    option=option,
                )


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The samples and how they are split."""

    source: str = SYNTHETIC
    reading: Reading = dataclasses.field(default_factory=Reading)
    split: SplitMode = "auto"
    train_ratio: float | None = None
    """The share of the training clips, of which the others are half validation and half test; None: .8 below 1,000 clips,
    .7 from there on."""
    duplicates: Duplicates = "drop"
    normalise: Normalise = "set"
    """What gives points without a body of their own place and size: all training clips, or each clip itself."""
    final_fit: bool = False
    """Whether the validation trains too: nothing is left that could choose weights."""
    folds: int | None = None
    """The parts of a cross-validation, each of which is the test of one run."""
    fold: int | None = None
    """The part that is the test of this run, from 0."""
    leave_out: str | None = None
    """A kind of group, such as `signer`, each value of which is the test of one run."""
    held_out: str | None = None
    """The value that is the test of this run."""
    min_clips: int = 1
    """Classes with fewer clips are left out."""

    def __post_init__(self) -> None:
        ratio, folds = self.train_ratio, self.folds
        check(ratio is None or 0 < ratio < 1, "", "--train-ratio", ratio, "between 0 and 1")
        check(folds is None or folds >= 2, "data", "folds", folds, "at least 2")
        in_folds = self.fold is None or (folds is not None and 0 <= self.fold < folds)
        check(in_folds, "data", "fold", self.fold, "one of the folds, from 0")
        check(self.held_out is None or self.leave_out is not None, "data", "held_out", self.held_out, "with leave_out")
        check(self.min_clips >= 1, "data", "min_clips", self.min_clips, "at least 1")
        if folds is not None and self.leave_out is not None:
            raise UserError("--folds and --leave-out each say what the tests are: give one of them")
        for option in ("folds", "leave_out"):
            if getattr(self, option) is not None and self.split == "own":
                raise UserError(
                    f"--split own contradicts {flag_of(option)}, which makes its own tests: give one of them"
                )

    def with_test(self, value: int | str) -> DataSpec:
        """Return the spec of the run whose test is a fold, or a value of the group that is left out."""
        return dataclasses.replace(self, **{"fold" if self.folds is not None else "held_out": value})  # type: ignore[arg-type]


_STRONGEST = {
    "rotation_degrees": 180.0,
    **dict.fromkeys(("scale", "shear", "shift", "noise", "resample"), 10.0),
    "crop": 0.5,
    **dict.fromkeys(("flip_probability", "frame_dropout", "landmark_dropout"), 1.0),
}
"""Beyond these nothing of a clip is left, or a clip takes the memory of thousands."""


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

    def __post_init__(self) -> None:
        for name, most in _STRONGEST.items():
            value = getattr(self, name)
            check(0 <= value <= most, "", f"augmentation.{name}", value, f"from 0 to {most:g}")

    def strengthened(self, factor: float) -> Augmentation:
        """Return the same augmentations, each `factor` times as strong; the flip stays as likely."""
        values = {name: value * factor for name, value in dataclasses.asdict(self).items()}
        return Augmentation(**{**values, "flip_probability": self.flip_probability})

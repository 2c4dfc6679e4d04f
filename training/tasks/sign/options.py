"""The options of sign recognition in a config, a recipe and a stage: data, size of the encoder, augmentation. No torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ...common.errors import UserError
from ...config.options import OptionGroup, option
from ...config.recipe import TaskSpec, check
from ...data.specs import Augmentation, CoordsKind, DataSpec, Duplicates, LandmarkKind, Normalise, Reading, SplitMode

DATA = OptionGroup(title="sign recognition: its data", decides_weights=True)
SIGN = OptionGroup(title="sign recognition: its model", decides_weights=True)

AUGMENTATION = Augmentation(
    rotation_degrees=15.0,
    scale=0.2,
    shear=0.1,
    shift=0.1,
    noise=0.01,
    resample=0.25,
    crop=0.08,
    frame_dropout=0.05,
    landmark_dropout=0.03,
)
"""The augmentation of strength 1. It does not flip: in one-handed data a flip changes who signs, and in two-handed data
it can change the sign; a stages file asks for it with `flip_probability`."""

_WIDEST = 16_384


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The size of the bundled encoder."""

    width: int = 96
    blocks: int = 2
    """Groups of convolutions followed by one transformer block."""
    convolutions: int = 2
    """Convolution blocks in each group."""
    kernel_size: int = 9
    heads: int = 4
    distances: bool = True
    """Whether the distances between wrist and fingertips are features too."""

    def __post_init__(self) -> None:
        divisible = self.width >= self.heads >= 1 and self.width % self.heads == 0
        check(divisible, "model", "width", self.width, f"a multiple of its {self.heads} heads")
        check(self.width <= _WIDEST, "model", "width", self.width, f"at most {_WIDEST:,}")
        for name, most in (("blocks", 256), ("convolutions", 256), ("kernel_size", 1024)):
            check(1 <= getattr(self, name) <= most, "model", name, getattr(self, name), f"from 1 to {most}")


CLASSIFICATION_METRICS = ("accuracy", "macro_f1", "loss", "top5_accuracy", "confusion_matrix")
"""What a `ClassificationTask` measures."""


@dataclass(frozen=True, kw_only=True)
class ClassificationStage:
    """The settings of a classification task in a stage."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check(0 <= self.label_smoothing < 1, "", "label_smoothing", self.label_smoothing, "from 0 up to below 1")


@dataclass(frozen=True, kw_only=True)
class SignStage(ClassificationStage):
    """The settings of sign recognition in a stage."""

    dropout: float = 0.1
    """Of the encoder's head; half of it in the residual branches."""
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 <= self.dropout < 1, "", "dropout", self.dropout, "from 0 up to below 1")


STAGE_OPTIONS = {"dropout": "dropout", "augment": "augmentation"}
"""Options for every stage, and the setting of a stage that each one changes."""


@dataclass(frozen=True, kw_only=True)
class SignOptions:
    """The options of sign recognition."""

    data: str = option(
        DataSpec.source, DATA, "path or name of a data set; synthetic: the generated one that comes with Slipway"
    )
    data_format: str | None = option(Reading.format, DATA, "format of the data; detected unless given")
    landmarks: LandmarkKind = option(
        Reading.landmarks,
        DATA,
        "what the numbers of a frame are; points: any points in space, channels: numbers without geometry "
        "(angles, distances, sensors), auto: what their count and their values say",
    )
    coords: CoordsKind = option(
        Reading.coords, DATA, "what the numbers of a point are; v: visibility, c: confidence, auto: as their values say"
    )
    layout: str | None = option(
        Reading.layout,
        DATA,
        "YAML file of a skeleton: its landmarks' names, sides, center, scale and bones; "
        "islr: the 543 points in the order of Google's set",
    )
    keep_landmarks: str | None = option(
        Reading.keep, DATA, "landmarks or parts to keep, by name, with commas between them; all unless given"
    )
    label: str | None = option(
        Reading.label, DATA, "column of the class, or folder1, folder2, ... of folders; found by its name unless given"
    )
    signer: str | None = option(
        Reading.signer, DATA, "column of the signer, or folder1, ... of folders; found by its name unless given"
    )
    group: str | None = option(
        Reading.group,
        DATA,
        "what is never split: signer, recording, view, a column of the data, or blocks (runs of alike rows)",
    )
    encoding: str | None = option(
        Reading.encoding, DATA, "encoding of text files, such as cp949 or shift_jis; UTF-8 unless given"
    )
    split: SplitMode = option(
        DataSpec.split, DATA, "how to split the data; auto: the data's own split if there is one, else stratified"
    )
    train_ratio: float | None = option(
        DataSpec.train_ratio,
        DATA,
        "share of the samples to train on; validation and test get half of the rest each; .8 below 1,000 clips and .7 "
        "from there on unless given",
    )
    duplicates: Duplicates = option(
        DataSpec.duplicates, DATA, "exact duplicates: drop all but the first, or keep them in the same split"
    )
    normalise: Normalise = option(
        DataSpec.normalise,
        SIGN,
        "what gives points without a body their place and size: set, all training clips; clip, each clip itself, which "
        "suits clips in several units",
    )
    final_fit: bool = option(
        DataSpec.final_fit,
        SIGN,
        "train on the validation clips too, when all is chosen: the last weights are kept, and the test alone measures them",
    )
    folds: int | None = option(
        DataSpec.folds, SIGN, "cross-validation: cut the data into this many parts, and test on each of them in turn"
    )
    fold: int | None = option(None, SIGN, "with --folds: train only the run whose test is this part, from 1")
    leave_out: str | None = option(
        DataSpec.leave_out,
        SIGN,
        "test on each signer in turn, or on each value of another --group; train on the others",
    )
    held_out: str | None = option(
        DataSpec.held_out, SIGN, "with --leave-out: train only the run whose test is this signer, or other value"
    )
    min_clips: int = option(DataSpec.min_clips, SIGN, "leave out classes that have fewer clips than this")
    model_width: int = option(ModelSpec.width, SIGN, "channels of the encoder")
    model_blocks: int = option(ModelSpec.blocks, SIGN, "blocks of the encoder")
    hand_distances: bool = option(
        ModelSpec.distances, SIGN, "take the distances between wrist and fingertips too: a turned hand keeps them"
    )
    dropout: float | None = option(None, SIGN, "dropout of every stage; each stage's own unless given")
    augment: bool | None = option(
        None, SIGN, "augment the clips in every stage, or in none; as each stage says unless given"
    )

    @property
    def data_spec(self) -> DataSpec:
        """The data that these options name."""
        if self.folds is not None and self.folds < 2:
            raise UserError(
                f"--folds {self.folds}: it must be at least 2: one fold is the test, the others train", option="folds"
            )
        if self.min_clips < 1:
            raise UserError(f"--min-clips {self.min_clips}: it must be at least 1", option="min_clips")
        if self.fold is not None and not 1 <= self.fold <= (self.folds or 0):
            expected = f"one of 1 to {self.folds}" if self.folds else "given with --folds, as in --folds 5 --fold 2"
            raise UserError(f"--fold {self.fold}: it must be {expected}", option="fold")
        if self.held_out is not None and self.leave_out is None:
            raise UserError(
                f"--held-out {self.held_out}: give --leave-out too, as in --leave-out signer --held-out ann",
                option="held_out",
            )
        return DataSpec(
            source=self.data,
            reading=Reading(
                format=self.data_format,
                landmarks=self.landmarks,
                coords=self.coords,
                layout=self.layout,
                keep=self.keep_landmarks,
                label=self.label,
                signer=self.signer,
                group=self.group,
                encoding=self.encoding,
            ),
            split=self.split,
            train_ratio=self.train_ratio,
            duplicates=self.duplicates,
            normalise=self.normalise,
            final_fit=self.final_fit,
            folds=self.folds,
            fold=None if self.fold is None else self.fold - 1,
            leave_out=self.leave_out,
            held_out=self.held_out,
            min_clips=self.min_clips,
        )

    @property
    def model_spec(self) -> ModelSpec:
        """The size of the encoder."""
        return ModelSpec(width=self.model_width, blocks=self.model_blocks, distances=self.hand_distances)

    @property
    def sign_task(self) -> TaskSpec:
        """Sign recognition as these options describe it, wherever its data are stored."""
        data = dataclasses.asdict(self.data_spec)
        of_split = {
            name: value for name, value in data.items() if name not in ("source", "reading", "normalise", "final_fit")
        }
        of_split["group"] = self.group
        return TaskSpec(name="sign", options={"data": of_split, "model": dataclasses.asdict(self.model_spec)})

    def change_stage_options(self, options: Any) -> Any:
        """Return a stage's settings of the task with the options for every stage, as far as the task has them."""
        if self.dropout is not None and hasattr(options, "dropout"):
            options = dataclasses.replace(options, dropout=self.dropout)
        if self.augment is not None and hasattr(options, "augmentation"):
            options = _with_augmentation(options, self.augment)
        return options


def _with_augmentation(options: Any, augment: bool) -> Any:
    """Return the settings without augmentation, or with it: at strength 1 unless they had one."""
    if not augment:
        return dataclasses.replace(options, augmentation=Augmentation())
    return (
        dataclasses.replace(options, augmentation=AUGMENTATION) if options.augmentation == Augmentation() else options
    )

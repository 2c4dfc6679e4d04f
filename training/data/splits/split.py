"""Splits data into train, validation and test: stratified, by signer, by group, by fold, or as the data say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...common.errors import UserError
from ..landmarks import SIGNER, SPLITS, LandmarkData
from ..specs import DataSpec
from ..text import natural_key
from .blocks import BLOCKS
from .clips import (
    DROPPED,
    TEST,
    TRAIN,
    VALIDATION,
    Clips,
    count,
    count_clips,
    describe,
    warn_of_conflicts,
    without_copies,
)
from .folds import fold_values, test_fold
from .held_out import take_validation, test_by_signer, test_one_group
from .neighbours import Neighbours, find_neighbours
from .overlaps import overlapping
from .own import own_parts, refuse_no_train
from .stratified import hold_out
from .told import note_signers, note_unseen_classes, warn_of_leaks

_SMALL = 1000
"""Clips from which on less than .8 of the data are enough to train on."""
_OF_FOLDS = 0.1
"""The share of the training clips of a cross-validation that is its validation."""
_LARGE_PART = 0.75
"""Of the share that train should have; less is told."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """The clips of each split as increasing int64 indices into the data set."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    mode: str
    """The mode that was used, also for `auto`: stratified, signer, own, folds or leave_out."""
    notes: tuple[str, ...]
    """What was decided, one short sentence each."""
    warnings: tuple[str, ...] = ()
    """Why the test may say more than is true, and what to do, one sentence each."""
    group: str | None = None
    """The kind of group that was kept together."""
    signers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The known signers of each split; empty if none is known."""
    neighbours: Neighbours = field(default_factory=Neighbours)
    """How far test clips are nearly the same as training clips beside them in the source."""


def split(data: LandmarkData, spec: DataSpec, *, seed: int) -> Splits:
    """Return train, validation and test of a data set, a pure function of the arguments.

    `spec.train_ratio` is the share of the training clips; the rest is halved. Of the modes in `spec.split`, `auto` is
    `own`, the data's own split, if they have one, else `stratified`; a missing validation or test in an own split is taken
    from its training clips. `signer` puts no signer into two splits. With `spec.folds` each clip is the test of exactly one
    fold of a seed, with `spec.leave_out` the clips of one value are the test and all others train; a tenth of the training
    clips is validation. With `spec.final_fit` the validation of any mode trains too. Clips of one group
    (`spec.reading.group`) stay in one split, except in an own one. Of identical clips, `drop` in `spec.duplicates` keeps
    the first (in an own split, a training copy of a test clip is dropped) and `keep` puts all into one split. Raises
    `UserError` if the data cannot be split so.
    """
    mode, drop = _mode(data, spec), spec.duplicates == "drop"
    notes: list[str] = []
    clips = describe(data, spec.reading.group or _views_of_recordings(data, mode, notes))
    rng = np.random.default_rng(seed % (1 << 63))
    ratio = spec.train_ratio or (0.8 if len(data) < _SMALL else 0.7)
    held_out = (1.0 - ratio) / 2.0
    if mode == "own":
        parts = own_parts(clips, drop, notes)
        _complete(parts, clips, held_out, seed, rng, notes)
    else:
        parts = without_copies(clips, drop, notes)
    if mode == "signer":
        test_by_signer(parts, clips, held_out, seed, rng, notes)
    elif mode == "stratified":
        hold_out(parts, clips, (VALIDATION, TEST), 2.0 * held_out, rng, notes)
    elif mode in ("folds", "leave_out"):
        _cross_validation(parts, clips, data, spec, seed, rng, notes)
    if clips.group == BLOCKS and mode != "own":
        _drop_overlaps(parts, clips, data, notes)
    if mode == "stratified":
        in_train = float((parts[parts != DROPPED] == TRAIN).mean())
        if clips.group is not None and in_train < _LARGE_PART * ratio:
            notes.append(f"{in_train:.0%} of the clips are in train: groups ({clips.group}) are few, or large")
        elif spec.train_ratio is None:
            size = f"below {_SMALL:,} clips" if len(data) < _SMALL else f"from {_SMALL:,} clips on"
            notes.append(f"{ratio:.0%} train, {held_out:.0%} validation, {held_out:.0%} test: the default {size}")
    if spec.final_fit:
        notes.append(f"final fit: {count_clips(np.count_nonzero(parts == VALIDATION))} of validation train too")
        parts[parts == VALIDATION] = TRAIN
    return _splits(parts, clips, data, spec, mode, notes)


def _mode(data: LandmarkData, spec: DataSpec) -> str:
    if spec.folds is not None or spec.leave_out is not None:
        return "folds" if spec.folds is not None else "leave_out"
    if spec.split != "auto":
        return spec.split
    refuse_no_train(data.own_split, data.name, "give --split stratified, which does not use them")
    return "own" if len(set(data.own_split) - {""}) > 1 else "stratified"


def _views_of_recordings(data: LandmarkData, mode: str, notes: list[str]) -> str | None:
    """Return `recording` if cameras filmed it together: several views of one recording are nearly the same clip."""
    kinds = [data.groups.get(kind) for kind in ("recording", "view")]
    if mode not in ("stratified", "folds") or None in kinds:
        return None
    views = set(zip(*kinds, strict=True))
    if len(views) == len({recording for recording, _ in views}):
        return None
    notes.append("the views of one recording stay in one split, as with --group recording")
    return "recording"


def _complete(
    parts: np.ndarray, clips: Clips, held_out: float, seed: int, rng: np.random.Generator, notes: list[str]
) -> None:
    """Take a validation or test that an own split lacks from train."""
    for part in (TEST, VALIDATION):
        if not (parts == part).any():
            how = "stratified"
            if part == TEST:
                hold_out(parts, clips, (part,), held_out, rng, notes)
            else:
                how = take_validation(parts, clips, clips.signers, SIGNER, held_out, seed, rng, notes)
            taken = count_clips(np.count_nonzero(parts == part))
            notes.append(f"the own split has no {SPLITS[part]}: {taken} of train taken, {how}")


def _cross_validation(
    parts: np.ndarray,
    clips: Clips,
    data: LandmarkData,
    spec: DataSpec,
    seed: int,
    rng: np.random.Generator,
    notes: list[str],
) -> None:
    """Give a fold, or the clips of a value, to test and some others to validation."""
    values = fold_values(data, spec)
    kind = spec.leave_out or SIGNER
    names = np.array(data.group(kind), dtype=np.str_)
    if spec.folds is not None:
        if spec.fold is None:
            raise ValueError("a fold is missing: use `spec.with_test` with one of `fold_values`")
        test_fold(parts, clips, spec.folds, spec.fold, spec.split == "signer", rng)
        notes.append(f"fold {spec.fold + 1} of {spec.folds} is the test")
    else:
        if spec.held_out is None:
            raise ValueError("a value to hold out is missing: use `spec.with_test` with one of `fold_values`")
        if spec.held_out not in values:
            raise UserError(
                f"--leave-out {kind}: {data.name} has no {spec.held_out!r}; it has: {', '.join(map(str, values))}"
            )
        test_one_group(parts, clips, names, spec.held_out, notes)
        if kind != SIGNER:  # who is where is said of every split by signer
            notes.append(f"the test is {kind} {spec.held_out}, one of {len(values)}")
    if set(data.own_split) - {""}:
        notes.append("the data's own split is not used")
    fraction = _OF_FOLDS if spec.train_ratio is None else (1.0 - spec.train_ratio) / 2.0
    how = take_validation(parts, clips, names, kind, fraction, seed, rng, notes)
    notes.append(f"validation: {count_clips(np.count_nonzero(parts == VALIDATION))} of train, {how}")


def _drop_overlaps(parts: np.ndarray, clips: Clips, data: LandmarkData, notes: list[str]) -> None:
    """Drop windows that share frames with one of a later split: blocks of one recording touch each other."""
    overlaps = overlapping(data, parts)
    trained = np.unique(clips.labels[parts == TRAIN])
    parts[overlaps] = DROPPED
    lost = np.setdiff1d(trained, clips.labels[parts == TRAIN])
    if len(lost):
        raise UserError(
            f"{data.name}: without the windows that share frames with the test, no clip of {clips.class_names[lost[0]]} is "
            "left to train on; record longer or more often, or leave --group blocks out: the test is then too easy"
        )
    if len(overlaps):
        notes.append(f"{count_clips(len(overlaps))} left out: they share frames with clips of another split")


def _splits(parts: np.ndarray, clips: Clips, data: LandmarkData, spec: DataSpec, mode: str, notes: list[str]) -> Splits:
    train, validation, test = (np.flatnonzero(parts == part) for part in (TRAIN, VALIDATION, TEST))
    if not len(train):
        raise UserError(f"{data.name}: every training clip is an exact copy of a validation or test clip")
    if clips.group is not None and mode != "own":
        kept = count(len(np.unique(clips.groups[parts != DROPPED])), "group", "groups")
        notes.append(f"{kept} ({clips.group}), each in one split")
        unknown = np.count_nonzero(clips.groups[parts != DROPPED] == "")
        if unknown:
            notes.append(f"{count_clips(unknown)} without a {clips.group} count as one group")
    note_unseen_classes(parts, clips, notes)
    notes += [
        f"too few clips for a {name} split"
        for name, of in (("validation", validation), ("test", test))
        if not len(of) and not (name == "validation" and spec.final_fit)
    ]
    signers = {
        name: tuple(sorted(set(clips.signers[of].tolist()) - {""}, key=natural_key))
        for name, of in zip(SPLITS, (train, validation, test), strict=True)
        if len(set(clips.signers.tolist()) - {""})
    }
    if signers and (mode == "signer" or spec.leave_out == SIGNER):
        note_signers(signers, notes)
    neighbours = find_neighbours(data, train, test)
    warnings = (*warn_of_conflicts(clips), *warn_of_leaks(data, clips, parts, mode, neighbours, notes))
    return Splits(
        train=train,
        validation=validation,
        test=test,
        mode=mode,
        notes=tuple(notes),
        warnings=warnings,
        group=clips.group,
        signers=signers,
        neighbours=neighbours,
    )

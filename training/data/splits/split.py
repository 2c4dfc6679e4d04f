"""Splits data into train, validation and test: stratified, by signer or as the data say; copies stay in one split."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np

from ...common.apportion import apportion
from ...common.errors import UserError
from ..landmarks import SPLITS, LandmarkData
from ..specs import DataSpec

_TRAIN, _VALIDATION, _TEST = range(3)
_DROPPED = -1
_SMALL = 1000
"""Clips from which on less than .8 of the data are enough to train on."""
_SIGNER_DRAWS = 8
"""Random assignments of signers that are tried; few, so that seeds still differ if one assignment fits best."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """The clips of each split as increasing int64 indices into the data set."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    mode: str
    """The mode that was used, also for `auto`: stratified, signer or own."""
    notes: tuple[str, ...]
    """What was decided, one short sentence each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Clips:
    """What a split depends on, each [clips]."""

    labels: np.ndarray
    signers: np.ndarray
    own: np.ndarray
    """The data's own split as _TRAIN, _VALIDATION, _TEST, or -1."""
    originals: np.ndarray
    """The index of the first clip with the same bytes; of a clip that is not a copy, its own index."""


def split(data: LandmarkData, spec: DataSpec, *, seed: int) -> Splits:
    """Return train, validation and test of a data set, a pure function of the arguments.

    `spec.train_ratio` is the share of the training clips; the rest is halved. Of the modes in `spec.split`, `auto` is
    `own`, the data's own split, if they have one, else `stratified`; a missing validation or test in an own split is taken
    from its training clips, stratified. `signer` puts no signer into two splits. Of identical clips, `drop` in
    `spec.duplicates` keeps the first (in an own split, a training copy of a test clip is dropped) and `keep` puts all into
    one split. Raises `UserError` if the data have no signers or no own split.
    """
    clips, mode, drop = _describe(data), spec.split, spec.duplicates == "drop"
    if mode == "auto":
        mode = "own" if len(np.unique(clips.own[clips.own >= 0])) > 1 else "stratified"
    notes: list[str] = []
    rng = np.random.default_rng(seed % (1 << 63))
    ratio = spec.train_ratio or (0.8 if len(data) < _SMALL else 0.7)
    held_out = (1.0 - ratio) / 2.0
    if mode == "own":
        parts = _own(data, clips, drop, notes)
        _complete(parts, clips, held_out, rng, notes)
    else:
        parts = _without_copies(clips, drop, notes)
        if mode == "signer":
            _by_signer(parts, clips, held_out, seed, rng, notes)
        else:
            _hold_out(parts, clips, (_VALIDATION, _TEST), 2.0 * held_out, rng, notes)
    _note_unseen_classes(parts, clips, data.class_names, notes)
    train, validation, test = (np.flatnonzero(parts == part) for part in (_TRAIN, _VALIDATION, _TEST))
    if not len(train):
        raise UserError(f"{data.name}: every training clip is an exact copy of a validation or test clip")
    notes += [
        f"too few clips for a {name} split" for name, of in (("validation", validation), ("test", test)) if not len(of)
    ]
    return Splits(train=train, validation=validation, test=test, mode=mode, notes=tuple(notes))


def _describe(data: LandmarkData) -> _Clips:
    own = np.array([SPLITS.index(name) if name else -1 for name in data.own_split], dtype=np.int64)
    first: dict[bytes, int] = {}
    originals = [
        first.setdefault(hashlib.blake2b(data.values[start:stop].tobytes(), digest_size=16).digest(), index)
        for index, (start, stop) in enumerate(itertools.pairwise(data.offsets))
    ]
    return _Clips(
        labels=data.labels,
        signers=np.array(data.signers, dtype=np.str_),
        own=own if len(own) else np.full(len(data), -1),
        originals=np.array(originals, dtype=np.int64),
    )


def _without_copies(clips: _Clips, drop: bool, notes: list[str]) -> np.ndarray:
    """Return the parts [clips]: all in train, except for dropped copies, those with the label of an earlier one."""
    parts = np.full(len(clips.labels), _TRAIN)
    copies = np.flatnonzero(clips.originals != np.arange(len(parts)))
    if drop:
        copies = _later_copies(clips, np.arange(len(parts)))
        parts[copies] = _DROPPED
    if len(copies) and drop:
        notes.append(f"{_clips(len(copies))} dropped as exact copies of earlier ones")
    elif len(copies):
        notes.append(
            f"{_clips(len(copies))} are exact copies of earlier ones, each kept in the same split as its original"
        )
    _note_conflicts(clips, notes)
    return parts


def _later_copies(clips: _Clips, among: np.ndarray) -> np.ndarray:
    """Return which of the given clips have the same bytes and label as an earlier one of them."""
    pairs = np.stack([clips.originals[among], clips.labels[among]], axis=1)
    _, firsts = np.unique(pairs, axis=0, return_index=True)
    return np.delete(among, firsts)


def _note_conflicts(clips: _Clips, notes: list[str]) -> None:
    pairs = np.unique(np.stack([clips.originals, clips.labels], axis=1), axis=0)
    _, labels_of_each = np.unique(pairs[:, 0], return_counts=True)
    conflicts = np.count_nonzero(labels_of_each > 1)
    if conflicts:
        notes.append(f"identical clips under more than one class: {conflicts}; such copies stay in one split")


def _own(data: LandmarkData, clips: _Clips, drop: bool, notes: list[str]) -> np.ndarray:
    """Return the parts [clips] of the data's own split; copies go to test before validation before train."""
    parts = clips.own.copy()
    if not (parts == _TRAIN).any() or len(np.unique(parts[parts >= 0])) < 2:
        raise UserError(f"{data.name}: has no own split into train and test; choose --split stratified or signer")
    if (parts < 0).any():
        raise UserError(
            f"{data.name}: {_clips(np.count_nonzero(parts < 0))} without a split where others have one; first is "
            f"clip {np.flatnonzero(parts < 0)[0]}"
        )
    furthest = np.full(len(parts), _TRAIN)
    np.maximum.at(furthest, clips.originals, parts)
    straddling = parts != furthest[clips.originals]
    if straddling.any():
        parts[straddling] = _DROPPED if drop else furthest[clips.originals][straddling]
        what = "dropped from" if drop else "moved out of"
        notes.append(
            f"{_clips(np.count_nonzero(straddling))} {what} the own split as exact copies of test or validation clips"
        )
    if drop:
        copies = _later_copies(clips, np.flatnonzero(parts == _TRAIN))
        parts[copies] = _DROPPED
        if len(copies):
            notes.append(f"{_clips(len(copies))} dropped from train as exact copies of earlier ones")
    _note_conflicts(clips, notes)
    return parts


def _complete(parts: np.ndarray, clips: _Clips, held_out: float, rng: np.random.Generator, notes: list[str]) -> None:
    """Take a validation or test that an own split lacks from train."""
    for part in (_TEST, _VALIDATION):
        if not (parts == part).any():
            _hold_out(parts, clips, (part,), held_out, rng, notes)
            taken = _clips(np.count_nonzero(parts == part))
            notes.append(f"the own split has no {SPLITS[part]}: {taken} of train taken, stratified")


def _hold_out(
    parts: np.ndarray, clips: _Clips, into: tuple[int, ...], fraction: float, rng: np.random.Generator, notes: list[str]
) -> None:
    """Move a stratified share of train, copies together, into one or two other splits of equal size.

    Classes with fewer than 3 different clips stay in train (fewer than 2 if no class has 3). scikit-learn's stratified
    splitters refuse such rare classes; the shares of the others are rounded by largest remainders over all classes.
    """
    rows = np.flatnonzero(parts == _TRAIN)
    units, first_rows = np.unique(clips.originals[rows], return_index=True)
    labels = clips.labels[rows[first_rows]]
    sizes = np.bincount(labels)
    smallest = 3 if sizes.max(initial=0) >= 3 else 2
    rare = (sizes > 0) & (sizes < smallest)
    if rare.any():
        notes.append(
            f"{_count(np.count_nonzero(rare), 'class', 'classes')} with fewer than {smallest} different clips "
            f"({_clips(sizes[rare].sum())}) kept in train"
        )
    eligible = np.where(rare, 0, sizes)
    counts = np.minimum(_apportion(fraction, eligible, len(into), rng), np.maximum(eligible - 1, 0))
    held = _draw(labels, counts, rng)
    parts_of_units = np.full(len(units), _TRAIN)
    parts_of_units[held] = into[0]
    if len(into) == 2:
        second = _draw(labels[held], _apportion(0.5, np.bincount(labels[held], minlength=len(sizes)), 1, rng), rng)
        parts_of_units[held[second]] = into[1]
    parts[rows] = parts_of_units[np.searchsorted(units, clips.originals[rows])]


def _apportion(fraction: float, sizes: np.ndarray, at_least: int, rng: np.random.Generator) -> np.ndarray:
    """Return how many to take of each class, in proportion; `rng` decides ties between classes."""
    counts = np.zeros_like(sizes)
    if sizes.sum() > 0:
        total = min(max(round(fraction * sizes.sum()), at_least), int(sizes.sum()))
        order = rng.permutation(len(sizes))
        counts[order] = apportion(total, sizes[order].tolist())
    return counts


def _draw(labels: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return positions of `counts[class]` random members of each class."""
    drawn = [rng.permutation(np.flatnonzero(labels == label))[: counts[label]] for label in np.flatnonzero(counts)]
    return np.concatenate([np.empty(0, dtype=np.int64), *drawn])


def _by_signer(
    parts: np.ndarray, clips: _Clips, held_out: float, seed: int, rng: np.random.Generator, notes: list[str]
) -> None:
    """Give all clips of some signers to validation and test.

    Of two signers one is the test, and validation is a stratified part of the other. Of three each is a split; the larger
    of the two that are not the test is train. In both cases consecutive seeds test each signer in turn. Of more, signers
    are drawn to come near the shares. Signers who share a copy of a clip count as one.
    """
    rows = np.flatnonzero(parts == _TRAIN)
    if (clips.signers[rows] == "").any():
        unknown = np.count_nonzero(clips.signers[rows] == "")
        raise UserError(
            f"--split signer: no signer is given for {unknown} of {len(rows)} clips; choose --split stratified"
        )
    names, signer = np.unique(clips.signers[rows], return_inverse=True)
    person = _connected(signer, np.unique(clips.originals[rows], return_inverse=True)[1])
    sizes = np.bincount(person)
    if len(sizes) < 2:
        raise UserError(
            "--split signer: all clips are of one signer, or of signers who share copies of clips; "
            "choose --split stratified"
        )
    if len(sizes) <= 3:
        test = seed % len(sizes)
        part_of = np.full(len(sizes), _TRAIN)
        part_of[test] = _TEST
        if len(sizes) == 3:
            part_of[min((sizes[other], other) for other in range(3) if other != test)[1]] = _VALIDATION
    else:
        part_of = _draw_signers(sizes, held_out, rng)
    parts[rows] = part_of[person]
    for part in (_TEST, _VALIDATION):
        of_part = names[np.unique(signer[parts[rows] == part])]
        if 0 < len(of_part) <= 5:
            notes.append(f"signers of {SPLITS[part]}: {', '.join(of_part)}")
    if len(sizes) == 2:
        _hold_out(parts, clips, (_VALIDATION,), held_out, rng, notes)
        notes.append("two signers only: validation is of the training signer, stratified")


def _connected(signer: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return a number from 0, [clips], for each set of signers connected by copies of one clip."""
    person = np.arange(signer.max() + 1)
    while True:
        lowest = np.full(unit.max() + 1, len(person))
        np.minimum.at(lowest, unit, person[signer])
        before = person.copy()
        np.minimum.at(person, signer, lowest[unit])
        if (person == before).all():
            return np.unique(person, return_inverse=True)[1][signer]


def _draw_signers(sizes: np.ndarray, held_out: float, rng: np.random.Generator) -> np.ndarray:
    """Return the part of each of four or more signers: the draw nearest to the shares, with a signer in each part."""
    target = held_out * sizes.sum()
    best, best_miss = np.full(len(sizes), _TRAIN), np.inf
    for _ in range(_SIGNER_DRAWS):
        drawn, miss = np.full(len(sizes), _TRAIN), 0.0
        order = rng.permutation(len(sizes)).tolist()
        for part, leave in ((_TEST, 2), (_VALIDATION, 1)):
            total = 0
            while len(order) > leave and (total == 0 or abs(total + sizes[order[-1]] - target) < abs(total - target)):
                drawn[order[-1]] = part
                total += sizes[order.pop()]
            miss += abs(total - target)
        if miss < best_miss:
            best, best_miss = drawn, miss
    return best


def _note_unseen_classes(parts: np.ndarray, clips: _Clips, class_names: tuple[str, ...], notes: list[str]) -> None:
    seen = np.unique(clips.labels[parts == _TRAIN])
    for part in (_VALIDATION, _TEST):
        unseen = np.setdiff1d(clips.labels[parts == part], seen)
        if len(unseen):
            names = ", ".join(class_names[label] for label in unseen[:5]) + (", ..." if len(unseen) > 5 else "")
            notes.append(f"{_count(len(unseen), 'class', 'classes')} of {SPLITS[part]} not in train: {names}")


def _count(number: int | np.integer, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _clips(number: int | np.integer) -> str:
    return _count(number, "clip", "clips")

"""What is said of a split: who is where, what a test cannot show, and what may make it too good."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..landmarks import SIGNER, SPLITS, LandmarkData
from .blocks import BLOCKS
from .clips import TEST, TRAIN, VALIDATION, Clips, count
from .neighbours import Neighbours

_MOST_NAMES = 8
_TOLD_SHARE = 0.1
"""The share of test clips from which on neighbours in train are told."""
_RECORDING = "recording"


def note_signers(signers: Mapping[str, tuple[str, ...]], notes: list[str]) -> None:
    """Note who is in which split: the names, or their number where they are many."""
    for name in reversed(SPLITS):
        if signers[name]:
            many = f"{len(signers[name])} signers"
            notes.append(
                f"signers of {name}: {', '.join(signers[name]) if len(signers[name]) <= _MOST_NAMES else many}"
            )


def note_unseen_classes(parts: np.ndarray, clips: Clips, notes: list[str]) -> None:
    """Note classes of validation and test that train does not have."""
    seen = np.unique(clips.labels[parts == TRAIN])
    for part in (VALIDATION, TEST):
        unseen = np.setdiff1d(clips.labels[parts == part], seen)
        if len(unseen):
            names = ", ".join(clips.class_names[label] for label in unseen[:5]) + (", ..." if len(unseen) > 5 else "")
            notes.append(f"{count(len(unseen), 'class', 'classes')} of {SPLITS[part]} not in train: {names}")


def warn_of_leaks(
    data: LandmarkData, clips: Clips, parts: np.ndarray, mode: str, neighbours: Neighbours, notes: list[str]
) -> tuple[str, ...]:
    """Return a warning for each thing that makes the test easier than new data are; of a published split it is a note."""
    warnings = []
    remedy = None
    if neighbours.share >= _TOLD_SHARE:
        remedy = _remedy(data, clips, neighbours)
        how = "--split stratified " if mode == "own" else ""
        option = "--split signer" if remedy == SIGNER else f"{how}--group {remedy}"
        told = f"; {option} keeps such clips in one split" if remedy else ""
        what = "share frames with" if neighbours.overlap else "are nearly the same as"
        warnings.append(
            f"{neighbours.share:.0%} of the test clips {what} training clips beside them in the files, so the test is too "
            f"easy and its accuracy too good for new recordings{told}"
        )
    for kind in dict.fromkeys((clips.group or SIGNER, SIGNER, _RECORDING)):
        share = _straddling(data, parts, kind, clips)
        if not share or kind == remedy or (kind == clips.group and mode != "own"):
            continue
        if share == 1.0 and len(set(data.group(kind))) == 1:
            notes.append(f"all clips are of one {kind}: the accuracy is not that for another")
            continue
        of_known = (
            f"{share:.0%} of the test clips are of a {kind} {'who' if kind == SIGNER else 'that'} is in train too"
        )
        if mode == "own":
            (warnings if kind == clips.group else notes).append(f"the own split: {of_known}")
            continue
        new = f"{of_known}, so the accuracy is not that for a new {kind}"
        if not _can_be_held_out(data, kind):
            warnings.append(f"{new}; to test that, most classes need clips of two {kind}s")
            continue
        option = "--leave-out signer" if mode == "folds" else "--split signer"
        warnings.append(f"{new}; {option if kind == SIGNER else f'--group {kind}'} tests that")
    return tuple(warnings)


def _remedy(data: LandmarkData, clips: Clips, neighbours: Neighbours) -> str | None:
    """Return a kind of group that keeps neighbours together: one that the data name, else blocks, if not yet used."""
    for kind in sorted(data.groups, key=lambda kind: kind == SIGNER):
        names = data.group(kind)
        together = [names[one] == names[other] != "" for one, other in neighbours.pairs]
        if kind != clips.group and together and np.mean(together) > 0.9 and _can_be_held_out(data, kind):
            return kind
    return BLOCKS if clips.group != BLOCKS else None


def _can_be_held_out(data: LandmarkData, kind: str) -> bool:
    """Return whether most classes have clips of two groups of a kind."""
    names = np.unique(np.array(data.group(kind), dtype=np.str_), return_inverse=True)[1]
    groups_of_class = np.bincount(np.unique(np.stack([data.labels, names], axis=1), axis=0)[:, 0])
    return float(np.mean(groups_of_class[groups_of_class > 0] >= 2)) > 0.5


def _straddling(data: LandmarkData, parts: np.ndarray, kind: str, clips: Clips) -> float:
    """Return the share of the test clips whose group of a kind is in train too."""
    names = clips.groups if kind == clips.group else np.array(data.group(kind), dtype=np.str_)
    test, train = names[parts == TEST], names[parts == TRAIN]
    return float(np.isin(test, np.setdiff1d(train, [""])).mean()) if len(test) else 0.0

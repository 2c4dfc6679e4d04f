"""Arrays of clips and of their labels, found by their names: X_train and y_train, data and labels, train_x and train_y."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ....common.errors import UserError
from ...landmarks import SPLITS as SPLITS_IN_ORDER
from ...text import SIGNER_COLUMNS, SPLIT_COLUMNS, nfc
from ..numpy_files import StoredArray
from ..raw import Faults
from .body_parts import parts_among

X, Y, NAMES, LENGTHS, OFFSETS, SIGNERS, GROUPS, SPLITS = (
    "x",
    "y",
    "names",
    "lengths",
    "offsets",
    "signer",
    "groups",
    "split",
)

_SPLITS = {
    **dict.fromkeys(("train", "training", "tr", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "te", "tst"), "test"),
}
_ORDER = ("", *SPLITS_IN_ORDER)
_STRONG = {"x": X, "y": Y}
"""Names that are given to nothing else."""
_WORDS = {
    **dict.fromkeys(("data", "features", "feature", "landmarks", "keypoints", "points", "sequences", "sequence"), X),
    **dict.fromkeys(("inputs", "samples", "vectors", "poses", "pose", "clips", "skeletons", "joints"), X),
    **dict.fromkeys(("labels", "label", "targets", "target", "class", "gloss", "glosses", "sign", "word"), Y),
    **dict.fromkeys(("lengths", "length", "lens", "seqlens", "seqlengths", "numframes", "nframes"), LENGTHS),
    "offsets": OFFSETS,
    **dict.fromkeys(
        (*SIGNER_COLUMNS, "signers", "subjects", "participants", "speakers", "persons", "users", "user"), SIGNERS
    ),
    **dict.fromkeys(("groups", "group"), GROUPS),
    **dict.fromkeys(SPLIT_COLUMNS, SPLITS),
    **dict.fromkeys(("classes", "classnames", "actions", "labelnames", "labelclasses", "labelmap", "gestures"), NAMES),
}
_COMPACT = re.compile(r"([xy])(train|test|val|valid|dev)|(train|test|val|valid|dev)([xy])")


@dataclass(frozen=True)
class Role:
    """What an array is for, by its name."""

    kind: str
    split: str
    rest: str
    """What else the name says: `asl` of `X_asl`."""
    is_strong: bool = False


@dataclass(kw_only=True)
class Pair:
    """An array of clips with what belongs to it."""

    split: str
    rest: str
    arrays: dict[str, StoredArray] = field(default_factory=dict)
    others: dict[str, StoredArray] = field(default_factory=dict)
    """Arrays of no known kind, by their names."""


def role_of(name: str) -> Role | None:
    """Return what an array of this name is for, if its name says it."""
    tokens = [token for token in re.split(r"[\s_.-]+", nfc(name).lower()) if token]
    if len(tokens) == 1 and (match := _COMPACT.fullmatch(tokens[0])):
        tokens = [match[1] or match[4], match[2] or match[3]]
    places = [place for place, token in enumerate(tokens) if token in _SPLITS]
    split = _SPLITS[tokens.pop(places[0])] if places and len(tokens) > 1 else ""
    whole = "".join(tokens)
    if whole in _STRONG:
        return Role(_STRONG[whole], split, "", True)
    if whole in _WORDS:
        return Role(_WORDS[whole], split, "")
    for place in (0, len(tokens) - 1):
        rest = "_".join(tokens[:place] + tokens[place + 1 :])
        if tokens[place] in _STRONG:
            return Role(_STRONG[tokens[place]], split, rest, True)
    for place in (0, len(tokens) - 1):
        rest = "_".join(tokens[:place] + tokens[place + 1 :])
        if tokens[place] in _WORDS and _WORDS[tokens[place]] in (X, Y, LENGTHS, SIGNERS):
            return Role(_WORDS[tokens[place]], split, rest)
    return None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the names of arrays say."""

    pairs: list[Pair]
    """Each with clips and labels; several are those of splits."""
    names: dict[str, StoredArray]
    """Names of classes, by the name of the array."""
    notes: list[str]


def find_pairs(source: object, arrays: Iterable[tuple[str, str, StoredArray]]) -> Found:
    """Return the arrays of clips with their labels.

    `arrays` are the name of each, the split that its file or folder says, and the array. Raises `UserError` for clips
    without labels, labels without clips, and several data sets.
    """
    pairs: dict[tuple[str, str], Pair] = {}
    names: dict[str, StoredArray] = {}
    for name, split_of_place, array in arrays:
        role = role_of(name)
        split = (role.split if role else "") or split_of_place
        rest = role.rest if role else ""
        if role is not None and role.kind == NAMES:
            names[name] = array
            continue
        pair = pairs.setdefault((split, rest), Pair(split=split, rest=rest))
        if role is None:
            pair.others[name] = array
        elif role.kind not in pair.arrays:
            pair.arrays[role.kind] = array
        else:
            # Two of one kind, as data beside X and labels beside y: the one that is named by the letter is meant.
            other = pair.arrays[role.kind]
            meant, less = (array, other) if role.is_strong else (other, array)
            pair.arrays[role.kind] = meant
            (names if role.kind == Y else pair.others)[less.name or less.file.stem] = less
    for pair in pairs.values():
        if X in pair.arrays and Y not in pair.arrays:
            # `classes` or `actions` may be the labels.
            fitting = [name for name, array in names.items() if array.shape[:1] == pair.arrays[X].shape[:1]]
            if fitting:
                pair.arrays[Y] = names.pop(fitting[0])
    return _choose(source, list(pairs.values()), names)


def _choose(source: object, pairs: Sequence[Pair], names: dict[str, StoredArray]) -> Found:
    complete = [pair for pair in pairs if X in pair.arrays and Y in pair.arrays]
    if not complete:
        raise _incomplete(source, pairs)
    rests = list(dict.fromkeys(pair.rest for pair in complete))
    if len(rests) > 1:
        shown = " and ".join(_name(pair.arrays[X]) for pair in complete if pair.rest in rests)
        raise UserError(f"{source}: several data sets ({shown}); keep one in a folder, or name its file of clips")
    faults = Faults(source)
    for pair in pairs:
        if pair.rest == rests[0] and (X in pair.arrays) != (Y in pair.arrays):
            faults.add(str(_incomplete(source, [pair])))
    faults.check()
    notes = []
    for pair in pairs:
        if pair not in complete and pair.rest != rests[0]:
            of_clips = {kind: array for kind, array in pair.arrays.items() if kind not in (X, Y)}
            partner = [other for other in complete if other.split == pair.split]
            if of_clips and not pair.rest and len(partner) == 1:
                partner[0].arrays.update(
                    {kind: array for kind, array in of_clips.items() if kind not in partner[0].arrays}
                )
            elif passed := [_name(array) for array in pair.arrays.values()]:
                notes.append(f"{', '.join(passed)}: passed over, as no labels belong to it")
    whole, splits = [pair for pair in complete if not pair.split], [pair for pair in complete if pair.split]
    if whole and splits:
        total = sum(pair.arrays[X].shape[0] for pair in splits)
        shown = ", ".join(_name(pair.arrays[X]) for pair in splits)
        if total != whole[0].arrays[X].shape[0]:
            raise UserError(
                f"{source}: {_name(whole[0].arrays[X])} stands beside {shown}; name the file of clips to be read"
            )
        notes.append(f"{_name(whole[0].arrays[X])} is passed over: {shown} have as many clips, in splits")
        complete = splits
    complete.sort(key=lambda pair: _ORDER.index(pair.split))
    return Found(pairs=complete, names=names, notes=notes)


def _incomplete(source: object, pairs: Sequence[Pair]) -> UserError:
    """Return the error for arrays without their partner."""
    every = {_name(array): array for pair in pairs for array in (*pair.arrays.values(), *pair.others.values())}
    if parts := parts_among(every):
        shown = ", ".join(f"{name} {list(every[name].shape)}" for name in parts.values())
        return UserError(
            f"{source}: holds the parts of one clip ({shown}) and no class; store each clip as <class>/<clip>.npz, or name "
            "it in a CSV with the columns path and label, and name the folder"
        )
    for pair in pairs:
        ending = f"_{pair.split}" if pair.split else f"_{pair.rest}" if pair.rest else ""
        if X in pair.arrays:
            array = pair.arrays[X]
            count = f"{array.shape[0]:,} clips" if array.shape else "one number"
            return UserError(
                f"{source}: {_name(array)} ({count}) has no labels beside it; save the class of each clip as y{ending}"
            )
        if Y in pair.arrays:
            array = pair.arrays[Y]
            return UserError(
                f"{source}: {_name(array)} {list(array.shape)} has no clips beside it; save them as X{ending}"
            )
    shown = ", ".join(f"{name} {list(array.shape)}" for name, array in every.items())
    return UserError(f"{source}: needs the arrays X and y; it has {shown or 'none'}")


def _name(array: StoredArray) -> str:
    return array.name or array.file.name

"""What each level of folders is: a split, a signer, a class, a sequence; known for certain, told, or asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....common.errors import UserError
from ...specs import Reading
from ...text import split_of_file
from .folder_tree import Tree, are_signers, is_numbered

_MOST_NAMES = 3
LSA64 = re.compile(r"(?P<label>[0-9]{3})_(?P<number>[0-9]{3})_[0-9]{3}$")
_SIGNER_IN_NAME = re.compile(
    rf"{LSA64.pattern}|(?P<signer>(?:signer|person|subject|user|participant)[ _-]?[0-9]+)[_\- ]", re.I
)


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The levels of a tree, from 0, by what they are."""

    label: int
    signer: int | None = None
    split: int | None = None
    group: int | None = None
    root: int = 0
    """The first level below the folder of the data set."""


def find_levels(path: Path, tree: Tree, reading: Reading, *, holds_clips: bool) -> Levels:
    """Return what the levels of a tree are.

    `holds_clips` tells that each file is a clip and not a frame. Options name a level as folder1, the outermost below
    `path`, folder2, and so on. Raises `UserError` where it is not certain which level is the class.
    """
    names = [tree.names(level) for level in range(tree.depth)]
    group = told_level(path, names, reading.group, "group") if is_level(reading.group or "") else None
    label, signer = (
        told_level(path, names, name, option) for name, option in ((reading.label, "label"), (reading.signer, "signer"))
    )
    root = _first_level(tree, holds_clips=holds_clips) if label is None and signer is None else 0
    split = None
    if _are_splits(tree, root) and root + 1 < tree.depth and root not in (label, signer):
        split, root = root, root + 1
    if label is None:
        label, found = _find_label(path, tree, root, signer, holds_clips=holds_clips)
        signer = found if signer is None else signer
    return Levels(label=label, signer=signer, split=split, group=group, root=root)


def signers_of_names(names: Sequence[str]) -> list[str] | None:
    """Return the signer that the name of each file says, without its ending; `None` if not all names say one.

    `001_002_003` is class, signer and repetition in LSA64 (facundoq.github.io/datasets/lsa64), `signer3_sample12` AUTSL's.
    """
    matches = [_SIGNER_IN_NAME.match(name) for name in names]
    return (
        [match["signer"] or match["number"] for match in matches if match] if all(matches) and len(names) > 1 else None
    )


def is_level(name: str) -> bool:
    """Return whether the value of an option names a level of folders: folder1, folder2."""
    return re.fullmatch(r"folders?[0-9]*", name) is not None


def told_level(path: Path, levels: Sequence[Sequence[str]], name: str | None, option: str) -> int | None:
    """Return the level, from 0, that an option names; `levels` are the names of the folders of each.

    Raises `UserError` for what names none of them.
    """
    if name is None:
        return None
    level = int(re.sub(r"\D", "", name) or 1) if is_level(name) else 0
    if not 1 <= level <= len(levels):
        raise UserError(
            f"{path}: --{option} {name}: folders have no columns; name a level of folders: {_shown(levels)}",
            option=option,
        )
    return level - 1


def _first_level(tree: Tree, *, holds_clips: bool) -> int:
    """Return the first level below folders that only wrap the data set, such as MP_Data."""
    level, least = 0, 1 if holds_clips else 2
    while level + 1 < tree.depth and len(tree.names(level)) == 1 and not are_signers(tree.names(level)):
        rest = tree.depth - level
        below = tree.names(level + 1)
        if rest > least or (rest == 2 and len(below) > 1 and not is_numbered(below) and not are_signers(below)):
            level += 1
        else:
            break
    return level


def _are_splits(tree: Tree, level: int) -> bool:
    names = tree.names(level)
    splits = {split_of_file(Path(name)) for name in names}
    return len(names) > 1 and "" not in splits and len(splits) == len(names)


def _find_label(path: Path, tree: Tree, root: int, signer: int | None, *, holds_clips: bool) -> tuple[int, int | None]:
    """Return the levels of the class and of the signer."""
    free = [level for level in range(root, tree.depth) if level != signer]
    rest = len(free)
    if signer is not None:  # told
        if rest == 1 or (rest == 2 and not holds_clips and free[1] == tree.depth - 1):
            return free[0], None
        raise _ask(path, tree, root)
    names = [tree.names(level) for level in range(root, tree.depth)]
    if rest == 1:
        if are_signers(names[0]):
            raise _ask(path, tree, root, f"the folders {_few(names[0])} look like signers, and none names a class")
        return root, None
    below = tree.names_below(root)
    if are_signers(names[0]) and _share_names(below):
        if rest == 3 and not holds_clips:
            return root + 1, root
        if rest == 2 and (holds_clips or not is_numbered(names[1])):
            return root + 1, root
        raise _ask(path, tree, root)
    if rest == 2 and are_signers(names[1]):
        return root, root + 1
    if rest == 3 and not holds_clips and are_signers(names[1]):
        return root, root + 1
    if rest == 2 and holds_clips and is_numbered(names[1]) and all(len(leaf.files) == 1 for leaf in tree.leaves):
        return root, None
    if rest == 2 and not holds_clips:
        same_words = len(below) > 1 and not is_numbered(names[1]) and len(names[1]) > 1 and _share_names(below)
        if not same_words:
            return root, None
    raise _ask(path, tree, root)


def _share_names(below: dict[str, set[str]]) -> bool:
    """Return whether each folder holds mostly names that another one holds too."""
    if len(below) == 1:
        return True
    for name, own in below.items():
        others = set().union(*(names for other, names in below.items() if other != name))
        if 2 * len(own & others) < len(own):
            return False
    return True


def _ask(path: Path, tree: Tree, root: int, why: str = "") -> UserError:
    reason = why or "it is not certain which folder is the class"
    levels = [tree.names(level) for level in range(tree.depth)]
    several = levels[root]
    data_sets = f"; if {_few(several)} are several data sets, name one of them" if 1 < len(several) < 10 else ""
    return UserError(
        f"{path}: {reason}; say --label folderN, and --signer folderN if one is the signer: {_shown(levels)}{data_sets}"
    )


def _shown(levels: Sequence[Sequence[str]]) -> str:
    different = [list(dict.fromkeys(names)) for names in levels]
    return "; ".join(f"folder{number}: {_few(names)}" for number, names in enumerate(different, start=1))


def _few(names: list[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")

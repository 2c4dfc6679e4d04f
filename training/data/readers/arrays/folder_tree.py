"""Folders of files that are frames or clips: which there are, how deep they stand, and what each level of folders is named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....common.errors import UserError
from ...text import Listing, listing_of, natural_key, nfc

_MOST_DEPTH = 5
"""Levels of folders that are looked into: a split, a signer, a class, a sequence, and a folder around all of them."""


@dataclass(frozen=True)
class Leaf:
    """A folder with files of its own."""

    parts: tuple[str, ...]
    """Its name and those of the folders above it, below the source, as the disk has them."""
    files: list[str]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The folders below a source, in natural order."""

    leaves: list[Leaf]
    """All at the depth at which most files stand."""
    empty: list[tuple[str, ...]]
    """Folders without a folder or a file in them, at most as deep as the others."""
    elsewhere: list[str]
    """Files at other depths, relative to the source."""
    depth: int

    def names(self, level: int) -> list[str]:
        """Return the different names of the folders of a level, from 0, in NFC."""
        return list(dict.fromkeys(nfc(leaf.parts[level]) for leaf in self.leaves))

    def names_below(self, level: int) -> dict[str, set[str]]:
        """Return for each name of a level the names of the folders in it, in NFC."""
        found: dict[str, set[str]] = {}
        for leaf in self.leaves:
            found.setdefault(nfc(leaf.parts[level]), set()).add(nfc(leaf.parts[level + 1]))
        return found


def first_leaf(path: Path, suffix: str, depth: int = _MOST_DEPTH) -> Path | None:
    """Return the first folder below `path` that holds a file with an ending."""
    for name in _listing(path).folders if depth else []:
        folder = path / name
        if any(file.lower().endswith(suffix) for file in _listing(folder).files):
            return folder
        if (found := first_leaf(folder, suffix, depth - 1)) is not None:
            return found
    return None


def read_tree(path: Path, suffix: str) -> Tree:
    """Return the folders below `path` that hold files with an ending. Raises `UserError` where it is not certain."""
    # Sorted anew: a folder may stand twice, its name once in NFC and once in NFD.
    leaves = sorted(_leaves(path, (), suffix), key=lambda leaf: [natural_key(part) for part in leaf.parts])
    lone = [leaf for leaf in leaves if not leaf.files]
    leaves = [leaf for leaf in leaves if leaf.files]
    below = [leaf for leaf in leaves if leaf.parts]
    if not below:
        raise UserError(f"{path}: no {suffix} file in a folder in it; the folder of a class holds its recordings")
    by_top: dict[str, Counter[int]] = {}
    for leaf in below:
        by_top.setdefault(leaf.parts[0], Counter())[len(leaf.parts)] += len(leaf.files)
    depth_of = {top: depths.most_common(1)[0][0] for top, depths in by_top.items()}
    # MP_Data beside other things that hold arrays is what the tutorial's folder is named.
    named = [top for top in depth_of if top.lower() == "mp_data"]
    if len(set(depth_of.values())) > 1 and len(named) == 1:
        below = [leaf for leaf in below if leaf.parts[0] == named[0]]
        lone = [leaf for leaf in lone if leaf.parts[0] == named[0]]
        depth_of = {named[0]: depth_of[named[0]]}
    depths = Counter(depth_of.values())
    if len(depths) > 1:
        shown = ", ".join(f"{top} ({depth - 1} folders deep)" for top, depth in list(depth_of.items())[:4])
        raise UserError(
            f"{path}: the {suffix} files in its folders stand at different depths: {shown}; name one of them"
        )
    depth = next(iter(depths))
    kept = [leaf for leaf in below if len(leaf.parts) == depth]
    above = {leaf.parts[:length] for leaf in kept for length in range(1, depth + 1)}
    empty = [leaf.parts for leaf in lone if leaf.parts not in above and len(leaf.parts) <= depth]
    elsewhere = [leaf for leaf in leaves if len(leaf.parts) != depth]
    return Tree(
        leaves=kept,
        empty=empty,
        elsewhere=["/".join((*leaf.parts, file)) for leaf in elsewhere for file in leaf.files],
        depth=depth,
    )


def is_numbered(names: Sequence[str]) -> bool:
    """Return whether names are numbers, perhaps after one word for all of them: 0, 1, 2; seq_1, seq_2."""
    words = {re.sub(r"[0-9]+", "", name).strip("_- .") for name in names}
    return len(words) == 1 and all(re.search(r"[0-9]", name) for name in names)


def are_signers(names: Sequence[str]) -> bool:
    """Return whether all names are those of signers for certain: user1, signer_02, P03, subject-A."""
    return all(_SIGNER.fullmatch(name) for name in names)


_SIGNER = re.compile(
    r"(?:signer|user|person|subject|subj|participant|speaker|actor|performer|사용자|참가자|화자|사람)[ _-]?[0-9a-z]{1,3}"
    r"|(?:p|sub|u)[ _-]?[0-9]+",
    re.IGNORECASE,
)


def _leaves(path: Path, parts: tuple[str, ...], suffix: str) -> Iterator[Leaf]:
    """Yield the folders with files of their own, and those without any folder in them."""
    found = _listing(path)
    arrays = [name for name in found.files if name.lower().endswith(suffix)]
    if arrays or (parts and not found.folders):
        yield Leaf(parts, arrays)
    if len(parts) < _MOST_DEPTH:
        for name in found.folders:
            yield from _leaves(path / name, (*parts, name), suffix)


def _listing(folder: Path) -> Listing:
    try:
        return listing_of(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); make it readable or move it away") from None

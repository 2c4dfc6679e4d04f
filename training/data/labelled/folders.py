"""Files in class folders: `<class>/...`, also `train/<class>/...` beside `test/<class>/...`, and one folder around it all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ...common.errors import UserError
from ...common.small_files import what_is_at
from ..readers.walk import contents_of, files_by_folder
from ..text import folders_in, is_split, natural_key, nfc, split_of_file
from .labelled import Samples

_MOST_SHOWN = 5


def files_in_class_folders(root: Path, endings: tuple[str, ...], word: str) -> Samples[Path]:
    """Return the files with one of `endings` below a folder, which are a `word` each, with classes and splits.

    The class is the first folder on the way to a file, below that of its split. A split has a usual name, as `val` or `dev`,
    and holds folders of classes. What tools leave behind, such as `.DS_Store`, is passed over. Raises `UserError` where
    there are no class folders, and where only some of the folders are splits.
    """
    if not root.is_dir():
        raise UserError(
            f"{root}: no such folder"
            if not root.exists()
            else f"{root}: {what_is_at(root) or 'is one file'}; name the folder of all classes"
        )
    found = {folder.parts: names for folder, names in files_by_folder(root, *endings).items()}
    around: tuple[str, ...] = ()
    # A folder around it all, as an archive is unpacked: no class of its own.
    while len({parts[:1] for parts in found}) == 1 and all(len(parts) > 1 for parts in found):
        around += next(iter(found))[:1]
        found = {parts[1:]: names for parts, names in found.items()}
    place = root.joinpath(*around)
    tops = sorted({parts[0] for parts in found if parts}, key=natural_key)
    if not tops:
        raise UserError(_no_classes(root, found, word))
    level = _level_of_classes(place, tops, list(found))
    items, labels, own, lone = [], [], [], Counter[str]()
    for parts in sorted(found, key=lambda parts: [natural_key(part) for part in parts]):
        if len(parts) <= level:
            lone["/".join(parts) or place.name] += len(found[parts])
            continue
        for name in found[parts]:
            items.append(place.joinpath(*parts, name))
            labels.append(nfc(parts[level]))
            own.append(split_of_file(Path(parts[0])) if level else "")
    notes = [
        f"{count:,} {word}{'s' * (count > 1)} in {name} itself, in no class folder: left out"
        for name, count in lone.items()
    ]
    filled = {parts[: level + 1] for parts in found}
    folders = [()] if not level else [parts for parts in {parts[:level] for parts in found} if len(parts) == level]
    below = [(*parts, folder.name) for parts in folders for folder in folders_in(place.joinpath(*parts))]
    empty = ["/".join(parts) for parts in sorted(below) if parts not in filled]
    if empty:
        notes.append(f"no {word} in {_list(empty)}: left out")
    return Samples(source=str(root), word=word, items=items, labels=labels, own=own, notes=tuple(notes))


def _level_of_classes(place: Path, tops: list[str], found: list[tuple[str, ...]]) -> int:
    """Return the level, from 0, at which folders are classes: below the splits, if the first ones are splits."""
    holding = {parts[0] for parts in found if len(parts) > 1}
    if len({split_of_file(Path(top)) for top in tops} - {""}) > 1 and all(split_of_file(Path(top)) for top in tops):
        if holding:
            # As in seg_train/seg_train/<class>.
            return 2 if all(len(parts) > 2 and parts[1] == parts[0] for parts in found if len(parts) > 1) else 1
        raise UserError(f"{place}: {_list(tops)} are splits, but hold no folders of classes: <split>/<class>/*")
    splits = [top for top in tops if top in holding and is_split(top)]
    if splits and len(tops) > 1:
        others = [top for top in tops if top not in splits]
        raise UserError(
            f"{place}: {_list(splits)} {'is a split' if len(splits) == 1 else 'are splits'}, but {_list(others)} beside "
            f"{'it' if len(splits) == 1 else 'them'} is none; let the folder hold splits only, or classes only"
        )
    return 0


def _no_classes(root: Path, found: dict[tuple[str, ...], list[str]], word: str) -> str:
    if found:
        return (
            f"{root}: {sum(map(len, found.values())):,} {word}s, but no folders of classes; put those of each class in a "
            "folder named after it: <class>/*"
        )
    kinds = Counter({suffix: len(names) for suffix, names in contents_of(root).names.items()}).most_common(_MOST_SHOWN)
    held = ", ".join(f"{count:,} {suffix or 'without an ending'}" for suffix, count in kinds) or "nothing"
    return f"{root}: no {word} in it (it holds {held}); name a folder with a folder for each class"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN:,} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more

"""What the columns of a table of clips are, by their names, or as the options say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

from ....common.errors import UserError, flag_of, nearest
from ...specs import Reading
from ...text import LABEL_COLUMNS, SIGNER_COLUMNS, SPLIT_COLUMNS, find_column, nfc, split_name
from ..raw import Faults
from .csv_rows import is_number

CLIP_COLUMNS = ("clip", "clipid", "clipname", "sequence", "sequenceid", "seq", "seqid", "video", "videoid", "videoname")
"""What a row of one frame belongs to: rows of one clip."""
RECORDING_COLUMNS = (*CLIP_COLUMNS, "recording", "recordingid", "session", "sessionid", "take", "takeid")
VIEW_COLUMNS = ("view", "viewid", "camera", "cameraid", "cam", "viewpoint")
FRAME_COLUMNS = ("frame", "frameid", "frameindex", "frameidx", "frameno", "framenumber", "framenum", "timestep")
TIME_COLUMNS = ("time", "timestamp", "timestampms", "timems", "timesec", "seconds", "datetime", "date")
INDEX_COLUMNS = ("", "unnamed:0", "index", "idx", "id", "rowid", "sampleid", "sample", "no", "rowindex")
INFO_COLUMNS = ("fps", "width", "height", "numframes", "nframes", "framecount", "imagewidth", "imageheight")

KNOWN_GROUPS = ("recording", "view", "blocks")
"""Kinds of groups that are not columns of the same name."""
_MOST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table of clips by what they are; -1 for none."""

    label: int
    signer: int
    split: int
    groups: dict[str, int]
    """Kind of group -> column, such as `recording`; `signer` is not among them."""
    frame: int
    """The number or the time of a row in its clip."""
    left_out: tuple[int, ...]
    """Columns that are not landmarks by their names: row numbers, widths, rates."""

    @property
    def named(self) -> set[int]:
        """The columns that are something else than landmarks."""
        found = {self.label, self.signer, self.split, self.frame, *self.groups.values(), *self.left_out}
        return found - {-1}


def columns_of(header: Sequence[str], reading: Reading, path: Path) -> Columns:
    """Return what the columns of a header are; the label is -1 where no name says it.

    Raises `UserError` for a column of `reading` that is not there.
    """
    label = _chosen(header, reading.label, "label", path, LABEL_COLUMNS)
    signer = _chosen(header, reading.signer, "signer", path, SIGNER_COLUMNS, taken={label})
    split = _first(header, SPLIT_COLUMNS, {label, signer})
    taken = {label, signer, split}
    groups: dict[str, int] = {}
    for kind, names in (("recording", RECORDING_COLUMNS), ("view", VIEW_COLUMNS)):
        found = _first(header, names, taken)
        if found >= 0:
            groups[kind] = found
            taken.add(found)
    group = reading.group
    if group is not None and group != "signer" and group not in groups:
        index = column_named(header, group)
        if index >= 0 and index == label:
            raise UserError(
                f"{path}: --group {group} is the class, which each split needs; name another", option="group"
            )
        if index >= 0:
            groups[group] = index
        elif index < 0 and group not in KNOWN_GROUPS:
            raise unknown_column(header, group, "group", path)
    taken |= set(groups.values())
    frame = _first(header, (*FRAME_COLUMNS, *TIME_COLUMNS), taken)
    taken.add(frame)
    other = (*INDEX_COLUMNS, *INFO_COLUMNS, *FRAME_COLUMNS, *TIME_COLUMNS)
    left_out = tuple(
        index
        for index, name in enumerate(header)
        if index not in taken and find_column([name.replace(".", "")], other) is not None
    )
    return Columns(label=label, signer=signer, split=split, groups=groups, frame=frame, left_out=left_out)


def column_named(header: Sequence[str], wanted: str) -> int:
    """Return the index of a column by its name, else by its number from 0 (-1 is the last); -1 if there is none."""
    names = [nfc(name).strip() for name in header]
    wanted = nfc(wanted).strip()
    if wanted in names:
        return names.index(wanted)
    found = (
        find_column(names, (re.sub(r"[\s_-]", "", wanted).lower(),)) if not re.fullmatch(r"-?[0-9]+", wanted) else None
    )
    if found is not None:
        return found
    if re.fullmatch(r"-?[0-9]+", wanted) and -len(names) <= int(wanted) < len(names):
        return int(wanted) % len(names)
    return -1


def unknown_column(header: Sequence[str], wanted: str, option: str, path: Path) -> UserError:
    """Return the error for a column that an option names and a table does not have."""
    return UserError(
        f"{path}: {flag_of(option)} {wanted}: no such column{nearest(wanted, header)}; {list_of(header)}", option=option
    )


def refuse_double_names(header: Sequence[str], numbers: Sequence[int], path: Path) -> None:
    """Raise `UserError` where several columns have one name, unless all numbers do alike, as x, y, z, x, y, z of points."""
    of_numbers = Counter(header[index] for index in numbers)
    are_alike = len(set(of_numbers.values())) == 1
    for name, times in Counter(filter(str.strip, header)).items():
        if times > 1 and not (are_alike and times == of_numbers[name]):
            places = [str(index + 1) for index, other in enumerate(header) if other == name]
            raise UserError(
                f"{path}: {times} columns have the name {name!r} (columns {' and '.join(places[:3])}): give each its own name"
            )


def list_of(header: Sequence[str]) -> str:
    """Return the columns for a message, the middle of many left out."""
    shown = [repr(name) for name in header if name]
    count = len(shown)
    if count > _MOST_SHOWN:
        shown = [*shown[: _MOST_SHOWN - 4], "...", *shown[-3:]]
    return f"{count} {'column' if count == 1 else 'columns'}: {', '.join(shown)}"


def _chosen(
    header: Sequence[str],
    wanted: str | None,
    option: str,
    path: Path,
    names: Sequence[str],
    taken: set[int] | None = None,
) -> int:
    if wanted is None:
        return _first(header, names, taken or set())
    index = column_named(header, wanted)
    if index < 0:
        raise unknown_column(header, wanted, option, path)
    return index


def _first(header: Sequence[str], names: Sequence[str], taken: set[int]) -> int:
    index = find_column([name if place not in taken else "\0" for place, name in enumerate(header)], names)
    return -1 if index is None else index


def label_columns(header: Sequence[str], columns: Columns, reading: Reading) -> list[int]:
    """Return the columns that may be the class: that of `--label`, or all with a usual name."""
    if reading.label is not None or columns.label < 0:
        return [columns.label] if columns.label >= 0 else []
    like = [index for index, name in enumerate(header) if find_column([name], LABEL_COLUMNS) is not None]
    return [index for index in like if index not in columns.named or index == columns.label]


def one_label_column(
    path: Path, labels: Sequence[int], header: Sequence[str], texts: Mapping[int, Sequence[str]], notes: list[str]
) -> int:
    """Return the column of the class of several that name it: that of text, if each is a name of the others' numbers.

    Raises `UserError` if they say different things.
    """
    if len(labels) == 1:
        return labels[0]
    pairs = set(zip(*(texts[index] for index in labels), strict=True))
    if any(len({pair[place] for pair in pairs}) < len(pairs) for place in range(len(labels))):
        shown = " or ".join(f"--label {quote(header[index])}" for index in labels)
        raise UserError(f"{path}: several columns may be the class, and they differ: add {shown}", option="label")
    named = [index for index in labels if not all(is_number(cell) for cell in texts[index])]
    chosen = (named or labels)[0]
    others = ", ".join(repr(header[index]) for index in labels if index != chosen)
    notes.append(f"the class is the column {header[chosen]!r}; {others} says the same in other words")
    return chosen


def split_names(texts: Sequence[str], where: Callable[[int], str], faults: Faults) -> list[str]:
    """Return the splits of rows as train, validation, test or an empty text; other names go to `faults`."""
    names: dict[str, str] = {}
    for index, text in enumerate(texts):
        if text not in names:
            try:
                names[text] = split_name(text, partial(where, index))
            except UserError as error:
                faults.add(str(error))
                names[text] = ""
    return [names[text] for text in texts]


def is_group(texts: Sequence[str]) -> bool:
    """Return whether a column of text groups its rows: not one value for all, not another one for each."""
    return 1 < len(set(texts)) < len(texts)

"""Reads folders of frames or clips: `<class>/<sequence>/<frame>.npy`, the commonest form of MediaPipe recordings, and its kin.

`MP_Data/<class>/<sequence>/<frame>.npy` is written by nicknochnack/ActionDetectionforSignLanguage and the many that follow it;
`<class>/video_3_frame_12.npy`, `<class>/<clip>.npy` and a folder for each signer are variants of it. The files may be tables
or archives of one array too: `<class>/<clip>.csv`, whose rows are frames, and `<class>/<clip>.npz`. The parts of a body may be
arrays of their own, in an archive or a folder a clip: `<class>/<clip>/left_hand.npy`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...landmarks import SIGNER
from ...specs import Reading
from ...text import natural_key, nfc, split_of_file
from ..numpy_files import Header, header_of, read_numbers
from ..raw import Faults, RawClips
from ..tables.clip_files import ClipFile, names_of, open_clip, parts_of, suffix_of_clips
from . import windows, x_y_arrays
from .body_parts import with_folders_as_clips
from .folder_tree import Tree, first_leaf, read_tree
from .forms import CLIP, CLIPS, FRAME, Form, form_of
from .levels import Levels, find_levels, signers_of_names

NAME = "frame_folders"
LOOKS_FOR = "<class>/<sequence>/<frame>.npy"
USES: tuple[str, ...] = ("label", "signer")

_FRAME_OF_SEQUENCE = re.compile(
    r"(?P<sequence>.*[0-9].*?)[_\-. ]*(?:frame|frm|fr|f)[_\- ]*(?P<frame>[0-9]+)"
    r"|(?P<recording>(?:.*[_\- ])?(?:seq|sequence|video|vid|clip|take|rec|recording)[_\- ]?[0-9]+)[_\- ](?P<number>[0-9]+)",
    re.IGNORECASE,
)
"""seq3_frame12, video_3_frame_12, seq_3_12: the name of a frame that names its sequence too."""
_TWO_NUMBERS = re.compile(r"(.*[0-9])[_\- ]([0-9]+)")
_MOST_NAMED = 3
_ARRAY = ".npy"


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """A clip and its files, as positions in the list of all files."""

    place: str
    """Relative to the source."""
    parts: tuple[str, ...]
    files: list[int]


def detect(path: Path) -> bool:
    """Return whether a folder holds folders with `.npy` files that are not those of another format."""
    if not path.is_dir():
        return False
    leaf = first_leaf(path, _ARRAY)
    if leaf is None:
        return suffix_of_clips(path) is not None
    return not (x_y_arrays.has_pair(leaf) or windows.detect(leaf) or x_y_arrays.split_folders(path))


def read(path: Path, reading: Reading) -> RawClips:
    """Return the data of a folder of classes, of the only one in `path`, or of those named train, validation, test.

    Frames, sequences and classes are ordered by the numbers in their names. Each file is a frame, a vector or
    [points, coords], or a clip, [frames, numbers] or [frames, points, coords]. Raises `UserError` with all faults.
    """
    suffix = (suffix_of_clips(path) or _ARRAY) if first_leaf(path, _ARRAY) is None else _ARRAY
    tree = read_tree(path, suffix)
    of_parts = with_folders_as_clips(tree) if suffix == _ARRAY else None
    tree = of_parts or tree
    is_plain = suffix == _ARRAY and of_parts is None
    files = [os.path.join(*leaf.parts, name) for leaf in tree.leaves for name in leaf.files]
    faults = Faults(path)
    headers = _headers(path, files, faults) if is_plain else _opened(path, files, reading, faults)
    # The rows of a table are frames, however deep it stands.
    depth = tree.depth if is_plain else 1
    shapes = {file: header.shape for file, header in headers.items()}
    form = form_of(path, shapes, depth, reading, may_hold_several=True)
    levels = find_levels(path, tree, reading, holds_clips=form.kind != FRAME)
    for file, header in headers.items():
        if not form.fits(header.shape):
            other = f"{path / form.example} has {_size(form.shape)}"
            faults.add(f"{path / file}: {_size(header.shape)}, where {other}; record the sequence again or remove it")
    faults.check()
    if reading.label is None:
        _check_names(path, tree, levels)
    if _are_rows(tree, levels, form):
        form = replace(form, kind=CLIPS, notes=(*form.notes, _rows_note(form)))
    clips, notes, warnings = _clips(tree, levels, form)
    values, offsets = _read(path, files, headers, clips, form)
    if form.kind == CLIPS:
        counts, frames = zip(*(form.clips(headers[files[clip.files[0]]].shape) for clip in clips), strict=True)
        offsets = np.concatenate([[0], np.cumsum(np.repeat(frames, counts))]).astype(np.int64)
        clips = [clip for clip, count in zip(clips, counts, strict=True) for _ in range(count)]
    splits = [split_of_file(Path(clip.parts[levels.split])) for clip in clips] if levels.split is not None else None
    groups = {}
    if levels.signer is not None:
        groups[SIGNER] = [nfc(clip.parts[levels.signer]) for clip in clips]
    elif form.kind == CLIP and (signers := signers_of_names([Path(nfc(clip.place)).name for clip in clips])):
        groups[SIGNER] = signers
        notes.append(f"the signer is in the names of the files, as {signers[0]!r} of {clips[0].place}")
    if levels.group is not None:
        groups[f"folder{levels.group + 1}"] = [nfc(clip.parts[levels.group]) for clip in clips]
    places = [clip.place for clip in clips]
    if form.kind == CLIPS:
        groups["recording"] = [nfc(place) for place in places]
    return RawClips(
        name=nfc(_name(path, tree, levels)),
        source_format=NAME,
        values=values,
        offsets=offsets,
        labels=[nfc(clip.parts[levels.label]) for clip in clips],
        groups=groups,
        splits=splits,
        notes=(*form.notes, *notes, *_passed_over(tree, levels)),
        warnings=(*_without_recordings(tree, levels), *warnings),
        parts=parts_of(next(iter(headers.values()))),
        number_names=names_of(next(iter(headers.values()))) or None,
        where=lambda index: str(path / places[index]),
    )


def _are_rows(tree: Tree, levels: Levels, form: Form) -> bool:
    """Return whether the rows of a file are clips of one frame: each class has one file, named alike or like the class."""
    names = {Path(leaf.files[0]).stem for leaf in tree.leaves}
    classes = [nfc(leaf.parts[levels.label]) for leaf in tree.leaves]
    is_one_each = len(set(classes)) == len(classes) == sum(len(leaf.files) for leaf in tree.leaves)
    if form.kind != CLIP or len(classes) < 2 or not is_one_each:
        return False
    if len(names) == 1:
        return not any(letter.isdigit() for letter in next(iter(names)))
    return all(
        nfc(leaf.files[0]).lower().startswith(name.lower()) for leaf, name in zip(tree.leaves, classes, strict=True)
    )


def _check_names(path: Path, tree: Tree, levels: Levels) -> None:
    """Raise `UserError` if files may be the classes: those of each folder have the same names, words without a number."""
    names = {frozenset(Path(nfc(name)).stem for name in leaf.files) for leaf in tree.leaves}
    words = sorted(next(iter(names)))
    is_word = not any(letter.isdigit() for word in words for letter in word)
    if len(tree.leaves) > 1 and len(names) == 1 and len(words) > 1 and is_word and levels.label == tree.depth - 1:
        folders = ", ".join("/".join(map(nfc, leaf.parts)) for leaf in tree.leaves[:_MOST_NAMED])
        raise UserError(
            f"{path}: the folders {folders} hold files of the same names ({', '.join(words[:_MOST_NAMED])}): if these are the "
            f"classes, move each file into a folder of its class; if the folders are, add --label folder{levels.label + 1}",
            option="label",
        )


def _rows_note(form: Form) -> str:
    return (
        f"each class has one file, as {form.example}, whose rows are read as clips of one frame; if such a file is one clip, "
        "add other clips of its class"
    )


def _name(path: Path, tree: Tree, levels: Levels) -> str:
    wraps = levels.root - (levels.split is not None)
    return tree.leaves[0].parts[wraps - 1] if wraps > 0 else path.resolve().name


def _headers(path: Path, files: list[str], faults: Faults) -> Mapping[str, Header | ClipFile]:
    """Return the headers of the files that hold numbers; the others are faults."""
    found = {}
    root = os.fspath(path)
    for file in files:
        try:
            header = header_of(f"{root}/{file}")
        except UserError as error:
            faults.add(str(error))
            continue
        if header.dtype.hasobject:
            faults.add(f"{path / file}: holds pickled objects, which are not read; store arrays of numbers")
        elif not header.is_numbers:
            faults.add(f"{path / file}: holds {header.dtype}, not numbers; store arrays of numbers")
        else:
            found[file] = header
    if not found:
        faults.check()
    return found


def _opened(path: Path, files: list[str], reading: Reading, faults: Faults) -> dict[str, ClipFile]:
    """Return the clips of files that are tables or archives; those of other columns than the first are faults."""
    found: dict[str, ClipFile] = {}
    for file in files:
        try:
            clip = open_clip(path / file, reading.encoding)
        except UserError as error:
            faults.add(str(error))
            continue
        first = next(iter(found.items()), (file, clip))
        if names_of(clip) != names_of(first[1]):
            faults.add(
                f"{path / file}: other columns than {path / first[0]}; each clip needs the same, in the same order"
            )
        found[file] = clip
    if not found:
        faults.check()
    return found


def _clips(tree: Tree, levels: Levels, form: Form) -> tuple[list[_Clip], list[str], list[str]]:
    """Return the clips, and what is to be said of them."""
    clips: list[_Clip] = []
    first = 0
    has_sequences = form.kind == FRAME and levels.label < tree.depth - 1
    named, unnamed, doubtful, gaps = 0, 0, "", []
    for leaf in tree.leaves:
        folder = "/".join(leaf.parts)
        numbers = range(first, first + len(leaf.files))
        first += len(leaf.files)
        if has_sequences:
            clips.append(_Clip(place=folder, parts=leaf.parts, files=list(numbers)))
            gaps += _gap(folder, [_number(name) for name in leaf.files])
            continue
        sequences: dict[str, list[int]] = {}
        for number, name in zip(numbers, leaf.files, strict=True):
            stem = Path(name).stem
            match = _FRAME_OF_SEQUENCE.fullmatch(stem) if form.kind == FRAME else None
            if match:
                sequences.setdefault(match["sequence"] or match["recording"], []).append(number)
                named += 1
            else:
                sequences[stem] = [number]
                unnamed += 1
        if form.kind == FRAME and not named:
            doubtful = doubtful or _looks_like_frames(folder, leaf.files)
        for name, of_sequence in sequences.items():
            clips.append(_Clip(place=f"{folder}/{name}", parts=leaf.parts, files=of_sequence))
            if len(of_sequence) > 1:
                gaps += _gap(
                    f"{folder}/{name}", [_number(leaf.files[number - numbers.start]) for number in of_sequence]
                )
    notes, warnings = [], []
    if named:
        notes.append(f"the names of frames name their sequences, as {Path(clips[0].place).name}: {len(clips):,} clips")
    if unnamed and form.kind == FRAME:
        notes.append(
            f"a file is a frame, and {unnamed:,} of them are clips of one frame: no folder or name groups them"
        )
    if doubtful:
        warnings.append(
            f"{doubtful} have two numbers in their names and are read as single frames; if the first one is the sequence, "
            "name them seq3_frame12.npy or put each sequence in a folder"
        )
    if gaps:
        more = f" and {len(gaps) - _MOST_NAMED:,} more" if len(gaps) > _MOST_NAMED else ""
        warnings.append(f"frames are missing in {len(gaps):,} sequences: {'; '.join(gaps[:_MOST_NAMED])}{more}")
    return clips, notes, warnings


def _number(name: str) -> int | None:
    """Return the last number in the name of a file."""
    found = re.findall(r"[0-9]+", Path(name).stem)
    return int(found[-1]) if found else None


def _gap(place: str, numbers: list[int | None]) -> list[str]:
    """Return what to say of a sequence whose frames are not numbered in equal steps."""
    known = sorted({number for number in numbers if number is not None})
    if len(known) < len(numbers) or len(known) < 3:
        return []
    steps = np.diff(known)
    if (steps == steps[0]).all():
        return []
    largest = int(steps.argmax())
    return [f"{place} (after {known[largest]} comes {known[largest + 1]})"]


def _looks_like_frames(folder: str, names: list[str]) -> str:
    """Return an example if the files of a class may be the frames of sequences: 0_0, 0_1, ..., 1_0, 1_1."""
    groups: dict[str, list[int]] = {}
    for name in names:
        match = _TWO_NUMBERS.fullmatch(Path(name).stem)
        if not match:
            return ""
        groups.setdefault(match[1], []).append(int(match[2]))
    counted = all(len(of) > 1 and sorted(of) == list(range(min(of), min(of) + len(of))) for of in groups.values())
    return f"files such as {folder}/{names[0]}" if len(groups) > 1 and counted else ""


def _read(
    path: Path, files: list[str], headers: Mapping[str, Header | ClipFile], clips: list[_Clip], form: Form
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of all clips end to end, and their offsets."""
    lengths = [form.frames(headers[files[number]].shape) for clip in clips for number in clip.files]
    ends = np.cumsum([0, *lengths])
    offsets = np.concatenate([[0], np.cumsum([len(clip.files) for clip in clips])]).astype(np.int64)
    values = np.empty((int(ends[-1]), *form.frame_shape), dtype=np.float32)
    faults = Faults(path)
    root = os.fspath(path)
    position = 0
    for clip in clips:
        for number in clip.files:
            file = files[number]
            try:
                header, out = headers[file], values[ends[position] : ends[position + 1]]
                if isinstance(header, Header):
                    read_numbers(f"{root}/{file}", header, out)
                else:
                    header.read_into(out)
            except UserError as error:
                faults.add(str(error))
            position += 1
    faults.check()
    return values, ends[offsets]


def _passed_over(tree: Tree, levels: Levels) -> list[str]:
    """Return what is to be said of folders and files that hold no data."""
    notes = []
    sequences = [parts for parts in _empty(tree, levels) if len(parts) - 1 > levels.label]
    if sequences:
        notes.append(f"{len(sequences):,} empty sequence folders are passed over: {_places(sequences)}")
    if tree.elsewhere:
        shown = ", ".join(tree.elsewhere[:_MOST_NAMED])
        rest = len(tree.elsewhere) - _MOST_NAMED
        more = f" and {rest:,} more" if rest > 0 else ""
        notes.append(f"files at another depth are passed over: {shown}{more}")
    return notes


def _without_recordings(tree: Tree, levels: Levels) -> list[str]:
    """Return a warning for the classes that have no recording."""
    with_clips = {nfc(leaf.parts[levels.label]) for leaf in tree.leaves}
    classes = {nfc(parts[levels.label]): parts for parts in _empty(tree, levels) if len(parts) > levels.label}
    empty = [parts[: levels.label + 1] for name, parts in classes.items() if name not in with_clips]
    return [f"{len(empty):,} class folders without a recording: {_places(empty)}"] if empty else []


def _empty(tree: Tree, levels: Levels) -> list[tuple[str, ...]]:
    """Return the empty folders within the data set."""
    roots = {leaf.parts[: levels.root] for leaf in tree.leaves}
    return [parts for parts in tree.empty if parts[: levels.root] in roots]


def _places(folders: list[tuple[str, ...]]) -> str:
    shown = ["/".join(map(nfc, parts)) for parts in sorted(folders, key=lambda parts: natural_key("/".join(parts)))]
    rest = len(shown) - _MOST_NAMED
    return ", ".join(shown[:_MOST_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + " numbers"

"""Reads results of MediaPipe in JSON: a file a clip, a file a frame, or a line of JSONL for each.

There is no one form: what is read are the results of `mediapipe_frames`, one after the other in a list, alone in a file, or
under a key such as `frames`, with the class as a folder, in a table beside, or in a field such as `label`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ....common.errors import UserError
from ...landmarks import LandmarkLayout
from ...layouts.mediapipe import compose
from ...specs import Reading
from ...text import LABEL_COLUMNS, SIGNER_COLUMNS, nfc, plain_label, read_text
from ..raw import Faults, RawClips
from ..walk import files_by_folder, first_files
from .clip_folders import facts_of_clips, is_above_classes
from .mediapipe_frames import NUM_POINTS, PLACES, FrameFault, plain, read_result, result_of
from .openpose_frames import SUFFIX

NAME = "mediapipe_json"
LOOKS_FOR = "MediaPipe's results in .json or .jsonl, <class>/<clip>.json or <class>/<clip>/<frame>.json"
USES: tuple[str, ...] = ("label", "signer")

_ENDINGS = (".json", ".jsonl", ".ndjson")
_FIRST_BYTES = 1 << 16
_MOST_LOOKED_AT = 3
_KEYS = re.compile(
    rb'"(?:(?:multi_?)?hand|left_?hand|right_?hand|pose|face)_?landmarks"\s*:|"multi_?handedness"\s*:|"handedness(?:es)?"\s*:',
    re.I,
)
_CLIP_FIELDS = (
    "clip",
    "clipid",
    "video",
    "videoid",
    "sequence",
    "sequenceid",
    "sampleid",
    "recording",
    "file",
    "filename",
)
_LISTS = ("frames", "sequence", "results", "keypoints", "landmarks", "data")
_PLACE_OF = {"hand": "right_hand", "lips": "face"}
_FEWEST_FRAMES = 5
"""So many bodies under each key of a file that is one result are frames, not people."""


@dataclass(kw_only=True)
class Clip:
    """A clip as it stands in a file."""

    place: PurePath
    """Relative to the source: the file, or the folder of its frames."""
    where: str
    frames: list[Any]
    label: str = ""
    signer: str = ""
    is_frame: bool = False
    """Whether the file held one result and nothing around it."""


def detect(path: Path) -> bool:
    """Return whether a JSON file, or one of the first ones in a folder, holds results of MediaPipe."""
    if not path.is_dir():
        return path.suffix.lower() in _ENDINGS and _has_results(path)
    return any(map(_has_results, itertools.islice(first_files(path, *_ENDINGS), _MOST_LOOKED_AT)))


def _has_results(file: Path) -> bool:
    if file.name.lower().endswith(SUFFIX):
        return False
    with file.open("rb") as opened:
        return _KEYS.search(opened.read(_FIRST_BYTES)) is not None


def read(path: Path, reading: Reading) -> RawClips:
    """Return pose, hands and lips of all clips, as far as they occur in any; one part with depth, several without.

    Raises `UserError` with all faults at once.
    """
    root = path if path.is_dir() else path.parent
    faults = Faults(path)
    clips: list[Clip] = []
    for file in _files(path):
        try:
            clips += _clips_of_file(file, file.relative_to(root), reading)
        except UserError as error:
            faults.add(str(error))
    clips = _frames_of_folders(clips)
    if not clips:
        faults.check()
        raise UserError(f"{path}: no {LOOKS_FOR} in it")
    notes: tuple[str, ...] = ()
    splits = [""] * len(clips)
    has_signers = reading.signer is None or any(clip.signer for clip in clips)
    if not (all(clip.label for clip in clips) and has_signers):
        # What the files do not name stands in a table or in the names of folders.
        rest = replace(reading, label=None if any(clip.label for clip in clips) else reading.label)
        rest = replace(rest, signer=None if has_signers else reading.signer)
        facts = facts_of_clips(root, [clip.place for clip in clips], rest)
        clips, splits, notes = [clips[index] for index in facts.kept], facts.splits, facts.notes
        for clip, label, signer in zip(clips, facts.labels, facts.signers, strict=True):
            clip.label, clip.signer = clip.label or label, clip.signer or signer
    values, parts, counts = _read_frames(clips, faults)
    faults.check()
    values, layout = _only_parts(values, parts, counts, path)
    return RawClips(
        name=path.resolve().name if path.is_dir() else path.stem,
        source_format=NAME,
        values=values,
        offsets=np.cumsum([0, *(len(clip.frames) for clip in clips)], dtype=np.int64),
        labels=[clip.label for clip in clips],
        groups={"signer": [clip.signer for clip in clips]},
        splits=splits,
        layout=layout,
        notes=(*notes, *_notes(counts, parts)),
        where=lambda index: clips[index].where,
    )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    folders = files_by_folder(path, *_ENDINGS)
    return [path / folder / name for folder, names in folders.items() for name in names]


# clips


def _clips_of_file(file: Path, place: PurePath, reading: Reading) -> list[Clip]:
    """Return the clips of a file; none if it holds no result at all, as a file of settings beside them."""
    try:
        text = read_text(file, reading.encoding)
        content = (
            json.loads(text)
            if file.suffix.lower() == ".json"
            else [json.loads(line) for line in text.splitlines() if line]
        )
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: is not complete JSON ({error}); write it again or remove it") from None
    if isinstance(content, dict) and (parallel := _in_parallel(content)) is not None:
        content = {**{key: value for key, value in content.items() if not isinstance(value, list)}, "frames": parallel}
    whole = Clip(place=place, where=str(file), frames=[])
    if isinstance(content, list):
        return _clips_of_list(content, whole, reading)
    if not isinstance(content, dict):
        return []
    label, signer = _fields(content, reading)
    if (frames := _list_of_frames(content)) is not None:
        return [Clip(place=place, where=str(file), frames=frames, label=label, signer=signer)]
    if result_of(content) is not None:
        return [Clip(place=place, where=str(file), frames=[content], label=label, signer=signer, is_frame=not label)]
    lists = [value for value in content.values() if isinstance(value, list) and any(map(_is_clip, value))]
    return [clip for entries in lists for clip in _clips_of_list(entries, whole, reading)]


def _clips_of_list(entries: list[Any], whole: Clip, reading: Reading) -> list[Clip]:
    """Return a list as one clip of frames, or as its clips: those with frames of their own, a clip's field or labels."""
    fields = [_fields(entry, reading) if isinstance(entry, dict) else ("", "") for entry in entries]
    if not any(_is_clip(entry) or result_of(entry) is not None for entry in entries):
        return []
    names = [_clip_name(entry) for entry in entries]
    labels = {label for label, _ in fields}
    if not any(map(_is_clip, entries)) and not any(names) and len(labels) == 1:
        label, signer = fields[0]
        return [Clip(place=whole.place, where=whole.where, frames=entries, label=label, signer=signer)]
    clips: dict[object, Clip] = {}
    for number, (entry, (label, signer), name) in enumerate(zip(entries, fields, names, strict=True)):
        frames = _list_of_frames(entry) if isinstance(entry, dict) else None
        key = (name, label) if name and frames is None else number
        where = f"{whole.where}, entry {number + 1}"
        place = whole.place.parent / name if name else whole.place
        clip = clips.setdefault(key, Clip(place=place, where=where, frames=[], label=label, signer=signer))
        clip.frames += [entry] if frames is None else frames
    return list(clips.values())


def _fields(content: dict[str, Any], reading: Reading) -> tuple[str, str]:
    """Return the class and the signer that an object names; empty texts if it does not."""
    keys = {plain(key): value for key, value in content.items()}
    found = []
    for chosen, names in ((reading.label, LABEL_COLUMNS), (reading.signer, SIGNER_COLUMNS)):
        wanted = (plain(chosen),) if chosen is not None else names
        value = next((keys[name] for name in wanted if isinstance(keys.get(name), str | int | float)), "")
        found.append(nfc(plain_label(value)))
    return found[0], found[1]


def _clip_name(entry: object) -> str:
    if not isinstance(entry, dict):
        return ""
    keys = {plain(key): value for key, value in entry.items()}
    return next((str(keys[name]) for name in _CLIP_FIELDS if isinstance(keys.get(name), str | int)), "")


def _is_clip(entry: object) -> bool:
    return isinstance(entry, dict) and _list_of_frames(entry) is not None


def _list_of_frames(content: dict[str, Any]) -> list[Any] | None:
    """Return the list of results in an object, or `None`."""
    keys = {plain(key): value for key, value in content.items()}
    for key in _LISTS:
        value = keys.get(key)
        if isinstance(value, list) and any(isinstance(entry, dict) and result_of(entry) is not None for entry in value):
            return value
    return None


def _in_parallel(content: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the frames of an object that has a list of frames for each part, or `None`."""
    result = result_of(content)
    if result is None:
        return None
    lists = {
        key: value for key, value in result.items() if key.endswith("landmarks") and isinstance(value, list) and value
    }
    lengths = {len(value) for value in lists.values()}
    bodies = [frame for value in lists.values() for frame in value if frame]
    are_bodies = all(isinstance(body, list) and len(body) >= 21 for body in bodies)
    if len(lengths) != 1 or min(lengths) < _FEWEST_FRAMES or not bodies or not are_bodies:
        return None
    return [{key: value[frame] for key, value in lists.items()} for frame in range(min(lengths))]


def _frames_of_folders(clips: list[Clip]) -> list[Clip]:
    """Return clips in which files of one frame are joined by their folders, where there is a folder for each clip."""
    if not clips or not all(clip.is_frame for clip in clips):
        return clips
    above = [[part for part in clip.place.parts[:-1] if not is_above_classes(part)] for clip in clips]
    if min(map(len, above)) < 2:
        return clips
    joined: dict[PurePath, Clip] = {}
    for clip in clips:
        folder = clip.place.parent
        whole = joined.setdefault(folder, Clip(place=folder, where=str(Path(clip.where).parent), frames=[]))
        whole.frames += clip.frames
    return list(joined.values())


# numbers


def _read_frames(clips: list[Clip], faults: Faults) -> tuple[np.ndarray, set[str], Counter[str]]:
    """Return all frames end to end, [total_frames, 115, 3], the parts that occur, and what was met how often."""
    values = np.full((sum(len(clip.frames) for clip in clips), NUM_POINTS, 3), np.nan, dtype=np.float32)
    parts: set[str] = set()
    counts: Counter[str] = Counter()
    for row, (clip, number, frame) in enumerate(_each_frame(clips)):
        try:
            if frame is not None and (result := result_of(frame)) is not None:
                parts |= read_result(result, values[row], counts)
            elif frame:
                raise FrameFault("no landmarks under a key that MediaPipe writes")
        except FrameFault as error:
            faults.add(f"{clip.where}, frame {number}: {error}")
    return values, parts, counts


def _each_frame(clips: list[Clip]) -> Iterator[tuple[Clip, int, Any]]:
    for clip in clips:
        for number, frame in enumerate(clip.frames):
            yield clip, number, frame


def _only_parts(
    values: np.ndarray, parts: set[str], counts: Counter[str], path: Path
) -> tuple[np.ndarray, LandmarkLayout]:
    """Return the landmarks of the parts that occur, and their layout."""
    hands = [part for part in PLACES if part in parts and part.endswith("_hand")]
    if "hand" in parts and (hands or "pose" in parts):
        raise UserError(
            f"{path}: some hands have no handedness, so left and right are not known; write it for each hand"
        )
    if not parts - {"face"}:
        raise UserError(f"{path}: no hand and no pose in any frame, so there is nothing to learn from")
    if "pose" in parts and hands:
        kept = ["pose", "left_hand", "right_hand", *(["lips"] if "face" in parts else [])]
    else:
        kept = ["pose"] if "pose" in parts else hands or ["hand"]
    num_coords = 2 if len(kept) > 1 or counts["without_depth"] else 3
    places = [PLACES[_PLACE_OF.get(part, part)] for part in kept]
    return np.concatenate([values[:, place, :num_coords] for place in places], axis=1), compose(kept, num_coords)


def _notes(counts: Counter[str], parts: set[str]) -> Iterator[str]:
    if len(parts & {"left_hand", "right_hand", "hand"}) == 1 and "pose" not in parts:
        yield f"in all frames there is one {next(iter(parts - {'face'})).replace('_', ' ')} or none"
    if len(parts - {"face"}) > 1:
        yield "x and y are kept: the depths of several parts have different origins"
    if "face" in parts:
        kept = "pose" in parts and len(parts) > 2
        yield "of the face the 40 points of the lips are kept" if kept else "the face is left out"
    if counts["world"]:
        yield "world landmarks are left out"
    if counts["several_people"]:
        yield f"in {counts['several_people']:,} frames with several people the first is kept"
    if counts["same_side"]:
        yield f"in {counts['same_side']:,} frames two hands have the same handedness: the surer is kept"

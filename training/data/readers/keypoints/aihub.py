"""Reads AI-Hub's Korean sign language videos (data set 103): key points a frame, and morpheme files with names and times.

The set is https://www.aihub.or.kr/aihubdata/data/view.do?dataSetSn=103. `NIA_SL_WORD1501_REAL01_F` is word 1501 by person
1, filmed from the front: five cameras (F, U, D, L, R) film each recording at once. Its frames are
`.../NIA_SL_WORD1501_REAL01_F/NIA_SL_WORD1501_REAL01_F_000000000000_keypoints.json`, its signs with start and end in seconds
stand in `.../NIA_SL_WORD1501_REAL01_F_morpheme.json`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ....common.errors import UserError
from ...layouts.openpose import upper_body_and_hands
from ...specs import Reading
from ...text import nfc
from ..raw import Faults, RawClips
from ..walk import files_by_folder, first_file
from .openpose import read_clips
from .openpose_frames import SUFFIX, clips_of_folder, frame_number, only_seen

NAME = "aihub"
LOOKS_FOR = f"AI-Hub's NIA_SL_WORD1501_REAL01_F/*{SUFFIX} and *_morpheme.json"
USES: tuple[str, ...] = ()

_MORPHEME = "_morpheme.json"
_CLIP = re.compile(r"NIA_SL_(?P<text>(?:WORD|SEN|FS)[0-9]+)_(?P<person>[A-Z]+[0-9]+)_(?P<view>[FUDLR])", re.IGNORECASE)
_FRAMES_PER_SECOND = 30.0
_MOST_OFF = 0.1
"""How far the length of a clip at 30 frames a second may be from the duration that its morpheme file gives."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A sign in a recording, in seconds; `stop` is infinite for a complete clip."""

    label: str
    start: float = 0.0
    stop: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class Morphemes:
    """What a morpheme file says."""

    segments: tuple[Segment, ...]
    duration: float | None


def detect(path: Path) -> bool:
    """Return whether a folder holds key points of AI-Hub's set."""
    first = first_file(path, SUFFIX) if path.is_dir() else None
    return first is not None and first.name.upper().startswith("NIA_SL_")


def read(path: Path, reading: Reading) -> RawClips:
    """Return the upper body and the hands, [frames, 54, 2]: a clip for each sign of each view.

    Groups are `signer`, `recording` (the views of one recording) and `view`. Without its own morpheme file a clip takes the
    signs and times of another view of the recording; without one the name of its word by another person, and all frames.
    Raises `UserError` with all faults at once.
    """
    faults, counts = Faults(path), Counter[str]()
    morphemes = _read_morphemes(path, faults)
    frames: list[list[Path]] = []
    labels: list[str] = []
    groups: dict[str, list[str]] = {"signer": [], "recording": [], "view": []}
    places: list[str] = []
    for name, files in _clips(path):
        match = _CLIP.fullmatch(name)
        if match is None:
            faults.add(f"{files[0].parent}: {name!r} is not named NIA_SL_<word>_<person>_<view>, as in AI-Hub's set")
            continue
        text, person, view = (match[part].upper() for part in ("text", "person", "view"))
        found = _morphemes_of(text, person, view, morphemes, counts)
        fps = _frames_per_second(files, found.duration, counts)
        for segment in found.segments:
            of_segment = [
                file for file in files if segment.start <= (frame_number(file.name)[1] + 0.5) / fps < segment.stop
            ]
            if not of_segment:
                faults.add(
                    f"{files[0].parent}: no frames from {segment.start:g} to {segment.stop:g} seconds, where its morpheme "
                    f"file has {segment.label!r}; the folder has {len(files)} frames"
                )
                continue
            frames.append(of_segment)
            labels.append(segment.label)
            groups["signer"].append(person)
            groups["recording"].append(f"{text}_{person}")
            groups["view"].append(view)
            places.append(str(files[0].parent))
    faults.check()
    if not frames:
        raise UserError(f"{path}: no {LOOKS_FOR} in it")
    values, offsets, seen = read_clips(path, frames)
    values, parts = only_seen(values, seen)
    return RawClips(
        name=path.resolve().name,
        source_format=NAME,
        values=values,
        offsets=offsets,
        labels=labels,
        groups=groups,
        layout=upper_body_and_hands(parts),
        notes=(*seen.notes(), *(f"{count:,} clips {what}" for what, count in counts.items())),
        where=places.__getitem__,
    )


def _clips(path: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each clip's name and its files in the order of their frames."""
    for folder, names in files_by_folder(path, SUFFIX).items():
        for clip, files in clips_of_folder(names).items():
            yield clip, [path / folder / file for file in files]


def _read_morphemes(path: Path, faults: Faults) -> dict[tuple[str, str, str], Morphemes]:
    """Return the morpheme files below a folder, and beside it, by word, person and view."""
    found: dict[tuple[str, str, str], Morphemes] = {}
    for folder, names in files_by_folder(path, _MORPHEME).items():
        for name in names:
            match = _CLIP.fullmatch(name[: -len(_MORPHEME)])
            if match is None:
                continue
            key = (match["text"].upper(), match["person"].upper(), match["view"].upper())
            try:
                found[key] = _read_morpheme(path / folder / name)
            except UserError as error:
                faults.add(str(error))
    return found


def _read_morpheme(file: Path) -> Morphemes:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        duration = content.get("metaData", {}).get("duration")
        segments = tuple(
            Segment(
                label=nfc("+".join(str(attribute["name"]).strip() for attribute in entry["attributes"])),
                start=float(entry["start"]),
                stop=float(entry["end"]),
            )
            for entry in content["data"]
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(
            f"{file}: is not a morpheme file of AI-Hub ({type(error).__name__}: {error}); expected metaData and data with "
            "start, end and attributes"
        ) from None
    if not segments or any(not segment.label or not segment.start < segment.stop for segment in segments):
        raise UserError(f"{file}: has a sign without a name, or that ends before it starts, or none; mend or remove it")
    return Morphemes(segments=segments, duration=float(duration) if duration else None)


def _morphemes_of(
    text: str, person: str, view: str, known: dict[tuple[str, str, str], Morphemes], counts: Counter[str]
) -> Morphemes:
    """Return a clip's signs, by its own morpheme file or by the nearest other one."""
    if (text, person, view) in known:
        return known[text, person, view]
    if other := next((found for key, found in known.items() if key[:2] == (text, person)), None):
        counts["take their signs and times from another view of the recording: they have no morpheme file"] += 1
        return other
    if other := next((found for key, found in known.items() if key[0] == text and len(found.segments) == 1), None):
        counts["take their name from another person's morpheme file of the same word, and keep all frames"] += 1
        return Morphemes(segments=(Segment(label=other.segments[0].label),), duration=None)
    counts["without a morpheme file are named by their number, and keep all frames"] += 1
    return Morphemes(segments=(Segment(label=text),), duration=None)


def _frames_per_second(files: list[Path], duration: float | None, counts: Counter[str]) -> float:
    """Return 30, or what the clip's duration says if that is far from it."""
    num_frames = frame_number(files[-1].name)[1] + 1
    if duration is None or abs(num_frames / _FRAMES_PER_SECOND - duration) <= max(_MOST_OFF * duration, 0.2):
        return _FRAMES_PER_SECOND
    counts["are not at 30 frames a second by their duration, which their times are cut by"] += 1
    return num_frames / duration

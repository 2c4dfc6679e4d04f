"""Reads JSON files of OpenPose, one a frame: `<class>/<clip>/<clip>_000000000000_keypoints.json`.

The format is https://github.com/CMU-Perceptual-Computing-Lab/openpose/blob/master/doc/02_output.md, as `--write_json` writes
it.
"""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np

from ....common.errors import UserError
from ...layouts.openpose import upper_body_and_hands
from ...specs import Reading
from ..raw import Faults, RawClips
from ..walk import files_by_folder, first_file
from .clip_folders import facts_of_clips
from .openpose_frames import NUM_POINTS, SUFFIX, Seen, clips_of_folder, only_seen, read_frame

NAME = "openpose"
LOOKS_FOR = f"OpenPose's <class>/<clip>/*{SUFFIX}"
USES: tuple[str, ...] = ("label", "signer")


def detect(path: Path) -> bool:
    """Return whether a folder holds files of OpenPose that are not AI-Hub's."""
    first = first_file(path, SUFFIX) if path.is_dir() else None
    return first is not None and not first.name.upper().startswith("NIA_SL_")


def read(path: Path, reading: Reading) -> RawClips:
    """Return the upper body and the hands, [frames, 54, 2], of all clips below `path`.

    The clip of a frame is its folder and the name before its number. The folder above a clip's folder is its class; for
    several clips in one folder, that folder.
    """
    folders = files_by_folder(path, SUFFIX)
    if not folders:
        raise UserError(f"{path}: no {LOOKS_FOR} in it")
    clips: list[tuple[PurePath, list[Path]]] = []
    for folder, names in folders.items():
        of_folder = clips_of_folder(names)
        for clip, names_of_clip in of_folder.items():
            place = folder if len(of_folder) == 1 else folder / (clip or "clip")
            clips.append((place, [path / folder / name for name in names_of_clip]))
    facts = facts_of_clips(path, [place for place, _ in clips], reading)
    frames = [clips[index][1] for index in facts.kept]
    values, offsets, seen = read_clips(path, frames)
    values, parts = only_seen(values, seen)
    return RawClips(
        name=path.resolve().name,
        source_format=NAME,
        values=values,
        offsets=offsets,
        labels=facts.labels,
        groups={"signer": facts.signers},
        splits=facts.splits,
        layout=upper_body_and_hands(parts),
        notes=(*facts.notes, *seen.notes()),
        where=lambda index: str(frames[index][0].parent),
    )


def read_clips(source: Path, clips: list[list[Path]]) -> tuple[np.ndarray, np.ndarray, Seen]:
    """Return the frames of all clips end to end, [total_frames, 54, 2], their offsets, and what was met."""
    offsets = np.zeros(len(clips) + 1, dtype=np.int64)
    np.cumsum([len(frames) for frames in clips], out=offsets[1:])
    values = np.full((int(offsets[-1]), NUM_POINTS, 2), np.nan, dtype=np.float32)
    seen, faults = Seen(), Faults(source)
    for row, file in enumerate(file for frames in clips for file in frames):
        try:
            read_frame(file, values[row], seen)
        except UserError as error:
            faults.add(str(error))
    faults.check()
    return values, offsets, seen

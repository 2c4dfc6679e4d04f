"""Examples of folders of `.npy` files: MP_Data and its kin."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from slipway.training.data.specs import Reading

from .bodies import HOLISTIC, POSE_HANDS, Clip, clips_of, flat, numbers
from .example import Example, Made, frame_by_frame, made


def save(file: Path, values: np.ndarray) -> None:
    """Save an array in a folder that may not be there yet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, values)


def mp_data(parts: Sequence[str], *forms: str, lost: str = "") -> Callable[[Path], Made]:
    """Return what writes `MP_Data/<class>/<sequence>/<frame>.npy`, more than ten frames a sequence."""

    def write(root: Path) -> Made:
        clips = clips_of(*parts, frames=12, lost=lost)
        for clip in clips:
            for number, frame in enumerate(flat(clip, *forms)):
                save(root / "MP_Data" / clip.label / str(clip.number) / f"{number}.npy", frame)
        return made(clips, source="MP_Data")

    return write


def hangul_half_in_nfd(root: Path) -> Made:
    clips = clips_of("hand", words=("감사", "안녕", "사랑"))
    for clip in clips:
        word = unicodedata.normalize("NFD", clip.label) if clip.number % 2 else clip.label
        for number, frame in enumerate(flat(clip, "xyz")):
            save(root / word / str(clip.number) / f"{number}.npy", frame)
    for stray in (".DS_Store", "감사/Thumbs.db", "감사/0/._0.npy"):
        (root / stray).write_bytes(b"\0stray")
    for folder in ("Logs", "__pycache__", ".ipynb_checkpoints", "감사/.ipynb_checkpoints"):
        (root / folder).mkdir()
    return made(clips)


def points_and_flags(root: Path) -> Made:
    clips = clips_of("hand")
    for clip in clips:
        for number, frame in enumerate(numbers(clip, "xyzv")):
            save(root / clip.label / str(clip.number) / f"{number}.npy", frame)
    return made(clips)


def class_and_frames(root: Path) -> Made:
    clips = clips_of("hand")
    for clip in clips:
        for number, frame in enumerate(flat(clip, "xyz")):
            save(root / clip.label / f"frame_{10 * clip.number + number}.npy", frame)
    return frame_by_frame(made(clips))


def class_and_clips(root: Path) -> Made:
    clips = clips_of("hand", frames=(5, 6, 7, 8), lost="hand")
    for clip in clips:
        save(root / clip.label / f"{clip.number}.npy", numbers(clip, "xyz", missing=np.nan))
    return made(clips)


def clips_named_by_class(root: Path) -> Made:
    clips = clips_of("hand")
    for clip in clips:
        save(root / f"{clip.label}_{clip.number:03d}.npy", flat(clip, "xyz"))
    return made(clips)


def clips_in_files(ending: str) -> Callable[[Path], Made]:
    """Return what writes `<class>/<clip>`, a table with a column of frames or an archive."""

    def write(root: Path) -> Made:
        clips = clips_of("hand", lost="hand")
        names = ["frame", *(f"{axis}{point}" for point in range(21) for axis in "xyz")]
        for clip in clips:
            file = root / clip.label / f"{clip.number}{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            frames = flat(clip, "xyz")
            if ending == ".npz":
                np.savez(file, frames)
            else:
                rows = [[str(number), *map(repr, frame)] for number, frame in enumerate(frames.tolist())]
                file.write_text("\n".join(",".join(row) for row in (names, *rows)))
        return made(clips)

    return write


def frames_named_by_sequence(root: Path) -> Made:
    clips = clips_of("hand", frames=12)
    for clip in clips:
        for number, frame in enumerate(flat(clip, "xyz")):
            save(root / clip.label / f"video_{clip.number}_frame_{number}.npy", frame)
    return made(clips)


def with_signers(outer: Callable[[Clip], str]) -> Callable[[Path], Made]:
    """Return what writes `<signer>/<class>/<sequence>/<frame>.npy`, or the two folders the other way round."""

    def write(root: Path) -> Made:
        clips = clips_of("hand")
        for clip in clips:
            for number, frame in enumerate(flat(clip, "xyz")):
                save(root / outer(clip) / str(clip.number) / f"{number}.npy", frame)
        return made(clips, groups={"signer": [f"user{clip.number % 2}" for clip in clips]})

    return write


def archives_of_parts(root: Path) -> Made:
    clips = clips_of(*POSE_HANDS, frames=(5, 6, 7, 8), lost="left_hand")
    for clip in clips:
        (root / clip.label).mkdir(exist_ok=True)
        parts = {part: numbers(clip, "xyz", order=(part,)) for part in reversed(POSE_HANDS)}
        np.savez(root / clip.label / f"{clip.number}.npz", **parts)
    return made(clips)


def folders_of_parts(root: Path) -> Made:
    clips = clips_of(*POSE_HANDS, lost="left_hand")
    for clip in clips:
        for part in POSE_HANDS:
            save(root / clip.label / f"video{clip.number}" / f"{part}.npy", numbers(clip, "xyz", order=(part,)))
    return made(clips)


def signers_with_names(root: Path) -> Made:
    clips = clips_of("hand")
    signers = [("anna", "bora")[clip.number % 2] for clip in clips]
    for clip, signer in zip(clips, signers, strict=True):
        save(root / signer / clip.label / f"{clip.number}.npy", flat(clip, "xyz"))
    return made(clips, groups={"signer": signers})


def splits_around(root: Path) -> Made:
    clips = clips_of("hand")
    splits = ["test" if clip.number == 3 else "train" for clip in clips]
    for clip, split in zip(clips, splits, strict=True):
        save(root / split / clip.label / f"{clip.number}.npy", flat(clip, "xyz"))
    return made(clips, splits=splits)


FOLDERS = [
    Example(
        on_disk="`MP_Data/<class>/<sequence>/<frame>.npy`, 1662 numbers",
        write=mp_data(HOLISTIC, "xyzv", "xyz", "xyz", "xyz", lost="left_hand"),
    ),
    Example(on_disk="`MP_Data/...`, 258 numbers", write=mp_data(POSE_HANDS, "xyzv", "xyz", "xyz", lost="right_hand")),
    Example(on_disk="`MP_Data/...`, 63 numbers", write=mp_data(("hand",), "xyz", lost="hand")),
    Example(on_disk="the same in Hangul, half of the names in NFD, strays beside", write=hangul_half_in_nfd),
    Example(on_disk="`<class>/<sequence>/<frame>.npy`, [21, 4]", write=points_and_flags),
    Example(on_disk="`<class>/frame_N.npy`", write=class_and_frames),
    Example(on_disk="`<class>/<seq>.npy`, [frames, 21, 3]", write=class_and_clips),
    Example(on_disk="`<class>_001.npy` of all classes in one folder", write=clips_named_by_class),
    Example(on_disk="`<class>/<clip>.csv`, a row a frame", write=clips_in_files(".csv")),
    Example(on_disk="`<class>/<clip>.npz` of one array", write=clips_in_files(".npz")),
    Example(on_disk="`<class>/<clip>.npz` of pose, left_hand, right_hand", write=archives_of_parts),
    Example(on_disk="`<class>/<clip>/left_hand.npy`, an array a part", write=folders_of_parts),
    Example(on_disk="`<class>/video_3_frame_12.npy`", write=frames_named_by_sequence),
    Example(
        on_disk="`<signer>/<class>/<sequence>/<frame>.npy`",
        write=with_signers(lambda clip: f"user{clip.number % 2}/{clip.label}"),
    ),
    Example(
        on_disk="`<class>/<signer>/<sequence>/<frame>.npy`",
        write=with_signers(lambda clip: f"{clip.label}/user{clip.number % 2}"),
    ),
    Example(
        on_disk="`anna/<class>/<seq>.npy`",
        write=signers_with_names,
        reading=Reading(label="folder2", signer="folder1"),
    ),
    Example(on_disk="`train/<class>/<seq>.npy`, `test/...`", write=splits_around),
]

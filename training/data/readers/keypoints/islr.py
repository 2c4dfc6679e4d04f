"""Reads Google's Isolated Sign Language Recognition set: `train.csv` and a long-form Parquet file per clip.

The set is https://www.kaggle.com/competitions/asl-signs: a row a landmark with its frame, type (face, left_hand, pose,
right_hand), index, x, y and z, 543 landmarks a frame. The set of the next competition, asl-fingerspelling, looks alike
(`train.csv`, `supplemental_metadata.csv`); its clips are phrases, so it is refused.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....common.errors import UserError
from ....common.program.threads import HelperThreads
from ...layouts.mediapipe import LIPS, pose_and_hands
from ...specs import Reading
from ...text import find_column, nfc
from ..growing import GrowingClips
from ..raw import Faults, RawClips
from ..tables.csv_rows import header_of, read_table

NAME = "islr"
LOOKS_FOR = "train.csv (path, participant_id, sign) with a Parquet file per clip"
USES: tuple[str, ...] = ()

_COLUMNS = (("path",), ("participantid",), ("sign",))
_PHRASES = ("train.csv", "supplemental_metadata.csv")
_FIRST = {"face": 0, "left_hand": 468, "pose": 489, "right_hand": 522}
_PARTS = tuple(_FIRST)
_SIZES = {"face": 468, "left_hand": 21, "pose": 33, "right_hand": 21}
_LANDMARKS = 543
_KEPT = np.array([*range(489, 522), *range(468, 489), *range(522, 543), *LIPS])
"""Pose, left hand, right hand and lips."""
_FEWEST_OF_SPAN = 10
"""Frame numbers may run over at most so many times the frames that are there."""
_MOST_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The numbers of a file, and what was unusual in it; or what is wrong with it."""

    values: np.ndarray | None = None
    """float32 [frames, landmarks, 2]."""
    num_added: int = 0
    """Frames without any row, added as missing."""
    is_sorted: bool = True
    fault: str = ""


def detect(path: Path) -> bool:
    """Return whether `path` is a folder whose `train.csv` has the columns path, participant_id and sign, or phrase."""
    return path.is_dir() and (_is_of_signs(path) or _of_phrases(path) is not None)


def _is_of_signs(path: Path) -> bool:
    header = header_of(path / "train.csv")
    return all(find_column(header, names) is not None for names in _COLUMNS)


def _of_phrases(path: Path) -> str | None:
    """Return the table of phrases in a folder, or `None`."""
    for name in _PHRASES:
        header = header_of(path / name)
        if all(find_column(header, (column,)) is not None for column in ("path", "sequenceid", "phrase")):
            return name
    return None


def read(path: Path, reading: Reading) -> RawClips:
    """Return all clips: x and y of pose, hands and lips; of all landmarks if `reading` keeps any of the face.

    Classes are ordered by `sign_to_prediction_index_map.json`. Raises `UserError` with all faults at once.
    """
    if path.is_dir() and not _is_of_signs(path) and (phrases := _of_phrases(path)) is not None:
        raise UserError(
            f"{path / phrases}: is of Google's ASL Fingerspelling set, whose clips are phrases, letter after letter; a clip "
            "here has one class: take the set asl-signs, or cut the phrases into clips of one sign"
        )
    table = read_table(path / "train.csv", reading.encoding)
    files, signers, signs = (table.column(names) for names in _COLUMNS)
    keeps_face = "face" in (reading.keep or "")
    kept = np.arange(_LANDMARKS) if keeps_face else _KEPT
    faults = Faults(path)
    clips = GrowingClips(len(kept), 2)
    counts: Counter[str] = Counter()
    for row, clip in enumerate(_read_clips([path / name for name in files], kept)):
        if clip.values is None:
            faults.add(f"{table.where(row)}: {clip.fault}")
            continue
        clips.add(clip.values)
        counts["added"] += clip.num_added
        counts["unsorted"] += not clip.is_sorted
    faults.check()
    values, offsets = clips.finish()
    return RawClips(
        name=path.resolve().name,
        source_format=NAME,
        values=values,
        offsets=offsets,
        labels=signs,
        class_names=_order_of_classes(path),
        groups={"signer": signers},
        layout=None if keeps_face else pose_and_hands(2, lips=True),
        parts=_PARTS if keeps_face else None,
        notes=tuple(_notes(counts, keeps_face)),
        where=table.where,
    )


def _notes(counts: Counter[str], keeps_face: bool) -> Iterator[str]:
    yield "x and y are kept: the depths of the parts have different origins"
    if not keeps_face:
        yield "of the face the 40 points of the lips are kept"
    if counts["added"]:
        yield f"{counts['added']:,} frames without rows are missing frames"
    if counts["unsorted"]:
        yield f"the rows of {counts['unsorted']:,} files were put in order by frame, type and landmark_index"


def _order_of_classes(path: Path) -> list[str] | None:
    file = path / "sign_to_prediction_index_map.json"
    if not file.is_file():
        return None
    try:
        numbers = {
            nfc(str(sign)): int(number) for sign, number in json.loads(file.read_text(encoding="utf-8-sig")).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: is not an object of signs and their numbers ({error}); mend or remove it") from None
    return sorted(numbers, key=numbers.__getitem__) or None


def _read_clips(files: Sequence[Path], kept: np.ndarray) -> Iterator[Clip]:
    """Yield the clips of files in their order; some are read ahead."""
    with HelperThreads(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        yield from threads.map(lambda file: _read_clip(file, kept), files)


def _read_clip(file: Path, kept: np.ndarray) -> Clip:
    """Return the kept landmarks of a file, frame by frame."""
    try:
        names = pq.read_schema(file).names
        parquet = pq.ParquetFile(file, read_dictionary=["type"] if "type" in names else None)
        if not {"x", "y"} <= set(names):
            return Clip(fault=f"{file} has the columns {', '.join(names[:6])}, not x and y")
        columns = [name for name in ("frame", "type", "landmark_index", "x", "y") if name in names]
        table = parquet.read(columns=columns, use_threads=False)
    except FileNotFoundError:
        return Clip(fault=f"{file} is not there; download it, or remove its row")
    except (OSError, pa.ArrowException) as error:
        return Clip(fault=f"{file} cannot be read ({str(error).splitlines()[0]}); download it again")
    if table.num_rows == 0:
        return Clip(fault=f"{file} has no rows; remove it from the table")
    rows = np.empty((table.num_rows, 2), dtype=np.float32)
    for axis, name in enumerate(("x", "y")):
        rows[:, axis] = table[name].to_numpy()
    if len(columns) < 5:  # without their names the rows are in the order of the set
        if len(rows) % _LANDMARKS:
            return Clip(fault=f"{file}: {len(rows)} rows, not a multiple of {_LANDMARKS} landmarks per frame")
        return Clip(values=rows.reshape(-1, _LANDMARKS, 2)[:, kept])
    return _in_order(file, table, rows, kept)


def _in_order(file: Path, table: pa.Table, rows: np.ndarray, kept: np.ndarray) -> Clip:
    """Return the kept landmarks, each row in the place that its frame, type and index name."""
    types = table["type"].combine_chunks()
    known = types.dictionary.to_pylist()
    if unknown := [name for name in known if name not in _FIRST]:
        return Clip(fault=f"{file}: type {unknown[0]!r}, where the set has {', '.join(_FIRST)}")
    codes, index, frame = (
        column.to_numpy(zero_copy_only=False).astype(np.int64)
        for column in (types.indices, table["landmark_index"].combine_chunks(), table["frame"].combine_chunks())
    )
    sizes = np.array([_SIZES[name] for name in known])[codes]
    if (wrong := (index < 0) | (index >= sizes)).any():
        row = int(wrong.argmax())
        return Clip(
            fault=f"{file}, row {row}: landmark_index {index[row]} of {known[codes[row]]}, which has {sizes[row]}"
        )
    first_frame = int(frame.min())
    num_frames = int(frame.max()) - first_frame + 1
    places = (frame - first_frame) * _LANDMARKS + np.array([_FIRST[name] for name in known])[codes] + index
    if len(places) == num_frames * _LANDMARKS and (places == np.arange(len(places))).all():
        return Clip(values=rows.reshape(-1, _LANDMARKS, 2)[:, kept])
    num_present = len(np.unique(frame))
    if num_frames > _FEWEST_OF_SPAN * num_present:
        return Clip(
            fault=f"{file}: {num_present} frames, with numbers from {first_frame} to {first_frame + num_frames - 1}"
        )
    ordered = np.sort(places)
    if (ordered[1:] == ordered[:-1]).any():
        return Clip(fault=f"{file}: two rows for one landmark of a frame; download it again")
    values = np.full((num_frames * _LANDMARKS, 2), np.nan, dtype=np.float32)
    values[places] = rows
    return Clip(
        values=values.reshape(-1, _LANDMARKS, 2)[:, kept],
        num_added=num_frames - num_present,
        is_sorted=bool((places[1:] > places[:-1]).all()),
    )

"""Reads Google's Isolated Sign Language Recognition set: `train.csv` and a long-form Parquet file per clip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....common.errors import UserError
from ...specs import Reading
from ...text import find_column
from ..raw import RawClips, raw_clips
from ..tables.csv_rows import header_of, read_table

NAME = "islr"
LOOKS_FOR = "train.csv (path, participant_id, sign) with a Parquet file per clip"

_LANDMARKS_PER_FRAME = 543
_COLUMNS = (("path",), ("participantid",), ("sign",))


def detect(path: Path) -> bool:
    """Return whether `path` is a folder whose `train.csv` has the columns path, participant_id and sign."""
    header = header_of(path / "train.csv") if path.is_dir() else []
    return all(find_column(header, names) is not None for names in _COLUMNS)


def read(path: Path, reading: Reading) -> RawClips:
    """Return all clips: x and y of pose, hands and lips. Classes are ordered by `sign_to_prediction_index_map.json`."""
    table = read_table(path / "train.csv")
    files, signers, signs = (table.column(names) for names in _COLUMNS)
    clips = []
    for row, name in enumerate(files):
        clips.append(_read_clip(path / name, table.where(row)))
    order = path / "sign_to_prediction_index_map.json"
    numbers = json.loads(order.read_text(encoding="utf-8")) if order.is_file() else {}
    return raw_clips(
        name=path.resolve().name,
        source_format=NAME,
        parts=("face", "left_hand", "pose", "right_hand"),
        clips=clips,
        labels=signs,
        class_names=sorted(numbers, key=numbers.__getitem__) or None,
        groups={"signer": signers},
        where=table.where,
    )


def _read_clip(file: Path, where: str) -> np.ndarray:
    """Return a clip as float32 [frames, 543, 2]; in a file the frames are in order, and each frame's landmarks too."""
    try:
        table = pq.read_table(file, columns=["x", "y"])
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{where}: {file} cannot be read ({str(error).splitlines()[0]})") from None
    if table.num_rows % _LANDMARKS_PER_FRAME or table.num_rows == 0:
        raise UserError(f"{file}: {table.num_rows} rows, not a multiple of {_LANDMARKS_PER_FRAME} landmarks per frame")
    values = np.stack([table[axis].to_numpy() for axis in ("x", "y")], axis=1)
    return values.astype(np.float32).reshape(-1, _LANDMARKS_PER_FRAME, 2)

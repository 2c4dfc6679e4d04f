"""Reads what `datasets` opens: a folder made by `save_to_disk`, Parquet, Arrow and JSON files, a name on the Hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from huggingface_hub import HfApi

from ....common.errors import UserError
from ...specs import Reading
from ...text import (
    LABEL_COLUMNS,
    LANDMARK_COLUMNS,
    SIGNER_COLUMNS,
    SPLIT_COLUMNS,
    files_with,
    find_column,
    plain_label,
    split_name,
)
from ..raw import RawClips, raw_clips

NAME = "hub"
LOOKS_FOR = "a folder made by save_to_disk, Parquet, Arrow, JSON"

_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json"}
_SAVED = ("dataset_dict.json", "state.json")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_TIMEOUT_SECONDS = 10.0


def detect(path: Path) -> bool:
    """Return whether `path` is a Parquet, Arrow or JSON file, or a folder with such files or made by `save_to_disk`."""
    if not path.is_dir():
        return path.suffix.lower() in _BUILDERS
    # Hub repositories keep their files in `data/`.
    return any(files_with(folder, *_BUILDERS) for folder in (path, path / "data") if folder.is_dir())


def read(path: Path, reading: Reading) -> RawClips:
    """Return a local data set; `landmarks` is nested [frames][landmarks][coords] or [frames][numbers]."""
    name = path.resolve().name if path.is_dir() else path.stem
    try:
        # The data are copied in memory, so `load_dataset`'s copy on the disk need not stay.
        with _quiet(), tempfile.TemporaryDirectory() as cache:
            if any((path / file).is_file() for file in _SAVED):
                loaded = datasets.load_from_disk(str(path))
            elif path.is_dir():
                loaded = datasets.load_dataset(str(path), cache_dir=cache)
            else:
                builder = _BUILDERS.get(path.suffix.lower(), "parquet")
                loaded = datasets.load_dataset(builder, data_files=str(path), cache_dir=cache)
            return _convert(loaded, name, str(path))
    except UserError:
        raise
    except Exception as error:  # `datasets` passes on anything that its readers raise
        raise UserError(f"{path}: cannot be loaded as a data set ({_first_line(error)})") from error


def read_name(name: str, reading: Reading) -> RawClips:
    """Return a data set of the Hugging Face Hub by its name."""
    message = f"{name!r} is neither a path nor the name of a data set that could be loaded"
    if not _HUB_NAME.fullmatch(name):
        raise UserError(f"{message}: no such file or folder")
    try:
        # First, since `load_dataset` retries for half a minute before it fails for a name that does not exist.
        if not datasets.config.HF_HUB_OFFLINE:
            HfApi().dataset_info(name, timeout=_HUB_TIMEOUT_SECONDS)
        loaded = datasets.load_dataset(name)
    except Exception as error:  # no network, no such name, no access, a format that `datasets` cannot read
        raise UserError(f"{message} ({_first_line(error)})") from error
    return _convert(loaded, name.rsplit("/", maxsplit=1)[-1], name)


def _convert(loaded: Any, name: str, origin: str) -> RawClips:
    """Return the data of a `Dataset` or a `DatasetDict`, whose keys are the data's own split if there are several."""
    parts = loaded if isinstance(loaded, dict) else {"": loaded}
    frames, lengths, labels, signers, splits, places = [], [], [], [], [], []
    class_names: list[str] | None = None
    for key, part in parts.items():
        own_split = split_name(key, origin) if len(parts) > 1 else ""
        place = f"{origin}, split {key}" if own_split else origin
        landmarks = _column(part, LANDMARK_COLUMNS)
        label = _column(part, LABEL_COLUMNS)
        if landmarks is None or label is None:
            raise UserError(f"{place}: needs the columns landmarks and label; it has {', '.join(part.column_names)}")
        feature = part.features[label]
        if isinstance(feature, datasets.ClassLabel):
            class_names = list(dict.fromkeys([*(class_names or []), *feature.names]))
        part_frames, part_lengths = _ragged(part, landmarks, place)
        frames.append(part_frames)
        lengths += part_lengths
        labels += [_label_text(value, feature) for value in part[label]]
        signers += _texts(part, SIGNER_COLUMNS, "")
        splits += [split_name(text, place) for text in _texts(part, SPLIT_COLUMNS, own_split)]
        places += [f"{place}, row {row}" for row in range(len(part))]
    if len({block.shape[1:] for block in frames}) > 1:
        raise UserError(f"{origin}: the splits' frames are of unequal size")
    values = np.concatenate(frames)
    return raw_clips(
        name=name,
        source_format=NAME,
        clips=np.split(values, np.cumsum(lengths)[:-1]),
        labels=labels,
        class_names=class_names,
        groups={"signer": signers},
        splits=splits,
        where=places.__getitem__,
    )


def _column(part: Any, names: tuple[str, ...]) -> str | None:
    index = find_column(part.column_names, names)
    return None if index is None else part.column_names[index]


def _texts(part: Any, names: tuple[str, ...], default: str) -> list[str]:
    column = _column(part, names)
    if column is None or default:
        return [default] * len(part)
    return ["" if value is None else plain_label(value) for value in part[column]]


def _label_text(value: Any, feature: Any) -> str:
    if not isinstance(feature, datasets.ClassLabel):
        return "" if value is None else plain_label(value)
    return "" if value is None or value < 0 else feature.names[value]


def _ragged(part: Any, column: str, place: str) -> tuple[np.ndarray, list[int]]:
    """Return a nested column's frames end to end, [total_frames, ...], and the frames of each row, through Arrow."""
    rows = part.with_format("arrow")[column]
    table = rows if isinstance(rows, pa.ChunkedArray) else pa.chunked_array([rows[:]])
    blocks, lengths = [], []
    for chunk in table.chunks:
        values, sizes, clip_lengths = _unnest(chunk, place)
        if not sizes:
            # A vector per row is a clip of one frame.
            sizes, clip_lengths = [_one_size(clip_lengths, place)], [1] * len(clip_lengths)
        if len(sizes) > 2:
            raise UserError(f"{place}: column {column!r} is nested too deep; expected [frames][landmarks][coords]")
        blocks.append(values.reshape(-1, *sizes))
        lengths += clip_lengths
    if len({block.shape[1:] for block in blocks}) != 1:
        raise UserError(f"{place}: column {column!r} is empty or its frames are of unequal size")
    return np.concatenate(blocks), lengths


def _unnest(array: pa.Array, place: str) -> tuple[np.ndarray, list[int], list[int]]:
    """Return a nested array's numbers, the sizes of its inner dimensions, and the lengths of its rows."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    sizes: list[list[int]] = []
    while pa.types.is_nested(array.type):
        if array.null_count or not hasattr(array, "flatten") or pa.types.is_struct(array.type):
            raise UserError(f"{place}: landmarks are not lists of numbers, or a row of them is null")
        sizes.append(pc.list_value_length(array).to_pylist())
        array = array.flatten()
    if not sizes or not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type)):
        raise UserError(f"{place}: landmarks are {array.type}, not lists of numbers")
    inner = [_one_size(level, place) for level in sizes[1:]]
    return array.to_numpy(zero_copy_only=False).astype(np.float32), inner, sizes[0]


def _one_size(sizes: list[int], place: str) -> int:
    different = sorted(set(sizes))
    if len(different) != 1:
        raise UserError(f"{place}: frames of unequal size ({', '.join(map(str, different)) or 'none'})")
    return different[0]


def _first_line(error: BaseException) -> str:
    if isinstance(error, datasets.exceptions.DatasetGenerationError) and error.__cause__:
        error = error.__cause__  # its own message is only that there was an error
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of `datasets` over local files, and its log of errors that it raises anyway."""
    hidden, verbosity = datasets.utils.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if not hidden:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if not hidden:
            datasets.enable_progress_bars()

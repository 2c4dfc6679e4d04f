"""Reads UEA and aeon time series, `.ts`: channels of equal or unequal lengths, often as a TRAIN and a TEST file.

The sets are those of timeseriesclassification.com; the form is that of www.aeon-toolkit.org.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...layouts.mediapipe import channels
from ...specs import Reading
from ...text import files_with, nfc, only_file, read_text
from ..raw import Faults, RawClips, cut, raw_clips
from .csv_rows import is_number

NAME = "uea_ts"
LOOKS_FOR = "*_TRAIN.ts and *_TEST.ts, or a .ts file"
USES: tuple[str, ...] = ()

_SUFFIXES = (("_train", "train"), ("_test", "test"))


@dataclass(frozen=True, kw_only=True)
class _Series:
    class_names: list[str]
    clips: list[np.ndarray]
    labels: list[str]
    lines: list[int]


def detect(path: Path) -> bool:
    """Return whether `path` is a `.ts` file or a folder with one."""
    return bool(files_with(path, ".ts")) if path.is_dir() else path.suffix.lower() == ".ts"


def read(path: Path, reading: Reading) -> RawClips:
    """Return the data of a file, or of a folder's TRAIN and TEST files, which are then the data's own split.

    The layout is one landmark per channel with one coordinate, which is not a position in space.
    """
    files = _split_files(path) if path.is_dir() else {"": path}
    faults = Faults(path)
    parts = {split: _read_file(file, reading, faults) for split, file in files.items()}
    faults.check()
    places = [(file, line) for split, file in files.items() for line in parts[split].lines]
    clips = [clip for part in parts.values() for clip in part.clips]
    for (file, line), clip in zip(places, clips, strict=True):
        if clip.shape[1] != clips[0].shape[1]:
            faults.add(
                f"{file}, line {line}: {clip.shape[1]} channels, where the first row has {clips[0].shape[1]}; give each all"
            )
    faults.check()
    return raw_clips(
        name=next(iter(files.values())).stem.removesuffix("_TRAIN"),
        source_format=NAME,
        layout=channels(clips[0].shape[1]),
        clips=clips,
        labels=[label for part in parts.values() for label in part.labels],
        class_names=list(dict.fromkeys(name for part in parts.values() for name in part.class_names)),
        splits=[split for split, part in parts.items() for _ in part.clips],
        files=tuple(file.name for file in files.values()),
        where=lambda index: f"{places[index][0]}, line {places[index][1]}",
    )


def _split_files(folder: Path) -> dict[str, Path]:
    """Return split -> file for a TRAIN and a TEST file of one name, else the folder's only file without a split."""
    files = files_with(folder, ".ts")
    problems: dict[str, dict[str, Path]] = {}
    for file in files:
        for suffix, split in _SUFFIXES:
            if file.stem.lower().endswith(suffix):
                problems.setdefault(file.stem[: -len(suffix)], {})[split] = file
    if len(problems) == 1 and len(files) == 2:
        (pair,) = problems.values()
        if len(pair) == 2:
            return {split: pair[split] for _, split in _SUFFIXES}
    return {"": only_file(files, folder, ".ts data set")}


def _read_file(file: Path, reading: Reading, faults: Faults) -> _Series:
    class_names: list[str] | None = None
    clips, labels, numbers = [], [], []
    for line, (key, text) in _lines(file, reading):
        if key == "classlabel":
            class_names = nfc(text).split()[1:]
        elif key in ("timestamps", "targetlabel") and text.lower().startswith("true"):
            raise UserError(
                f"{file}, line {line}: @{key} true is not read; write series of classes at even time steps, without it"
            )
        elif key == "" and not class_names:
            raise UserError(
                f"{file}, line {line}: data without a line '@classLabel true ...' that names the classes; add it above @data"
            )
        elif key == "":
            *series, label = text.split(":")
            try:
                clips.append(_clip(series))
                labels.append(nfc(label.strip()))
                numbers.append(line)
            except ValueError as error:
                faults.add(f"{file}, line {line}: {error}")
    if not clips and not len(faults):
        raise UserError(f"{file}: no data after a line '@data'; write a row for each series there")
    return _Series(class_names=class_names or [], clips=clips, labels=labels, lines=numbers)


def _lines(file: Path, reading: Reading) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield (line number, (directive in lower case, its text)); a row of data has the directive ""."""
    is_data = False
    for number, raw in enumerate(read_text(file, reading.encoding).splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith(("#", "%")):
            continue
        if is_data:
            yield number, ("", line)
        else:
            key, _, text = line.partition(" ")
            is_data = key.lower() == "@data"
            if not is_data:
                yield number, (key.lower().removeprefix("@").replace("_", ""), text.strip())


def _clip(series: list[str]) -> np.ndarray:
    """Return one row's channels as [frames, channels, 1]. Raises `ValueError` for a cell that is no number."""
    cells = [channel.replace("?", "nan").split(",") for channel in series]
    try:
        values = [np.array(channel, dtype=np.float32) for channel in cells]
    except ValueError:
        bad = next(cell.strip() for channel in cells for cell in channel if not is_number(cell))
        raise ValueError(f"{cut(bad)} is not a number; a missing one is written as ?") from None
    lengths = {len(channel) for channel in values}
    if len(lengths) != 1:
        raise ValueError(
            f"channels of unequal length ({', '.join(map(str, sorted(lengths)))} values); write ? for those that are missing"
        )
    return np.stack(values, axis=1)[:, :, None]

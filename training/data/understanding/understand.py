"""Makes landmarks of the clips of a reader: what the numbers are, which are missing, and the last checks."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from ...common.errors import UserError, flag_of
from ...common.program.doors import door
from ...common.small_files import expanded
from ..landmarks import LandmarkData, LandmarkLayout
from ..readers.raw import Faults, RawClips
from ..readers.read import read_raw
from ..specs import SYNTHETIC, Reading
from ..text import natural_key
from .columns import Columns, blocks, look_at
from .decode import decode
from .doubts import find_doubts
from .frame_form import FrameForm
from .interpretation import interpret
from .marks import marks_of

REMEDY = "mend it, write it again, or remove it"


def read_landmarks(
    source: str, reading: Reading | None = None, known: tuple[FrameForm, LandmarkLayout] | None = None
) -> LandmarkData:
    """Return the data set of a path, of a name on the Hub, or the generated one, understood as `reading` says.

    Frames of the form that is `known` are read as it says, with its landmarks.

    Raises `UserError` if it cannot be read, and for what `reading` says of data that know it for certain.
    """
    reading = reading or Reading()
    if source == SYNTHETIC:
        from ..synthetic.fingerspelling import make_fingerspelling

        _check_of_synthetic(reading)
        return make_fingerspelling()
    with door(source, REMEDY):
        data = understand(read_raw(source, reading), reading, known)
    return data if data.source else replace(data, source=(_name_of(source),))


def _check_of_synthetic(reading: Reading) -> None:
    """Raise `UserError` for an option of reading: the generated data are not read. Their groups are the split's."""
    for field in fields(Reading):
        value = getattr(reading, field.name)
        if value != field.default and field.name != "group":
            option = {"format": "data_format", "keep": "keep_landmarks"}.get(field.name, field.name)
            raise UserError(
                f"{flag_of(option)} {value}: does nothing for {SYNTHETIC} data; leave it out", option=option
            )


def _name_of(source: str) -> str:
    """Return the last name of a path, of a folder that of the one to which links lead; a data set's name as it is."""
    path = expanded(source)
    if path.is_dir():
        return path.resolve().name
    return path.name if path.exists() else source


def understand(
    raw: RawClips,
    reading: Reading,
    known: tuple[FrameForm, LandmarkLayout] | None = None,
    *,
    is_to_learn: bool = True,
) -> LandmarkData:
    """Return the landmarks of clips as their source and `reading` say.

    Frames of the form that is `known` are read as it says, unless the source itself says what its points are. What is doubtful
    in data to learn from is told only where they are. A point without one of its coordinates is missing. Raises `UserError` for
    no clip at all, clips without frames, clips without a label, infinite numbers, and numbers of which it is not certain what
    they are.
    """
    if not len(raw.labels):
        raise UserError(f"{raw.name}: no clips found")
    faults = Faults(raw.name)
    lengths = np.diff(raw.offsets)
    for index in np.flatnonzero(lengths == 0).tolist():
        faults.add(f"{raw.where(index)}: a clip without frames; remove it")
    names = list(raw.class_names) if raw.class_names is not None else sorted(set(raw.labels) - {""}, key=natural_key)
    number = {label: index for index, label in enumerate(names)}
    if len(number) < len(names):
        faults.add(f"{raw.name}: two classes have the same name; names: {', '.join(names)}")
    for index, label in enumerate(raw.labels if set(raw.labels) - number.keys() else ()):
        if label == "":
            faults.add(f"{raw.where(index)}: no label")
        elif label not in number:
            faults.add(f"{raw.where(index)}: class {label!r} is not among the {len(names)} classes that the data names")
    labels = np.array([number.get(label, -1) for label in raw.labels], dtype=np.int64)
    values = raw.values.reshape(len(raw.values), -1)
    columns = look_at(values, labels, lengths, len(names))
    for index in _infinite(values, columns, raw.offsets):
        faults.add(f"{raw.where(index)}: holds an infinite number; a missing one is written as NaN")
    faults.check()
    number_names = tuple(raw.number_names or ())
    if known is not None and raw.layout is None and known[0].fits(values.shape[1], number_names):
        read_as, marks = known[0].interpretation(known[1]), known[0].marks
    else:
        read_as = interpret(raw, values, columns, reading)
        marks = marks_of(values, read_as, columns)
    frame = FrameForm.of(read_as, values.shape[1], number_names, marks)
    landmarks, missing = decode(values, read_as, marks)
    data = LandmarkData(
        name=raw.name,
        source=tuple(raw.files),
        source_format=raw.source_format,
        layout=read_as.layout,
        values=landmarks,
        offsets=raw.offsets,
        labels=labels,
        class_names=tuple(names),
        groups={kind: of_kind for kind, of_kind in raw.groups.items() if any(of_kind)},
        own_split=raw.splits if raw.splits is not None and any(raw.splits) else (),
        notes=(*raw.notes, *read_as.notes, *missing),
        warnings=(*raw.warnings, *read_as.warnings),
        where=raw.where,
        frame=frame,
    )
    if not is_to_learn:
        return data
    return replace(data, warnings=(*data.warnings, *find_doubts(data, read_as, columns, raw.number_names)))


def _infinite(values: np.ndarray, columns: Columns, offsets: np.ndarray) -> list[int]:
    """Return the clips that hold an infinite number."""
    if not (np.isinf(columns.low) | np.isinf(columns.high)).any():
        return []
    frames = [rows.start + np.flatnonzero(np.isinf(values[rows]).any(axis=1)) for rows in blocks(values)]
    return np.unique(np.searchsorted(offsets, np.concatenate(frames), side="right") - 1).tolist()

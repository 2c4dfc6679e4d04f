"""Landmark clips for a trained sign recogniser: read as its own data were, and refused where they are something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ....training.common.conversion import convert, field_types
from ....training.common.errors import UserError
from ....training.common.program.doors import door
from ....training.common.small_files import expanded
from ....training.data.landmarks import LandmarkData, LandmarkLayout
from ....training.data.readers.read import read_raw
from ....training.data.readers.tables.clip_files import SUFFIXES
from ....training.data.readers.tables.unlabelled import UNLABELLED, read_unlabelled
from ....training.data.specs import SYNTHETIC, Reading
from ....training.data.understanding.frame_form import FrameForm
from ....training.data.understanding.understand import REMEDY, read_landmarks, understand
from ....training.tasks.sign.options import DATA, SignOptions
from ....training.tasks.sign.predict import SignPredictor
from .samples import Predictor, Samples

_BATCH_FRAMES, _BATCH_CLIPS = 1 << 14, 256
"""Frames with their padding, and clips, that are computed at once."""


class LandmarkPredictor(Predictor):
    """The bundled sign recogniser of a run."""

    def __init__(
        self,
        predictor: SignPredictor,
        record: Mapping[str, Any],
        frame: FrameForm | None = None,
        reading: Reading | None = None,
    ) -> None:
        self._predictor, self._record, self._asked = predictor, record, reading
        self.frame = None if reading is not None else frame
        self.class_names = predictor.class_names

    @property
    def layout(self) -> LandmarkLayout:
        """What the landmarks of a clip are."""
        return self._predictor.model.layout

    @property
    def known(self) -> tuple[FrameForm, LandmarkLayout] | None:
        """How the run's own frames were read, and as what; None: it is not known, or it was asked for otherwise."""
        return None if self.frame is None else (self.frame, self.layout)

    @property
    def model(self) -> Any:
        """The encoder."""
        return self._predictor.model

    @property
    def readings(self) -> list[Reading]:
        """How data are read: as asked for, else as those of the run were, and then without what names their columns."""
        if self._asked is not None:
            return [self._asked]
        own = own_reading(self._record)
        other = Reading(
            landmarks=own.landmarks, coords=own.coords, layout=own.layout, keep=own.keep, encoding=own.encoding
        )
        return list(dict.fromkeys((own, other, Reading(keep=own.keep))))

    def read(self, source: str) -> Samples:
        """Return the clips of a data set, or of files without classes."""
        errors: list[UserError] = []
        for data in self._tries(source):
            if isinstance(data, UserError):
                errors.append(data)
                continue
            notes = [*data.notes, *data.warnings]
            if (why := misfit(data.layout, self.layout)) is not None:
                raise UserError(f"{source}: {why}; say what it holds with --landmarks, --coords or --layout")
            if data.layout.names != self.layout.names:
                notes.append(
                    f"the points of {source} have no names, and are taken in the order of the run's: {_in_words(self.layout)}"
                )
            return self._samples(data, notes)
        is_clip = Path(source).suffix.lower() in SUFFIXES and len(errors) > len(self.readings)
        raise errors[-1 if is_clip else 0]

    def _samples(self, data: LandmarkData, notes: list[str]) -> Samples:
        clips = [data.clip(index) for index in range(len(data))]
        names = [data.where(index) for index in range(len(data))]
        labels = [data.class_names[number] for number in data.labels.tolist()]
        is_labelled = set(labels) != {UNLABELLED}
        if not is_labelled and self._single_frames and len(clips) == 1 and len(clips[0]) > 1:
            names = [f"{names[0]}, frame {number}" for number in range(1, 1 + len(clips[0]))]
            clips = list(np.split(clips[0], len(clips[0])))
            notes.append("each frame is a clip, as in the data of the run")
        return Samples(
            items=clips,
            names=names,
            labels=labels if is_labelled else None,
            groups=data.groups if is_labelled else {},
            notes=tuple(notes),
        )

    @property
    def _single_frames(self) -> bool:
        """Whether each clip that the run saw was one frame."""
        return (self._record.get("data") or {}).get("frames_longest") == 1

    def _tries(self, source: str) -> Iterator[LandmarkData | UserError]:
        """Yield what each way to read the source finds, or why it is none."""
        path = expanded(source)
        for reading in self.readings:
            try:
                yield read_landmarks(source, reading, self.known)
            except UserError as error:
                yield error
        for reading in self.readings if source != SYNTHETIC and path.exists() else ():
            try:
                with door(source, REMEDY):
                    raw = read_unlabelled(path, reading, read_raw)
                    yield understand(raw, reading, self.known, is_to_learn=False)
            except UserError as error:
                yield error

    def take(self, values: Sequence[Any]) -> Samples:
        """Return clips of arrays [frames, landmarks, coords], missing points as NaN; one array is one clip."""
        clips = [np.asarray(value, dtype=np.float32) for value in values]
        return Samples(items=clips, names=[f"clip {number}" for number in range(len(clips))])

    def probabilities(self, items: Sequence[Any]) -> np.ndarray:
        """Return class probabilities, float [clips, classes]."""
        found = np.empty((len(items), len(self.class_names)))
        order = sorted(range(len(items)), key=lambda index: len(items[index]))
        start = 0
        while start < len(order):
            stop = start + 1
            while (
                stop < len(order)
                and stop - start < _BATCH_CLIPS
                and (stop + 1 - start) * len(items[order[stop]]) <= _BATCH_FRAMES
            ):
                stop += 1
            chosen = order[start:stop]
            found[chosen] = self._predictor.probabilities([items[index] for index in chosen])
            start = stop
        return found


def own_reading(record: Mapping[str, Any]) -> Reading:
    """Return how the data of a run were read, by the options in its record; paths are relative to where it was started."""
    config = record.get("config") or {}
    types = field_types(SignOptions)
    named = {
        field.name: convert(config[field.name], types[field.name], "run.json: config", field.name)
        for field in fields(SignOptions)
        if field.metadata["group"] is DATA and config.get(field.name) is not None
    }
    reading = SignOptions(**named).data_spec.reading
    folder = (record.get("command") or {}).get("folder")
    if reading.layout not in (None, "islr") and isinstance(folder, str):
        reading = replace(reading, layout=str(expanded(Path(folder, reading.layout))))
    return reading


def misfit(found: LandmarkLayout, own: LandmarkLayout) -> str | None:
    """Return why landmarks are not those of a model; None where they are, as far as names tell."""
    is_one_size = (found.num_landmarks, found.num_coords) == (own.num_landmarks, own.num_coords)
    if is_one_size and found.spatial == own.spatial and (found.names == own.names or not (found.names and own.names)):
        return None
    return f"a frame is read as {_in_words(found)}, but the run's model takes {_in_words(own)}"


def _in_words(layout: LandmarkLayout) -> str:
    if not layout.spatial:
        return f"{layout.num_landmarks * layout.num_coords} channels"
    names = f", from {layout.names[0]} to {layout.names[-1]}" if layout.names else ""
    return (
        f"{layout.num_landmarks} landmarks ({layout.title or 'points'}{names}) {', '.join('xyz'[: layout.num_coords])}"
    )

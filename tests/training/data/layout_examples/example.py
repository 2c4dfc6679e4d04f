"""An example of a layout: how it is written, and what must be understood of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from slipway.training.common.errors import flag_of
from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.specs import Reading

from .bodies import Clip, truth


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was written: clips in any order, with all that must be understood of each."""

    clips: Sequence[np.ndarray]
    """float32 [frames, landmarks, coords], NaN for what is missing."""
    labels: Sequence[str]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    splits: Sequence[str] = ()
    source: str = ""
    """The path below the folder of the example that is read."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row of the table of layouts."""

    on_disk: str
    """What a person has."""
    write: Callable[[Path], Made]
    reading: Reading = field(default_factory=Reading)
    """The options that say what is asked for; without them the example must be refused."""

    @property
    def options(self) -> str:
        """The options as they are given on the command line."""
        named = ("landmarks", "coords", "label", "signer", "group", "encoding", "layout")
        given = [(name, getattr(self.reading, name)) for name in named]
        return " ".join(f"{flag_of(name)} {value}" for name, value in given if value not in (None, "auto"))


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A layout that is not read: what it is and what to do is said."""

    on_disk: str
    write: Callable[[Path], str]
    """Writes it and returns the path below the folder that is named."""


def made(clips: Sequence[Clip], coords: int = 3, **fields: object) -> Made:
    """Return what must be understood of clips; `fields` are those of `Made`."""
    given = {
        "clips": [truth(clip, coords) for clip in clips],
        "labels": [clip.label for clip in clips],
        **fields,
    }
    return Made(**given)  # type: ignore[arg-type]


def frame_by_frame(of_clips: Made) -> Made:
    """Return the same clips as clips of one frame each."""
    lengths = [len(clip) for clip in of_clips.clips]

    def repeated(texts: Sequence[str]) -> list[str]:
        return [text for text, length in zip(texts, lengths, strict=True) for _ in range(length)]

    return Made(
        clips=[frame[None] for clip in of_clips.clips for frame in clip],
        labels=repeated(of_clips.labels),
        groups={kind: repeated(texts) for kind, texts in of_clips.groups.items()},
        splits=repeated(of_clips.splits) if of_clips.splits else (),
        source=of_clips.source,
    )


def assert_same(data: LandmarkData, expected: Made) -> None:
    """Check that the clips that were understood are those that were written, bit for bit, each with its class and groups."""
    groups = {kind: texts for kind, texts in data.groups.items() if any(texts)}
    assert (set(groups), bool(data.own_split)) == (set(expected.groups), bool(expected.splits))
    kinds = sorted(groups)

    def facts(index: int, label: str, of: Mapping[str, Sequence[str]], splits: Sequence[str]) -> tuple[str, ...]:
        return (label, splits[index] if splits else "", *(of[kind][index] for kind in kinds))

    found = [
        (facts(index, data.class_names[data.labels[index]], groups, data.own_split), data.clip(index))
        for index in range(len(data))
    ]
    made_ = [
        (facts(index, label, expected.groups, expected.splits), clip)
        for index, (label, clip) in enumerate(zip(expected.labels, expected.clips, strict=True))
    ]
    found, made_ = sorted(found, key=_key), sorted(made_, key=_key)
    assert [of_clip for of_clip, _ in found] == [of_clip for of_clip, _ in made_]
    for (_, values), (_, clip) in zip(found, made_, strict=True):
        np.testing.assert_array_equal(values, clip)
        assert values.dtype == np.float32


def _key(item: tuple[tuple[str, ...], np.ndarray]) -> tuple[object, ...]:
    return item[0], item[1].shape, np.nan_to_num(item[1], nan=-1.0).reshape(-1).tolist()

"""The data sets that the recogniser is measured on, and how each is cut into training and test."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from slipway.training.data.landmarks import LandmarkData, LandmarkLayout, end_to_end
from slipway.training.data.specs import LandmarkKind, Reading
from slipway.training.data.understanding.understand import read_landmarks

Cut = Literal["stratified", "own", "last", "signer"]
"""A random fifth of each class, the data's own test, the last fifth of each class, or one signer after the other."""

_TEST_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A data set and how it is cut."""

    name: str
    place: str
    """In the folder of the data sets; `digits` comes with scikit-learn."""
    cut: Cut
    landmarks: LandmarkKind = "auto"
    fewest: int = 1
    """Classes with fewer clips are left out."""
    target: float | None = None
    published: str = ""
    """What others report for it, and how."""
    is_saturated: bool = False
    """Whether methods are alike because the clips of one recording are."""


PROTOCOLS = (
    Protocol(name="libras", place="libras_movement", cut="stratified", target=0.97),
    Protocol(name="boston104, all words", place="asl_boston104_hands", cut="own", target=0.66),
    Protocol(name="boston104, 23 words", place="asl_boston104_hands", cut="stratified", fewest=10, target=0.75),
    Protocol(
        name="boston104, 23 words, unseen signer", place="asl_boston104_hands", cut="signer", fewest=10, target=0.58
    ),
    Protocol(name="japanese_vowels", place="japanese_vowels", cut="own", target=0.997),
    Protocol(name="keypoint", place="hand_gesture_mediapipe/keypoint.csv", cut="last", target=0.96),
    Protocol(name="point_history", place="hand_gesture_mediapipe/point_history.csv", cut="last", target=0.985),
    Protocol(name="digits", place="digits", cut="stratified", target=0.985),
    Protocol(name="mp_holistic", place="mp_holistic_actions/holistic_noface.npz", cut="last", is_saturated=True),
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A data set with its training and test clips marked."""

    name: str
    """Of the test, where there are several: the signer."""
    data: LandmarkData
    """`own_split` says train or test of each clip."""

    def chosen(self, split: str) -> np.ndarray:
        """Return the clips of a split, int64 [clips]."""
        return np.flatnonzero(np.array(self.data.own_split) == split)


def parts_of(protocol: Protocol, folder: Path, seed: int) -> Iterator[Part]:
    """Yield the parts of a protocol. Raises `FileNotFoundError` where the data set is not in the folder."""
    data = _without_copies(_read(protocol, folder))
    if protocol.cut == "signer":
        for signer in sorted(set(data.signers)):
            is_test = np.array(data.signers) == signer
            yield _part(data, is_test, signer)
    else:
        yield _part(data, _TESTS[protocol.cut](data, seed), "")


def _read(protocol: Protocol, folder: Path) -> LandmarkData:
    if protocol.place == "digits":
        return _digits()
    path = folder / protocol.place
    if not path.exists():
        raise FileNotFoundError(path)
    data = read_landmarks(str(path), Reading(landmarks=protocol.landmarks))
    frequent = {label for label, count in Counter(data.labels.tolist()).items() if count >= protocol.fewest}
    return _take(data, np.flatnonzero(np.isin(data.labels, sorted(frequent))))


def _digits() -> LandmarkData:
    """Return scikit-learn's digits: each a clip of one frame with 64 channels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return LandmarkData(
        name="digits",
        source_format="scikit-learn",
        layout=LandmarkLayout(num_landmarks=64, num_coords=1, spatial=False),
        values=found.data.astype(np.float32)[:, :, None],
        offsets=np.arange(len(found.data) + 1),
        labels=found.target.astype(np.int64),
        class_names=tuple(map(str, range(10))),
    )


def _take(data: LandmarkData, chosen: np.ndarray) -> LandmarkData:
    values, offsets = end_to_end([data.clip(index) for index in chosen])
    names, labels = np.unique(data.labels[chosen], return_inverse=True)
    return dataclasses.replace(
        data,
        values=values,
        offsets=offsets,
        labels=labels.astype(np.int64),
        class_names=tuple(data.class_names[name] for name in names),
        groups={kind: [of_kind[index] for index in chosen] for kind, of_kind in data.groups.items()},
        own_split=[data.own_split[index] for index in chosen] if len(data.own_split) else (),
    )


def _without_copies(data: LandmarkData) -> LandmarkData:
    """Return the data with the first of equal clips; in an own split that of the test."""
    order = sorted(range(len(data)), key=lambda index: len(data.own_split) and data.own_split[index] != "test")
    first: dict[bytes, int] = {}
    for index in order:
        first.setdefault(data.clip(index).tobytes(), index)
    kept = np.array(sorted(first.values()))
    return data if len(kept) == len(data) else _take(data, kept)


def _stratified(data: LandmarkData, seed: int) -> np.ndarray:
    rng, is_test = np.random.default_rng(seed), np.zeros(len(data), dtype=bool)
    for label in range(len(data.class_names)):
        clips = rng.permutation(np.flatnonzero(data.labels == label))
        is_test[clips[: round(_TEST_SHARE * len(clips))]] = True
    return is_test


def _last(data: LandmarkData, seed: int) -> np.ndarray:
    is_test = np.zeros(len(data), dtype=bool)
    for label in range(len(data.class_names)):
        clips = np.flatnonzero(data.labels == label)
        is_test[clips[len(clips) - round(_TEST_SHARE * len(clips)) :]] = True
    return is_test


def _own(data: LandmarkData, seed: int) -> np.ndarray:
    return np.array(data.own_split) == "test"


_TESTS: dict[str, Callable[[LandmarkData, int], np.ndarray]] = {"stratified": _stratified, "last": _last, "own": _own}


def _part(data: LandmarkData, is_test: np.ndarray, name: str) -> Part:
    return Part(name=name, data=dataclasses.replace(data, own_split=np.where(is_test, "test", "train").tolist()))

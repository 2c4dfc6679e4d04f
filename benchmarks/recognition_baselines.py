"""Classical methods for clips: logistic regression, random forest, nearest neighbour by dynamic time warping, MiniRocket."""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.recognition_sets import Part
from slipway.training.data.normalise import normalise_clips

_FEWEST_FRAMES = 9
"""Of MiniRocket."""
_WINDOW = 0.2
"""Of dynamic time warping, as a share of the length."""
_ROWS_OF_NEIGHBOURS = 3000
"""Training clips among which the nearest is sought at most, drawn at random."""

NEED_AEON = ("1-NN DTW", "MiniRocket")
INPUTS = ("raw", "normalised")


def measure_baseline(method: str, values: str, part: Part, seed: int) -> dict[str, float]:
    """Return accuracy and seconds of a method on raw values or on clips normalised as Slipway's are."""
    clips = _clips(part, values)
    train, test = part.chosen("train"), part.chosen("test")
    labels = part.data.labels
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = METHODS[method](
            [clips[index] for index in train], labels[train], [clips[index] for index in test], seed
        )
    return {"accuracy": float(np.mean(found == labels[test])), "seconds": time.perf_counter() - began}


def can_measure(method: str, part: Part) -> bool:
    """Return whether a method suits the clips of a part, MiniRocket and warping need frames, and is installed."""
    has_frames = int(np.diff(part.data.offsets).max()) >= _FEWEST_FRAMES
    return method not in NEED_AEON or (has_frames and importlib.util.find_spec("aeon") is not None)


def _clips(part: Part, values: str) -> list[np.ndarray]:
    """Return the clips as [frames, channels] without gaps."""
    data = part.data
    frames = data.values if values == "raw" else normalise_clips(data.values, data.offsets, data.layout)
    flat = frames.reshape(len(frames), -1).astype(np.float64)
    return [_fill(flat[first:stop]) for first, stop in zip(data.offsets[:-1], data.offsets[1:], strict=True)]


def _fill(clip: np.ndarray) -> np.ndarray:
    """Return a clip whose gaps are interpolated; what is missing throughout is 0."""
    if not np.isnan(clip).any():
        return clip
    clip, frame = clip.copy(), np.arange(len(clip))
    for channel in clip.T:
        there = ~np.isnan(channel)
        channel[:] = np.interp(frame, frame[there], channel[there]) if there.any() else 0.0
    return clip


def _same_length(clips: list[np.ndarray], frames: int) -> np.ndarray:
    """Return clips [clips, channels, frames], resampled by linear interpolation."""
    resampled = []
    for clip in clips:
        at = np.linspace(0, len(clip) - 1, frames)
        resampled.append([np.interp(at, np.arange(len(clip)), channel) for channel in clip.T])
    return np.array(resampled)


def _tables(train: list[np.ndarray], test: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    frames = int(np.median([len(clip) for clip in train]))
    return _same_length(train, frames).reshape(len(train), -1), _same_length(test, frames).reshape(len(test), -1)


def _fit(model: Any, train: Any, labels: np.ndarray, test: Any) -> np.ndarray:
    return np.asarray(model.fit(train, labels).predict(test))


def _logistic(train: list[np.ndarray], labels: np.ndarray, test: list[np.ndarray], seed: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed))
    known, asked = _tables(train, test)
    return _fit(model, known, labels, asked)


def _forest(train: list[np.ndarray], labels: np.ndarray, test: list[np.ndarray], seed: int) -> np.ndarray:
    from sklearn.ensemble import RandomForestClassifier

    known, asked = _tables(train, test)
    return _fit(RandomForestClassifier(n_estimators=300, random_state=seed), known, labels, asked)


def _nearest(train: list[np.ndarray], labels: np.ndarray, test: list[np.ndarray], seed: int) -> np.ndarray:
    from sklearn.neighbors import KNeighborsClassifier

    known, asked = _tables(train, test)
    return _fit(KNeighborsClassifier(n_neighbors=1), known, labels, asked)


def _warped(train: list[np.ndarray], labels: np.ndarray, test: list[np.ndarray], seed: int) -> np.ndarray:
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    chosen = np.random.default_rng(seed).permutation(len(train))[:_ROWS_OF_NEIGHBOURS]
    model = KNeighborsTimeSeriesClassifier(distance="dtw", distance_params={"window": _WINDOW})
    # Clips of other lengths are compared as they are.
    known, asked = [train[index].T for index in chosen], [clip.T for clip in test]
    if len({clip.shape[1] for clip in (*known, *asked)}) == 1:
        return _fit(model, np.stack(known), labels[chosen], np.stack(asked))
    return _fit(model, known, labels[chosen], asked)


def _rocket(train: list[np.ndarray], labels: np.ndarray, test: list[np.ndarray], seed: int) -> np.ndarray:
    from aeon.classification.convolution_based import MiniRocketClassifier

    frames = max(_FEWEST_FRAMES, int(np.median([len(clip) for clip in train])))
    model = MiniRocketClassifier(random_state=seed, n_jobs=1)
    return _fit(model, _same_length(train, frames), labels, _same_length(test, frames))


METHODS: dict[str, Callable[[list[np.ndarray], np.ndarray, list[np.ndarray], int], np.ndarray]] = {
    "logistic regression": _logistic,
    "random forest": _forest,
    "1-NN": _nearest,
    "1-NN DTW": _warped,
    "MiniRocket": _rocket,
}
"""Each from training clips [frames, channels], their labels, test clips and a seed to the labels that it finds."""

"""The form of every landmark data set: a `datasets.Dataset` of clips and a layout that names the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    # `datasets` takes half a second to import: only reading needs it, not a run on data from the cache.
    from datasets import Dataset, Features

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class LandmarkLayout:
    """What each landmark is, so that preprocessing and augmentation are written once for all data sets."""

    num_landmarks: int
    num_coords: int
    spatial: bool = True
    """False if the channels are not positions in space (cepstrum, sensors): then no rotation, flip or body scale."""
    center: tuple[int, ...] = ()
    """Landmarks whose mean over the clip becomes the origin; empty: the mean of all points of the clip."""
    scale: tuple[tuple[int, int], ...] = ()
    """Pairs of landmarks whose median distance over the clip becomes the unit; empty: the clip's spread."""
    mirror: tuple[int, ...] = ()
    """Permutation of the landmarks under a left-right flip; empty: a flip would change the class or makes no sense."""
    parts: tuple[tuple[int, int, int], ...] = ()
    """Articulated parts as (first, stop, root): their points are also features relative to `root`, frame by frame."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkData:
    """A data set of clips from a reader or a generator, before it is split."""

    name: str
    dataset: Dataset
    """With the columns of `dataset_features`."""
    layout: LandmarkLayout
    source_format: str
    """The reader's name, or the generator's."""
    synthetic: bool = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return tuple(self.dataset.features["label"].names)


def dataset_features(layout: LandmarkLayout, class_names: Sequence[str]) -> Features:
    """Return the columns of a landmark data set.

    `landmarks` is [frames, landmarks, coords] in float32 with missing points as NaN, `signer` is empty where unknown,
    `split` is train, validation or test if the data have their own split, else empty.
    """
    from datasets import ClassLabel, Features, List, Value

    point = List(Value("float32"), length=layout.num_coords)
    return Features(
        {
            "landmarks": List(List(point, length=layout.num_landmarks)),
            "label": ClassLabel(names=list(class_names)),
            "signer": Value("string"),
            "split": Value("string"),
        }
    )


def build_dataset(
    clips: Sequence[np.ndarray],
    labels: Sequence[int] | np.ndarray,
    *,
    layout: LandmarkLayout,
    class_names: Sequence[str],
    signers: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
) -> Dataset:
    """Return a `Dataset` of clips, each [frames, landmarks, coords], made without a Python object per number."""
    import pyarrow as pa
    from datasets import Dataset

    count = len(clips)
    offsets = np.zeros(count + 1, dtype=np.int32)
    np.cumsum([len(clip) for clip in clips], out=offsets[1:])
    values = np.concatenate([np.asarray(clip, dtype=np.float32).reshape(-1) for clip in clips])
    points = pa.FixedSizeListArray.from_arrays(pa.array(values), layout.num_coords)
    frames = pa.FixedSizeListArray.from_arrays(points, layout.num_landmarks)
    features = dataset_features(layout, class_names)
    table = pa.table(
        {
            "landmarks": pa.ListArray.from_arrays(pa.array(offsets), frames),
            "label": pa.array(np.asarray(labels, dtype=np.int64)),
            "signer": pa.array(list(signers) if signers is not None else [""] * count, pa.string()),
            "split": pa.array(list(splits) if splits is not None else [""] * count, pa.string()),
        },
        schema=features.arrow_schema,
    )
    return Dataset(table)


def ragged_values(dataset: Dataset, layout: LandmarkLayout) -> tuple[np.ndarray, np.ndarray]:
    """Return all clips end to end: values [total_frames, landmarks, coords] in float32 and offsets [clips + 1]."""
    import pyarrow as pa

    column = dataset.with_format("arrow")["landmarks"]
    table = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column[:]])
    chunks = [chunk for chunk in table.chunks if len(chunk)]
    lengths = np.concatenate([chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in chunks])
    values = [chunk.flatten().flatten().flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return np.concatenate(values).reshape(-1, layout.num_landmarks, layout.num_coords), offsets

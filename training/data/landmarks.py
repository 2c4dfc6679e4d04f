"""The form of every landmark data set: clips end to end, their labels and groups, and a layout that names the points."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    # `datasets` takes half a second to import: only reading and writing its files need it.
    from datasets import Dataset, Features
    from pyarrow import Table

    from .understanding.frame_form import FrameForm

SPLITS = ("train", "validation", "test")
LAYOUT_KEY = "slipway_layout"
"""The key of a layout's JSON in the metadata of a table."""
_COLUMNS = ("landmarks", "label", "split")
SIGNER = "signer"
"""The name of the group of clips of one person."""


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
    origin: tuple[float, ...] = ()
    """The origin of all clips, where there is no `center`: the mean of the training clips; empty: each clip has its own."""
    unit: float = 0.0
    """The unit of all clips, where there is no `scale`: the spread of the training clips; 0: each clip has its own."""
    mirror: tuple[int, ...] = ()
    """Permutation of the landmarks under a left-right flip; empty: a flip would change the class or makes no sense."""
    parts: tuple[tuple[int, int, int], ...] = ()
    """Articulated parts as (first, stop, root): their points are also features relative to `root`, frame by frame."""
    title: str = ""
    """What the landmarks are, for people: `right hand`, `pose, both hands, lips`; empty for points without a name."""
    names: tuple[str, ...] = ()
    """The name of each landmark, such as `left_hand.wrist`; empty if they have none."""
    bones: tuple[tuple[int, int], ...] = ()
    """Pairs of landmarks that a drawing connects."""

    def to_json(self) -> str:
        """Return the layout as a JSON text, from which `from_json` makes an equal one."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> LandmarkLayout:
        """Return the layout of a JSON text. Raises `ValueError` for one that is none."""
        try:
            return cls(**_with_tuples(json.loads(text)))
        except TypeError as error:  # a field of another version
            raise ValueError("not a layout of this version") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkData:
    """A data set of clips from a reader or a generator, before it is split. Clips stand in the order of their source."""

    name: str
    source: Sequence[str] = ()
    """The names of the files or of the folder that the clips come from, without their places; empty: `name`."""
    source_format: str
    """The reader's name, or the generator's."""
    layout: LandmarkLayout
    values: np.ndarray
    """All clips end to end, float32 [total_frames, landmarks, coords], missing points as NaN."""
    offsets: np.ndarray
    """int64 [clips + 1]: clip i is frames offsets[i] to offsets[i + 1]."""
    labels: np.ndarray
    """int64 [clips]: indices into `class_names`."""
    class_names: tuple[str, ...]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What clips have in common, by the kind of group (`signer`, `recording`, `view`, or a column's name): one text for each
    clip, empty where it is unknown."""
    own_split: Sequence[str] = ()
    """The data's own split of each clip: train, validation, test, or an empty text; empty if no clip has one."""
    notes: tuple[str, ...] = ()
    """What was understood and left out, one short sentence each."""
    warnings: tuple[str, ...] = ()
    """What is doubtful in the data, one short sentence each."""
    where: Callable[[int], str] = field(default=lambda index: f"clip {index}")
    """The place of a clip in its source, for messages."""
    synthetic: bool = False
    frame: FrameForm | None = None
    """How the numbers of a frame of the source were read; None: they were not."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def signers(self) -> Sequence[str]:
        """The signer of each clip, empty where unknown."""
        return self.group(SIGNER)

    def group(self, kind: str) -> Sequence[str]:
        """Return the group of each clip, of one kind; empty texts if the data do not know this kind."""
        return self.groups.get(kind) or [""] * len(self)

    def clip(self, index: int) -> np.ndarray:
        """Return one clip, [frames, landmarks, coords]."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def to_dataset(self) -> Dataset:
        """Return the clips as a `datasets.Dataset` with the columns of `dataset_features`; the numbers are not copied."""
        from datasets import Dataset

        return Dataset(self.to_table())

    def to_table(self) -> Table:
        """Return the clips as a pyarrow table with the columns of `dataset_features` and the layout in its metadata.

        As a Parquet file it is read back equal. The numbers are not copied.
        """
        import pyarrow as pa

        others = [kind for kind in self.groups if kind not in (SIGNER, *_COLUMNS)]
        points = pa.FixedSizeListArray.from_arrays(pa.array(self.values.reshape(-1)), self.layout.num_coords)
        frames = pa.FixedSizeListArray.from_arrays(points, self.layout.num_landmarks)
        columns = {
            "landmarks": pa.LargeListArray.from_arrays(pa.array(self.offsets), frames),
            "label": pa.array(self.labels),
            "signer": pa.array(list(self.signers), pa.string()),
            "split": pa.array(list(self.own_split) or [""] * len(self), pa.string()),
            **{kind: pa.array(list(self.groups[kind]), pa.string()) for kind in others},
        }
        schema = dataset_features(self.layout, self.class_names, others).arrow_schema
        metadata = {**schema.metadata, LAYOUT_KEY: self.layout.to_json()}
        return pa.table(columns, schema=schema.with_metadata(metadata))


def dataset_features(layout: LandmarkLayout, class_names: Sequence[str], groups: Sequence[str] = ()) -> Features:
    """Return the columns of a landmark data set.

    `landmarks` is [frames, landmarks, coords] in float32 with missing points as NaN, `signer` is empty where unknown,
    `split` is train, validation or test if the data have their own split, else empty; then a column of text for each other
    kind of group.
    """
    from datasets import ClassLabel, Features, LargeList, List, Value

    point = List(Value("float32"), length=layout.num_coords)
    return Features(
        {
            "landmarks": LargeList(List(point, length=layout.num_landmarks)),
            "label": ClassLabel(names=list(class_names)),
            **{name: Value("string") for name in ("signer", "split", *groups)},
        }
    )


def _with_tuples(value: Any) -> Any:
    """Return JSON with a tuple for each list."""
    if isinstance(value, dict):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def end_to_end(clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return clips [frames, ...] as one float32 array [total_frames, ...] and its offsets, int64 [clips + 1]."""
    offsets = np.zeros(len(clips) + 1, dtype=np.int64)
    np.cumsum([len(clip) for clip in clips], out=offsets[1:])
    values = np.empty((int(offsets[-1]), *(clips[0].shape[1:] if len(clips) else ())), dtype=np.float32)
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which is reported
        for clip, start, stop in zip(clips, offsets[:-1], offsets[1:], strict=True):
            values[start:stop] = clip
    return values, offsets

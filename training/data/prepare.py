"""From a data source to what is trained on: read, split, normalise."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from training.data.landmarks import SPLITS, ragged_values
from training.data.normalise import normalise_clips
from training.data.prepared import DataFacts, PreparedData
from training.data.readers import read
from training.data.splits import Splits, split
from training.data.store import RaggedStore
from training.data.synthetic import make_fingerspelling
from training.recipe import DataSpec

SYNTHETIC = "synthetic"
"""The name of the embedded default."""


def prepare_data(spec: DataSpec, seed: int) -> PreparedData:
    """Read, split and normalise a data set. Raises `UserError` for what cannot be read or split as asked."""
    data = make_fingerspelling() if spec.source == SYNTHETIC else read(spec.source, data_format=spec.format)
    splits = split(data, mode=spec.split, train_ratio=spec.train_ratio, seed=seed, duplicates=spec.duplicates)
    values, offsets = ragged_values(data.dataset, data.layout)
    store = RaggedStore(
        values=torch.from_numpy(normalise_clips(values, offsets, data.layout)),
        offsets=torch.from_numpy(offsets),
        labels=torch.from_numpy(np.array(data.dataset["label"], dtype=np.int64)),
    )
    facts = DataFacts(
        name=data.name,
        source_format=data.source_format,
        synthetic=data.synthetic,
        class_names=tuple(data.class_names),
        layout=data.layout,
        split_mode=splits.mode,
        notes=tuple(splits.notes),
        fingerprint=_fingerprint(store, splits),
    )
    indices = {name: torch.from_numpy(getattr(splits, name)) for name in SPLITS}
    return PreparedData(store=store, indices=indices, facts=facts)


def _fingerprint(store: RaggedStore, splits: Splits) -> str:
    digest = hashlib.sha256()
    for tensor in (store.values, store.offsets, store.labels):
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    for name in SPLITS:
        digest.update(np.ascontiguousarray(getattr(splits, name)).data)
    return digest.hexdigest()[:16]

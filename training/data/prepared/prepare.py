"""Prepares a data set: reads, splits and normalises it, or takes it from the cache."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ...common.program.doors import door
from ...common.small_files import expanded
from ...storage.files import describe_os_error
from ..landmarks import SPLITS, LandmarkData
from ..specs import SYNTHETIC, DataSpec
from .cache import DamagedEntry, DataCache
from .content import NotCacheable, data_key
from .prepared import DataFacts, PreparedData
from .store import RaggedStore


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """A data set, and how it was prepared."""

    data: PreparedData
    folder: Path | None = None
    """The folder of the cache from which it is mapped."""
    is_from_cache: bool = False
    seconds: float = 0.0
    not_cached: str = ""
    """Why it is not in the cache, if it should be."""
    damaged: str = ""
    """What was wrong with its entry in the cache, which was not used."""


def prepare_data(spec: DataSpec, seed: int) -> PreparedData:
    """Return a data set, read, split and normalised. Raises `UserError` if it cannot be read, or split as asked."""
    data = read_data(spec)
    with door(spec.source, "look at it with `slipway data inspect`"):
        return prepare_read(data, spec, seed)


def prepare_read(data: LandmarkData, spec: DataSpec, seed: int) -> PreparedData:
    """Return a data set that `read_data` has read, split and normalised; its clips stay in their order."""
    # Imported here: data from the cache do not need them.
    from ..normalise import normalise_clips, with_place_and_size
    from ..splits.split import split
    from ..understanding.summary import summarise

    splits = split(data, spec, seed=seed)
    own = normalise_clips(data.values, data.offsets, data.layout)
    layout = data.layout
    if spec.normalise == "set":
        layout = with_place_and_size(layout, data.values, data.offsets, splits.train)
    store = RaggedStore(
        values=torch.from_numpy(own if layout == data.layout else normalise_clips(data.values, data.offsets, layout)),
        offsets=torch.from_numpy(data.offsets),
        labels=torch.from_numpy(data.labels),
    )
    places = (store.offsets.numpy(), store.labels.numpy())
    facts = DataFacts(
        name=data.name,
        source_format=data.source_format,
        synthetic=data.synthetic,
        class_names=tuple(data.class_names),
        layout=layout,
        split_mode=splits.mode,
        notes=(*data.notes, *splits.notes),
        warnings=(*data.warnings, *splits.warnings),
        signers=dict(splits.signers),
        neighbour_share=splits.neighbours.share,
        understood=summarise(data),
        frame=data.frame,
        fingerprint=_fingerprint(store.values.numpy(), *places, *(getattr(splits, name) for name in SPLITS)),
        contents=_fingerprint(own, *places),  # whichever clips train and give place and size to all
    )
    indices = {name: torch.from_numpy(getattr(splits, name)) for name in SPLITS}
    return PreparedData(store=store, indices=indices, facts=facts)


def find_or_prepare(spec: DataSpec, seed: int, cache: DataCache | None) -> Preparation:
    """Return a data set from the cache, or prepare it and keep it there; without a cache, as `prepare_data` does.

    Only local and generated data are kept: `datasets` has its own cache of what it downloads. Raises `UserError` as
    `prepare_data` does; a cache that fails is not an error.
    """
    began = time.monotonic()
    if cache is not None and (spec.source == SYNTHETIC or _path(spec).exists()):
        preparation = _with_cache(spec, seed, cache)
    else:
        preparation = Preparation(data=prepare_data(spec, seed))
    return replace(preparation, seconds=time.monotonic() - began)


def _with_cache(spec: DataSpec, seed: int, cache: DataCache) -> Preparation:
    digests = None if spec.source == SYNTHETIC else cache.digests_of(_path(spec))
    key, damaged = None, ""
    try:
        key = data_key(spec, seed, digests)
        entry = cache.open(key)
        if entry is not None:
            return Preparation(data=entry.data, folder=entry.folder, is_from_cache=True)
    except DamagedEntry as error:
        damaged = str(error)
    except (NotCacheable, OSError) as error:
        return Preparation(data=prepare_data(spec, seed), not_cached=_reason(error))
    data = prepare_data(spec, seed)
    try:
        # Only if the source is still the same does the key describe what was read.
        if data_key(spec, seed, digests) != key:
            raise NotCacheable(f"{spec.source} changed while it was read")
        entry = cache.save(key, data)
    except (NotCacheable, OSError) as error:
        return Preparation(data=data, not_cached=_reason(error), damaged=damaged)
    return Preparation(data=entry.data, folder=entry.folder, damaged=damaged)


def _path(spec: DataSpec) -> Path:
    return expanded(spec.source)


def _reason(error: NotCacheable | OSError) -> str:
    return describe_os_error(error) if isinstance(error, OSError) else str(error)


def read_data(spec: DataSpec) -> LandmarkData:
    """Return the clips of a data set, without the classes that have too few. Raises `UserError` if it cannot be read."""
    from ..splits.rare import without_rare_classes
    from ..understanding.understand import read_landmarks

    return without_rare_classes(read_landmarks(spec.source, spec.reading), spec.min_clips)


def _fingerprint(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]

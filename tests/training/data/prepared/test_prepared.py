"""Prepared data: the same for every process of a host, with a fingerprint of samples and split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slipway.training.data.landmarks import SPLITS
from slipway.training.data.prepared.prepare import prepare_data
from slipway.training.data.prepared.prepared import PreparedData
from slipway.training.data.specs import DataSpec

LENGTHS = np.array([3, 5, 1, 4] * 5)


def write_data(path: Path, **changes: np.ndarray) -> Path:
    values = np.random.default_rng(0).normal(size=(LENGTHS.sum(), 21, 3)).astype(np.float32)
    arrays = {"X": values, "y": np.arange(len(LENGTHS)) % 2 * 7, "lengths": LENGTHS, **changes}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_data(tmp_path / "clips.npz")


def prepared(source: Path, seed: int = 0, **options: object) -> PreparedData:
    return prepare_data(replace(DataSpec(source=str(source)), **options), seed)  # type: ignore[arg-type]


def test_samples_split_and_facts_are_those_of_the_file(source: Path) -> None:
    data = prepared(source)
    assert data.store.lengths.tolist() == LENGTHS.tolist()
    assert data.facts.class_names == ("0", "7")
    assert data.store.labels.tolist() == [0, 1] * 10
    assert (data.facts.name, data.facts.source_format, data.facts.synthetic) == ("clips", "npz", False)
    every = torch.cat([data.indices[split] for split in SPLITS])
    assert sorted(every.tolist()) == list(range(20))


def test_another_process_maps_exactly_what_was_saved(source: Path, tmp_path: Path) -> None:
    data = prepared(source)
    data.save(tmp_path / "shared")
    opened = PreparedData.open_shared(tmp_path / "shared")
    assert opened.facts == data.facts
    for name in ("values", "offsets", "labels"):
        own, other = getattr(data.store, name), getattr(opened.store, name)
        assert own.dtype == other.dtype
        assert torch.equal(own, other)
    assert all(torch.equal(opened.indices[split], data.indices[split]) for split in SPLITS)


def test_writing_to_mapped_samples_reaches_neither_the_file_nor_another_process(source: Path, tmp_path: Path) -> None:
    data = prepared(source)
    data.save(tmp_path / "shared")
    first = PreparedData.open_shared(tmp_path / "shared")
    first.store.values.zero_()
    assert torch.equal(PreparedData.open_shared(tmp_path / "shared").store.values, data.store.values)


def test_the_fingerprint_follows_samples_labels_and_split_and_nothing_else(source: Path, tmp_path: Path) -> None:
    own = prepared(source).facts.fingerprint
    assert prepared(source).facts.fingerprint == own
    values = np.load(source)["X"]
    values[0, 0, 0] += 1
    others = [
        prepared(source, seed=1),
        prepared(source, train_ratio=0.5),
        prepared(write_data(tmp_path / "values.npz", X=values)),
        prepared(write_data(tmp_path / "labels.npz", y=np.arange(20) // 10)),
        prepared(write_data(tmp_path / "lengths.npz", lengths=LENGTHS[::-1])),
    ]
    assert len({own, *(other.facts.fingerprint for other in others)}) == 6
    assert prepared(source.rename(tmp_path / "renamed.npz")).facts.fingerprint == own


def test_notes_tell_of_dropped_copies_and_missing_splits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 21, 3)).astype(np.float32)
    values = np.concatenate([values, values[:1]])
    np.savez(tmp_path / "few.npz", X=values, y=np.array([0, 1, 2, 0]))
    data = prepared(tmp_path / "few.npz")
    assert "1 clip dropped as exact copies of earlier ones" in data.facts.notes
    assert "too few clips for a test split" in data.facts.notes
    assert [len(data.indices[split]) for split in SPLITS] == [3, 0, 0]


def test_points_without_a_body_keep_place_and_size_unless_each_clip_gives_its_own(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(LENGTHS.sum(), 4, 2)).astype(np.float32)
    source = write_data(tmp_path / "clips.npz", X=values + np.repeat(np.arange(len(LENGTHS)), LENGTHS)[:, None, None])
    of_set, of_clip = prepared(source), prepared(source, normalise="clip")
    assert of_set.facts.layout.unit > 0
    assert len(of_set.facts.layout.origin) == 2
    assert (of_clip.facts.layout.unit, of_clip.facts.layout.origin) == (0.0, ())
    places = [float(clip.mean()) for clip in of_set.store.values.split(LENGTHS.tolist())]
    assert np.corrcoef(places, np.arange(len(LENGTHS)))[0, 1] > 0.9
    assert all(abs(float(clip.mean())) < 1e-5 for clip in of_clip.store.values.split(LENGTHS.tolist()))
    assert of_set.facts.contents == of_clip.facts.contents == prepared(source, seed=3).facts.contents
    assert of_set.facts.fingerprint != of_clip.facts.fingerprint

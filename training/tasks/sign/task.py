"""Sign recognition: landmark clips of any length to one of a set of signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from ...config.recipe import Stage
from ...data.augment import augment_clips
from ...data.features import landmark_features
from ...data.landmarks import SPLITS
from ...data.packing import Rows, pad_with_last, real_frames
from ...data.prepared.prepared import PreparedData
from ..answers import pack_clip
from ..classification import ClassificationTask
from ..task import Batch
from .encoder import SignEncoder
from .options import ModelSpec, SignStage

_STATISTICS_CLIPS = 2048
"""Training clips from which the features' mean and spread are taken, evenly spaced over the split."""
_MOST_FRAMES, _MOST_POINTS = 40, 3000
"""Of a clip that is shown in a report; of eight frames all points are."""

FEWEST_FOR_ACCURACY = 100
"""Validation clips from which on the accuracy chooses the weights: its standard error is then 5 points at most."""


class SignTask(ClassificationTask):
    """Recognise signs with the bundled encoder, or with another model that takes padded clips, their lengths and keys."""

    name = "sign"
    keyed_randomness = True
    stage_options = SignStage

    def __init__(self, data: PreparedData, spec: ModelSpec) -> None:
        self.class_names = data.facts.class_names
        self._facts = data.facts
        self._layout = data.facts.layout
        self._store = data.store
        self._indices = data.indices
        self._lengths = data.store.lengths
        self._spec = spec

    @property
    def can_split_batches(self) -> bool:
        """Whether all is drawn by keys."""
        return self.keyed_randomness

    def build_model(self) -> nn.Module:
        """Return a new encoder whose feature statistics come from the training clips."""
        model = SignEncoder(self._layout, len(self.class_names), self._spec)
        model.set_feature_statistics(*self._feature_statistics())
        return model

    def _feature_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and reciprocal spread of each feature over the frames of training clips, [features] each."""
        count = self.num_samples("train")
        chosen = torch.linspace(0, count - 1, min(count, _STATISTICS_CLIPS), dtype=torch.float64).long()
        landmarks, lengths = self._store.fetch(self._indices["train"][chosen])
        rows = landmark_features(
            landmarks.double(), Rows.of(lengths, len(landmarks)), self._layout, self._spec.distances
        )
        # A feature that never varies, such as the presence of a point never lost, is left unscaled.
        spread = rows.std(dim=0, correction=0)
        return rows.mean(dim=0), torch.where(spread > 1e-6, 1.0 / spread.clamp(min=1e-6), torch.ones_like(spread))

    def num_samples(self, split: str) -> int:
        """Return the clips of a split."""
        return len(self._indices[split])

    @property
    def default_monitor(self) -> str:
        """The loss where the validation is small: there the accuracy moves in steps of a clip, and its best is often luck."""
        return "loss" if 0 < self.num_samples("validation") < FEWEST_FOR_ACCURACY else super().default_monitor

    def costs(self, split: str) -> np.ndarray:
        """Return the frames of each clip of a split."""
        return self._lengths[self._indices[split]].numpy()

    def labels(self, split: str) -> np.ndarray:
        """Return the labels of a split."""
        return self._store.labels[self._indices[split]].numpy()

    def fetch(self, split: str, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `landmarks` of clips end to end, [rows, landmarks, coords], their `lengths`, `real` frames and `labels`."""
        clips = self._indices[split].index_select(0, indices)
        landmarks, lengths = self._store.fetch(clips)
        labels = self._store.labels.index_select(0, clips)
        return {"landmarks": landmarks, "lengths": lengths, "real": real_frames(lengths), "labels": labels}

    def augment(self, tensors: dict[str, torch.Tensor], keys: torch.Tensor, stage: Stage) -> dict[str, torch.Tensor]:
        """Return the clips augmented as the stage says."""
        landmarks, lengths = augment_clips(
            tensors["landmarks"], tensors["lengths"], keys, _options_of(stage).augmentation, self._layout
        )
        if lengths is tensors["lengths"]:
            return {**tensors, "landmarks": landmarks}
        return {**tensors, "landmarks": landmarks, "lengths": lengths, "real": real_frames(lengths)}

    def split_batch(self, tensors: dict[str, torch.Tensor], sizes: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Return the clips in groups: `real` is as wide as the longest of each."""
        lengths = tensors["lengths"].split(list(sizes))
        landmarks = tensors["landmarks"].split([int(part.sum()) for part in lengths])
        labels = tensors["labels"].split(list(sizes))
        return [
            {"landmarks": rows, "lengths": frames, "real": real_frames(frames), "labels": of_group}
            for rows, frames, of_group in zip(landmarks, lengths, labels, strict=True)
        ]

    def begin_stage(self, model: nn.Module, stage: Stage) -> None:
        """Set the encoder's dropout."""
        if isinstance(model, SignEncoder):
            model.set_dropout(_options_of(stage).dropout)

    def forward(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the class scores; dropout is on where the batch has keys."""
        landmarks, lengths, real = (batch.tensors[name] for name in ("landmarks", "lengths", "real"))
        if isinstance(model, SignEncoder):
            return model.score_rows(landmarks, lengths, real, batch.keys)
        return model(pad_with_last(landmarks, lengths, real), lengths, batch.keys)

    def show(self, split: str, index: int) -> Mapping[str, Any]:
        """Return a clip as training reads it, centred and in units of the body: all of its frames or some, evenly spaced."""
        if not self._layout.spatial:
            return {}
        clip = int(self._indices[split][index])
        landmarks, _ = self._store.fetch(torch.tensor([clip]))
        frames = min(len(landmarks), _MOST_FRAMES, max(8, _MOST_POINTS // self._layout.num_landmarks))
        shown = torch.linspace(0, len(landmarks) - 1, frames).round().long()
        return {"clip": pack_clip(landmarks[shown].numpy()), "where": f"clip {clip} of the data"}

    def data_fingerprint(self) -> str:
        """Return the hash of all clips and of their splits."""
        return self._facts.fingerprint

    def describe(self) -> Mapping[str, Any]:
        """Return name, size and split of the data."""
        return {
            "task": self.name,
            "data": self._facts.name,
            "format": self._facts.source_format,
            "synthetic": self._facts.synthetic,
            "classes": len(self.class_names),
            "samples": {split: self.num_samples(split) for split in SPLITS},
            "split": self._facts.split_mode,
            "signers": self._facts.signers,
            "neighbour_share": self._facts.neighbour_share,
            "fingerprint": self._facts.fingerprint,
            "contents": self._facts.contents,
            "frames_longest": int(self._lengths.max()),
            "understood": None if self._facts.understood is None else asdict(self._facts.understood),
        }

    def prediction_spec(self) -> Mapping[str, Any]:
        """Return the classes, the layout, the encoder's size, and how the numbers of a frame were read."""
        return {
            "model": "SignEncoder",
            "class_names": list(self.class_names),
            "layout": asdict(self._layout),
            "spec": asdict(self._spec),
            **({} if self._facts.frame is None else {"frame": asdict(self._facts.frame)}),
        }


def _options_of(stage: Stage) -> SignStage:
    return SignStage() if stage.options is None else stage.options

"""A data set ready to train on: normalised clips, their split and their facts; processes of a host share one copy."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from ...common.conversion import from_mapping
from ...common.small_files import read_json
from ..landmarks import SPLITS, LandmarkLayout
from ..understanding.frame_form import FrameForm
from ..understanding.summary import Understood
from .store import RaggedStore


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Facts of a data set beside its samples."""

    name: str
    source_format: str
    synthetic: bool
    class_names: tuple[str, ...]
    layout: LandmarkLayout
    split_mode: str
    notes: tuple[str, ...]
    """Decisions of reading and splitting, one sentence each."""
    fingerprint: str
    """A hash of the samples and their split, to compare hosts."""
    contents: str = ""
    """A hash of the samples alone, the same however they are split."""
    warnings: tuple[str, ...] = ()
    """What is doubtful in the data or their split, one sentence each."""
    understood: Understood | None = None
    """What was understood of them; None for samples that no reader and no generator made."""
    frame: FrameForm | None = None
    """How the numbers of a frame were read; None: they were not."""
    signers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The known signers of each split; empty if none is known."""
    neighbour_share: float = 0.0
    """The share of the test clips that are nearly the same as training clips beside them in the source."""


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """Samples, split and facts."""

    store: RaggedStore
    indices: dict[str, torch.Tensor]
    """int64 indices into the store, by split."""
    facts: DataFacts

    def save(self, folder: Path) -> None:
        """Write everything into a folder, for `open_shared`."""
        self.store.save(folder)
        for name, indices in self.indices.items():
            np.save(folder / f"{name}.npy", indices.numpy(), allow_pickle=False)
        (folder / "facts.json").write_text(json.dumps(asdict(self.facts)), encoding="utf-8")

    @classmethod
    def open_shared(cls, folder: Path) -> PreparedData:
        """Return what `save` wrote, mapped: the samples are in memory once for all processes of the host."""
        facts = read_json(folder / "facts.json")
        return cls(
            store=RaggedStore.open_shared(folder),
            indices={name: torch.from_numpy(np.load(folder / f"{name}.npy", allow_pickle=False)) for name in SPLITS},
            facts=from_mapping(DataFacts, facts, str(folder / "facts.json")),
        )

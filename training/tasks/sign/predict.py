"""From a run's weights to predictions on new clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ...common.conversion import convert, from_mapping
from ...common.errors import UserError
from ...common.program.doors import door
from ...common.small_files import read_json
from ...data.landmarks import LandmarkLayout
from ...data.normalise import normalise_clips
from ...data.packing import real_frames
from ...data.prepared.store import RaggedStore
from ...storage.files import load_tensors
from .encoder import SignEncoder
from .options import ModelSpec


class SignPredictor:
    """A trained sign recogniser: clips in, class probabilities out.

    predictor = SignPredictor.load("runs/my-run/best")
    probabilities = predictor.probabilities([clip])     # clip: [frames, landmarks, coords], missing points NaN
    predictor.class_names[probabilities[0].argmax()]
    """

    def __init__(self, model: SignEncoder, class_names: Sequence[str]) -> None:
        self.model = model.eval()
        self.class_names = tuple(class_names)

    @classmethod
    def load(cls, folder: str | Path) -> SignPredictor:
        """Load what a run left in `best` or `last`. Raises `UserError` if it is missing or incomplete."""
        folder = Path(folder)
        with door(folder, "give the best/ or last/ folder of a run"):
            return cls(*_load(folder))

    def probabilities(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Return class probabilities, [clips, classes], for raw clips [frames, landmarks, coords] of any lengths.

        The clips are normalised as in training. Raises `UserError` for a clip of another shape.
        """
        layout = self.model.layout
        for number, clip in enumerate(clips):
            if clip.ndim != 3 or clip.shape[1:] != (layout.num_landmarks, layout.num_coords) or len(clip) == 0:
                expected = f"[frames, {layout.num_landmarks}, {layout.num_coords}]"
                raise UserError(f"clip {number}: expected {expected} with at least one frame, got {list(clip.shape)}")
        if not clips:
            return np.empty((0, len(self.class_names)))
        offsets = np.concatenate([[0], np.cumsum([len(clip) for clip in clips])])
        values = normalise_clips(np.concatenate([np.asarray(clip, np.float32) for clip in clips]), offsets, layout)
        store = RaggedStore(
            values=torch.from_numpy(values),
            offsets=torch.from_numpy(offsets),
            labels=torch.zeros(len(clips), dtype=torch.int64),
        )
        landmarks, lengths = store.fetch(torch.arange(len(clips)))
        with torch.no_grad():
            return self.model.score_rows(landmarks, lengths, real_frames(lengths)).softmax(dim=1).numpy()


def _load(folder: Path) -> tuple[SignEncoder, list[str]]:
    """Return the model of a folder, and the names of its classes."""
    spec = read_json(folder / "spec.json")
    weights = load_tensors(folder / "model.safetensors")
    if not isinstance(spec, dict) or spec.get("model") != "SignEncoder":
        what = spec.get("model", "model of another task") if isinstance(spec, dict) else "model of another task"
        raise UserError(f"{folder}: holds a {what}, not a SignEncoder")
    where = f"{folder}/spec.json"
    layout = from_mapping(LandmarkLayout, spec["layout"], f"{where}: layout")
    # Runs of earlier versions had no distances among their features.
    model_spec = from_mapping(ModelSpec, {"distances": False, **spec["spec"]}, f"{where}: spec")
    class_names = list(convert(spec["class_names"], tuple[str, ...], where, "class_names"))
    with torch.device("meta"):  # takes no memory, whatever sizes are named
        expected = {
            name: tensor.shape
            for name, tensor in SignEncoder(layout, len(class_names), model_spec).state_dict().items()
        }
    if expected != {name: tensor.shape for name, tensor in weights.items()}:
        raise UserError(
            f"{folder}: spec.json describes another model than model.safetensors holds; give the folder of a run"
        )
    model = SignEncoder(layout, len(class_names), model_spec)
    model = model.to(next(tensor.dtype for name, tensor in weights.items() if name.startswith("head.")))
    model.load_state_dict(weights)
    return model, class_names

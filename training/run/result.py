"""What `train` returns: the result as it stands in `run.json`, with the run's folder and the trained model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from ..common.errors import UserError
from ..observers.screen.notebook.results import result_html
from ..step.plain_names import own_state
from ..storage.files import load_tensors

_SPLITS = ("test_", "validation_", "mean_test_")


class RunResult(dict[str, Any]):
    """The result of a run or a study by name, as in `run.json`."""

    def __init__(self, values: Mapping[str, Any], *, folder: Path, model: nn.Module | None = None) -> None:
        super().__init__(values)
        self.folder = folder
        """Of the run; where several machines train, it is on that of rank 0."""
        self.model = model if model is None else model.eval()
        """With the best weights, in `eval()`, on the device that trained; None: of a study, or its weights are elsewhere."""

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that were measured on the test and the validation split: `test_accuracy`, `validation_loss`."""
        return {
            name: value
            for name, value in self.items()
            if name.startswith(_SPLITS) and isinstance(value, (int, float)) and not isinstance(value, bool)
        }

    def _repr_html_(self) -> str:
        """Return the result as a notebook shows it."""
        return result_html(self, self.folder)


def with_best_weights(model: nn.Module, folder: Path) -> nn.Module | None:
    """Return the model of a run that was finished before, with its best weights; None where they are not on this machine."""
    path = folder / "best" / "model.safetensors"
    if not path.is_file():
        return None
    try:
        model.load_state_dict(own_state(model, load_tensors(path)))
    except (RuntimeError, SafetensorError) as error:
        raise UserError(f"{path}: not the weights of this model: {' '.join(str(error).split())[:200]}") from None
    return model

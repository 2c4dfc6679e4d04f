"""Write the weights that a run leaves, `best/` and `last/`: by rank 0, and again later if the disk was full."""

from __future__ import annotations

from pathlib import Path

import torch

from ..common.errors import UserError
from ..observers.events import Decision
from ..observers.runtime import Runtime
from ..storage.run_folder import save_weights
from ..tasks.task import Task
from .state import TrainingState


class WeightFiles:
    """Writes the model as it is; nothing without a folder, as on ranks that do not write."""

    def __init__(self, folder: Path | None, task: Task, state: TrainingState, runtime: Runtime) -> None:
        self._folder, self._task, self._state, self._runtime = folder, task, state, runtime
        self.unsaved: dict[str, dict[str, torch.Tensor]] = {}
        """What could not be written, by kind: the model's state."""

    def save(self, kind: str) -> None:
        """Write the folder `kind`; called on every rank, so that no rank takes a slow disk for a hang."""
        with self._runtime.watchdog.paused(), self._runtime.sections.save:
            self._save_here(kind, self._state.parameters.state_dict(self._state.model))
            self._runtime.ranks.barrier()

    def retry(self) -> None:
        """Write again what could not be written."""
        for kind, state in list(self.unsaved.items()):
            self._save_here(kind, state)

    def _save_here(self, kind: str, state: dict[str, torch.Tensor]) -> None:
        if self._folder is None:
            return
        try:
            save_weights(self._folder / kind, state, self._task.prediction_spec())
            self.unsaved.pop(kind, None)
        except UserError as error:
            self.unsaved[kind] = {name: tensor.clone() for name, tensor in state.items()}
            reason = f"{error}: training goes on, and tries again at its end"
            self._runtime.observer.on_decision(
                Decision(kind="weights_not_saved", reason=reason, warning=True, fields={"weights": kind})
            )

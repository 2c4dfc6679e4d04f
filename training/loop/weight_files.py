"""The weights that a run leaves, `best/` and `last/`: written by rank 0, and again later where the disk was full."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..common.errors import UserError
from ..devices.ranks import Ranks
from ..devices.watchdog import Watchdog
from ..observers.events import Decision, Observer
from ..observers.profiling.sections import UNMARKED, Sections
from ..step.parameters import ParameterStore
from ..storage.run_folder import save_weights
from ..tasks.task import Task


class WeightFiles:
    """Writes a model with its own or other values; without a folder, as on ranks that do not write, nothing."""

    def __init__(
        self,
        folder: Path | None,
        *,
        task: Task,
        model: nn.Module,
        flat: ParameterStore,
        ranks: Ranks,
        observer: Observer,
        watchdog: Watchdog,
        sections: Sections = UNMARKED,
    ) -> None:
        self._folder = folder
        self._task, self._model, self._flat = task, model, flat
        self._ranks, self._observer, self._watchdog, self._sections = ranks, observer, watchdog, sections
        self.unsaved: dict[str, dict[str, torch.Tensor]] = {}
        """What could not be written, and the model's state in it."""

    def save(self, kind: str, values: torch.Tensor) -> None:
        """Write the folder `kind`; called on every rank, so that none takes the time that a disk needs for a hang."""
        with self._watchdog.paused(), self._sections.save:
            with self._flat.temporarily(values):
                self._save_here(kind, self._flat.state_dict(self._model))
            self._ranks.barrier()

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
            self._observer.on_decision(
                Decision(kind="weights_not_saved", reason=reason, warning=True, fields={"weights": kind})
            )

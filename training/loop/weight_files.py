"""Write the weights that a run leaves, `best/` and `last/`: by rank 0, as they come, and again later if the disk was full."""

from __future__ import annotations

import threading
from pathlib import Path

import torch

from ..common.errors import UserError
from ..common.program.threads import start_helper
from ..observers.events import Decision
from ..observers.runtime import Runtime
from ..storage.run_folder import save_weights
from ..tasks.origin.spec import model_spec
from ..tasks.task import Task
from .state import TrainingState

_Weights = dict[str, torch.Tensor]


class WeightFiles:
    """Writes the model as it is; nothing without a folder, as on ranks that do not write."""

    def __init__(self, folder: Path | None, task: Task, state: TrainingState, runtime: Runtime) -> None:
        self._folder, self._task, self._state, self._runtime = folder, task, state, runtime
        self.unsaved: dict[str, _Weights] = {}
        """What could not be written, by kind: the model's state."""
        self._waiting: dict[str, _Weights] = {}
        self._failed: dict[str, UserError] = {}
        """What the thread could not write, by kind, until it is told."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def save(self, kind: str) -> None:
        """Write the folder `kind`; called on every rank, so that no rank takes a slow disk for a hang."""
        with self._runtime.watchdog.paused(), self._runtime.sections.save:
            self.settle()
            self._save_here(kind, self._state.parameters.state_dict(self._state.model))
            self._runtime.ranks.barrier()

    def save_soon(self, kind: str) -> None:
        """Have the folder `kind` written while training goes on; called on every rank. What still waits for it is replaced."""
        with self._runtime.sections.save:
            state = self._state.parameters.state_dict(self._state.model)
            if self._folder is None:
                return
            copied = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
        with self._lock:
            self._waiting[kind] = copied
            failed, self._failed = self._failed, {}
            new = None
            if self._thread is None:
                new = self._thread = threading.Thread(target=self._write_waiting, name="weights", daemon=True)
        if new is not None and not start_helper(new, "the training waits while weights are written"):
            self._write_waiting()
        for name, error in failed.items():
            self._tell(name, error)

    def settle(self) -> None:
        """Wait until what `save_soon` got is written."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def retry(self) -> None:
        """Write again what could not be written."""
        for kind, state in list(self.unsaved.items()):
            self._save_here(kind, state)

    def _write_waiting(self) -> None:
        assert self._folder is not None
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                kind, state = self._waiting.popitem()
            try:
                save_weights(self._folder / kind, state, model_spec(self._task))
            except UserError as error:
                # The end of the stage writes it again, and keeps what then cannot be written.
                with self._lock:
                    self._failed[kind] = error

    def _save_here(self, kind: str, state: _Weights) -> None:
        if self._folder is None:
            return
        try:
            save_weights(self._folder / kind, state, model_spec(self._task))
            self.unsaved.pop(kind, None)
        except UserError as error:
            self.unsaved[kind] = {name: tensor.clone() for name, tensor in state.items()}
            self._tell(kind, error)

    def _tell(self, kind: str, error: UserError) -> None:
        reason = f"{error}: training goes on, and tries again at its end"
        self._runtime.observer.on_decision(
            Decision(kind="weights_not_saved", reason=reason, warning=True, fields={"weights": kind})
        )

"""A trained run as commands name it: its weights, what stands beside them, its record, and its predictor."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ...training.common.conversion import convert, from_mapping
from ...training.common.errors import UserError
from ...training.common.program.doors import door
from ...training.common.run_names import RECORD
from ...training.common.small_files import UnreadableError, read_json
from ...training.data.specs import Reading
from ...training.data.understanding.frame_form import FrameForm
from ...training.run.load import find_weights, load, load_weights
from ...training.tasks.origin.factory import NAMES
from ...training.tasks.origin.spec import refuse_foreign_code
from ...training.tasks.sign.encoder import SignEncoder
from ...training.tasks.sign.predict import SignPredictor
from ...training.tasks.task import Task
from .inputs.labelled import PicturePredictor, TextPredictor
from .inputs.landmarks import LandmarkPredictor
from .inputs.of_task import task_of_spec
from .inputs.samples import Predictor

Which = Literal["best", "last"]
PORTABLE = "training.json"
"""What stands beside weights that were made ready for others, in place of the record of their run."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run that has weights."""

    name: str
    """As the user gave it."""
    folder: Path
    """Of the weights: `best` or `last` in that of the run."""
    spec: Mapping[str, Any]
    """What `spec.json` says."""
    record: Mapping[str, Any]
    """Its `run.json`, or what stands in its place; empty where the folder of weights stands alone."""
    is_trusted: bool

    @classmethod
    def find(cls, run: str, which: Which, runs_dir: Path, *, trust: bool) -> Trained:
        """Return the run of a path or a name. Raises `UserError` where there is none, or no weights."""
        folder = find_weights(Path(run), which, runs_dir, "the run")
        with door(folder, "give the folder of a run"):
            spec = read_json(folder / "spec.json")
        record: Any = {}
        own = folder / PORTABLE
        with suppress(OSError, UnreadableError):  # of weights that were copied elsewhere
            record = read_json(own if own.is_file() else folder.parent / RECORD)
        return cls(
            name=run,
            folder=folder,
            spec=spec if isinstance(spec, dict) else {},
            record=record if isinstance(record, dict) else {},
            is_trusted=trust,
        )

    @property
    def home(self) -> Path:
        """The folder of the run; of weights that stand alone their own."""
        is_of_run = self.folder.name in ("best", "last") or (self.folder.parent / RECORD).is_file()
        return self.folder.parent if is_of_run else self.folder

    @property
    def kind(self) -> str:
        """Return what it learned: `sign`, `images`, `text`, or `own` for a task of the user's."""
        if self.spec.get("model") == "SignEncoder":
            return "sign"
        module = str((self.spec.get("make_model") or {}).get("module"))
        return next((name for name, place in NAMES.items() if place.startswith(f"{module}:")), "own")

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of its classes, in the order of its scores; None: it has none."""
        names = self.spec.get("class_names")
        return None if names is None else convert(names, tuple[str, ...], str(self.folder / "spec.json"), "class_names")

    def load_model(self) -> nn.Module:
        """Return the model with its weights, on the CPU, in `eval()`."""
        return load(self.folder, trust=self.is_trusted)

    def predictor(self, reading: Reading | None = None, model: nn.Module | None = None) -> Predictor:
        """Return the predictor of a task of Slipway's. Raises `UserError` for one of the user's, and without classes.

        `reading` says how landmarks are read, instead of the run's own options; `model` is one that was loaded before.
        """
        where = str(self.folder / "spec.json")
        with door(where, "give the folder of a run"):
            if self.kind == "sign":
                sign = SignPredictor.load(self.folder)
                if isinstance(model, SignEncoder):
                    sign = SignPredictor(model, sign.class_names)
                found = self.spec.get("frame")
                frame = None if found is None else from_mapping(FrameForm, found, where, "frame")
                return LandmarkPredictor(sign, self.record, frame, reading)
            names = self.class_names
            if self.kind == "own":
                raise UserError(f"{self.name}: it is of a task of your own, whose samples only the task itself reads")
            if names is None:
                raise UserError(f"{self.name}: it learned a language, byte by byte, and tells no classes")
            options = convert(self.spec.get("options"), dict[str, Any], where, "options")
            if self.kind == "images":
                return PicturePredictor(model or self.load_model(), names, options, where)
            columns = (self.spec.get("task") or {}).get("arguments") or {}
            return TextPredictor(model or self.load_model(), names, options, columns, where)

    def task(self, data: str | None, command: str) -> tuple[Task, nn.Module]:
        """Return the task that `--task` named, on the run's data or on others, and its model with the weights.

        Raises `UserError` where it is not known, and where it names code of somebody else's that is not trusted.
        """
        made = self.spec.get("task")
        if not isinstance(made, Mapping):
            raise UserError(
                f"{self.name}: its task was made by a script, which is not run for this; there, slipway.load({self.name!r}) "
                "gives the model"
            )
        if not self.is_trusted and made.get("name") not in NAMES:
            refuse_foreign_code({"task": made}, str(self.folder), f"add --trust to {command}")
        task = task_of_spec(made, data)
        model = task.build_model()
        load_weights(model, self.folder)
        return task, model.eval()

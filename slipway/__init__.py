"""Slipway trains PyTorch models on whatever there is: the recipe decides what is learned, the plan how it is computed.

from slipway import TrainingConfig, train

result = train(TrainingConfig(data="my-landmarks/", multi_gpu=True))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from slipway.training.common.program.uncaught import end_scripts_in_one_line

if TYPE_CHECKING:
    from slipway.results.use.load import load
    from slipway.training.common.errors import TrainingFailed, UserError
    from slipway.training.config.methods import ParameterGroup
    from slipway.training.config.recipe import Recipe, Stage
    from slipway.training.data.specs import Augmentation
    from slipway.training.devices.interruption import Interrupted
    from slipway.training.devices.manager import DeviceManager
    from slipway.training.observers.events import (
        CheckpointSaved,
        Decision,
        EpochEnd,
        ModelFlops,
        Observer,
        ProfileEnd,
        RunEnd,
        RunResumed,
        RunRewound,
        RunStart,
        SectionTime,
        SkippedBatch,
        StageEnd,
        StageStart,
        StepEnd,
        StudyEnd,
        StudyStep,
    )
    from slipway.training.observers.journal import read_journal
    from slipway.training.run.train import train
    from slipway.training.run.training_config import AdvancedTrainingConfig, TrainingConfig
    from slipway.training.tasks.classification import ClassificationTask
    from slipway.training.tasks.dataset_task import DatasetTask
    from slipway.training.tasks.samples.streams.stream import Stream
    from slipway.training.tasks.sign.predict import SignPredictor
    from slipway.training.tasks.task import Batch, Task
    from slipway.training.tasks.tensors import TensorTask

__version__ = "0.1.0"

_HOMES = {
    "training.common.errors": ("TrainingFailed", "UserError"),
    "training.config.recipe": ("Recipe", "Stage"),
    "training.data.specs": ("Augmentation",),
    "training.devices.interruption": ("Interrupted",),
    "training.devices.manager": ("DeviceManager",),
    "training.observers.events": (
        "CheckpointSaved",
        "Decision",
        "EpochEnd",
        "ModelFlops",
        "Observer",
        "ProfileEnd",
        "RunEnd",
        "RunResumed",
        "RunRewound",
        "RunStart",
        "SectionTime",
        "SkippedBatch",
        "StageEnd",
        "StageStart",
        "StepEnd",
        "StudyEnd",
        "StudyStep",
    ),
    "training.observers.journal": ("read_journal",),
    "results.use.load": ("load",),
    "training.run.train": ("train",),
    "training.run.training_config": ("AdvancedTrainingConfig", "TrainingConfig"),
    "training.tasks.classification": ("ClassificationTask",),
    "training.tasks.dataset_task": ("DatasetTask",),
    "training.config.methods": ("ParameterGroup",),
    "training.tasks.samples.streams.stream": ("Stream",),
    "training.tasks.sign.predict": ("SignPredictor",),
    "training.tasks.task": ("Batch", "Task"),
    "training.tasks.tensors": ("TensorTask",),
}
"""The module of each public name."""

__all__ = [
    "AdvancedTrainingConfig",
    "Augmentation",
    "Batch",
    "CheckpointSaved",
    "ClassificationTask",
    "DatasetTask",
    "Decision",
    "DeviceManager",
    "EpochEnd",
    "Interrupted",
    "ModelFlops",
    "Observer",
    "ParameterGroup",
    "ProfileEnd",
    "Recipe",
    "RunEnd",
    "RunResumed",
    "RunRewound",
    "RunStart",
    "SectionTime",
    "SignPredictor",
    "SkippedBatch",
    "Stage",
    "StageEnd",
    "StageStart",
    "StepEnd",
    "Stream",
    "StudyEnd",
    "StudyStep",
    "Task",
    "TensorTask",
    "TrainingConfig",
    "TrainingFailed",
    "UserError",
    "__version__",
    "load",
    "read_journal",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line answers before torch is loaded."""
    if name == "nn":  # not in `__all__`: a star import must not take the place of torch's
        return importlib.import_module("slipway.nn")
    for module, names in _HOMES.items():
        if name in names:
            end_scripts_in_one_line()
            value = globals()[name] = getattr(importlib.import_module(f"slipway.{module}"), name)
            return value
    raise AttributeError(f"module 'slipway' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, those too that are not imported yet."""
    return sorted(__all__)

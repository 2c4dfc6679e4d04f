"""The device-agnostic training loop: the recipe decides what is learned, the plan decides how it is computed.

from training import AdvancedTrainingConfig, train

result = train(AdvancedTrainingConfig(data="my-landmarks/", multi_gpu=True))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.config import AdvancedTrainingConfig
    from training.device import DeviceManager
    from training.errors import UserError
    from training.run import train
    from training.tasks.task import Batch, Task
    from training.tasks.tensors import TensorTask

__all__ = ["AdvancedTrainingConfig", "Batch", "DeviceManager", "Task", "TensorTask", "UserError", "train"]

_HOMES = {
    "AdvancedTrainingConfig": "training.config",
    "Batch": "training.tasks.task",
    "DeviceManager": "training.device",
    "Task": "training.tasks.task",
    "TensorTask": "training.tasks.tensors",
    "UserError": "training.errors",
    "train": "training.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line answers before torch is loaded."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The page of the Python names, from their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import slipway

GROUPS = {
    "Train": ("train", "TrainingConfig", "AdvancedTrainingConfig", "ParameterGroup"),
    "Tasks": ("Task", "Batch", "TensorTask", "DatasetTask", "ClassificationTask", "Stream"),
    "Results": ("load", "SignPredictor", "read_journal"),
    "Recipe": ("Recipe", "Stage", "Augmentation"),
    "Devices": ("DeviceManager",),
    "Errors": ("UserError", "TrainingFailed", "Interrupted"),
    "Watch a run": ("Observer",),
}
_EVENTS = "Events"


def page() -> str:
    """Return the page of every public name, in Markdown."""
    grouped = {name for names in GROUPS.values() for name in names}
    events = [name for name in slipway.__all__ if name not in grouped and not name.startswith("__")]
    lines = ["# Python", "", "Every name that `import slipway` has, from its docstring.", ""]
    for title, names in {**GROUPS, _EVENTS: events}.items():
        lines += [f"## {title}", "", "```{eval-rst}", *(line for name in names for line in _directive(name)), "```", ""]
    return "\n".join(lines)


def _directive(name: str) -> Iterator[str]:
    value = getattr(slipway, name)
    if not inspect.isclass(value):
        yield from [f".. autofunction:: slipway.{name}", ""]
        return
    yield from [f".. autoclass:: slipway.{name}", "   :members:", ""]

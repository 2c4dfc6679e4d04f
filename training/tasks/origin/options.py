"""The options of a config that name a task and say what its factory takes. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...config.options import RECIPE, OptionGroup, option

TASK = OptionGroup(title="task: what is trained", decides_weights=True)


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """The options that name a task, and the weights that it starts from."""

    task: str | None = option(
        None,
        TASK,
        "sign (recognition, unless given), images, text, or a task of your own: FILE.py:FUNCTION or MODULE:FUNCTION that "
        "returns one; of the options of sign recognition it has --data alone, if the function has a parameter `data`",
    )
    task_options: dict[str, Any] | None = option(
        None, TASK, "what the task's function takes, such as width=64 depth=2; a mapping in a file"
    )
    start_from: str | None = option(
        None,
        RECIPE,
        "start from the weights of another run: its folder or name (its best weights), or the folder of weights, RUN/last",
    )

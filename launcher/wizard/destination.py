"""Where the wizard writes the config: the recommended file, or another one where a different config is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.plan_file import LaunchPlan
from ..plan.accelerate.config import to_yaml
from ..plan.config_command import config_name
from .state import AnswerOption, Question


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where to write the config; path None: nowhere."""

    path: Path | None
    overwrite: bool = False


def default_path(plan: LaunchPlan) -> Path:
    """Return where `slipway config` would write the plan."""
    return Path("accelerate_configs") / f"{config_name(plan)}.yaml"


def holds_something_else(path: Path, plan: LaunchPlan) -> bool:
    """Return whether a file other than this plan's config is at `path`. Raises `UserError` where it cannot be read."""
    try:
        return path.exists() and path.read_bytes() != to_yaml(plan).encode()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def destination_question(path: Path, plan: LaunchPlan) -> tuple[Question, Sequence[AnswerOption]]:
    """Return the question where to write, and its options: `path` first. Raises `UserError` where it cannot be read."""
    question = Question(
        name="out",
        title="Write the config",
        explanation="A YAML file for `accelerate launch --config_file`, with the reasons as comments. Accelerate reads it back "
        "before it gets its name. An existing file is kept unless you choose to overwrite it.",
        is_worth_asking=lambda state: True,
        options=lambda state: (),
        read=_read_destination,
        free_text="path",
    )
    if holds_something_else(path, plan):
        free = _unused_path(path)
        choices = [
            AnswerOption(
                label=str(free), value=Destination(path=free), meaning=f"{path} holds something else and is kept"
            ),
            AnswerOption(
                label="overwrite", value=Destination(path=path, overwrite=True), meaning=f"{path} is replaced"
            ),
        ]
    else:
        known = "it holds this plan already" if path.exists() else "a new file"
        choices = [AnswerOption(label=str(path), value=Destination(path=path), meaning=known)]
    nowhere = AnswerOption(
        label="no file", value=Destination(path=None), meaning="`slipway launch` starts the plan without one"
    )
    return question, (*choices, nowhere)


def _read_destination(text: str) -> Destination:
    path = Path(os.path.expanduser(text))
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"{text!r} is not one of them; type a number, or a path that ends in .yaml")
    return Destination(path=path)


def _unused_path(path: Path) -> Path:
    """Return the first of `name_2`, `name_3`, ... that does not exist."""
    number = 2
    while (free := path.with_stem(f"{path.stem}_{number}")).exists():
        number += 1
    return free

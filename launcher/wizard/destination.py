"""Where the wizard writes: the file it recommends, and what is in the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.plan_file import LaunchPlan
from ..plan.accelerate_config import to_yaml
from ..plan.config_command import config_name
from .situation import Alternative, Question


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where the config goes; no path: it is not written."""

    path: Path | None
    overwrite: bool = False


def default_path(plan: LaunchPlan) -> Path:
    """Return where `slipway config` would write the plan."""
    return Path("accelerate_configs") / f"{config_name(plan)}.yaml"


def in_the_way(path: Path, plan: LaunchPlan) -> bool:
    """Return whether something else than this plan's config is at `path`. Raises `UserError` where it cannot be read."""
    try:
        return path.exists() and path.read_bytes() != to_yaml(plan).encode()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def ask_where(path: Path, plan: LaunchPlan) -> tuple[Question, Sequence[Alternative]]:
    """Return the question where to write, with `path` as the first idea. Raises `UserError`, see `in_the_way`."""
    question = Question(
        name="out",
        title="Write the config",
        more="A YAML file for `accelerate launch --config_file`, with the reasons as comments. Accelerate reads it back "
        "before it gets its name. A file that is there stays unless you choose to overwrite it.",
        worth=lambda now: True,
        options=lambda now: (),
        read=_destination,
        other="path",
    )
    if in_the_way(path, plan):
        free = _free(path)
        choices = [
            Alternative(
                label=str(free), value=Destination(path=free), meaning=f"{path} holds something else and stays"
            ),
            Alternative(label="overwrite", value=Destination(path=path, overwrite=True), meaning=f"{path} is replaced"),
        ]
    else:
        known = "it holds this plan already" if path.exists() else "a new file"
        choices = [Alternative(label=str(path), value=Destination(path=path), meaning=known)]
    nowhere = Alternative(
        label="no file", value=Destination(path=None), meaning="`slipway launch` starts the plan without one"
    )
    return question, (*choices, nowhere)


def _destination(text: str) -> Destination:
    path = Path(os.path.expanduser(text))
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"{text!r} is none of them; type a number, or a path that ends in .yaml")
    return Destination(path=path)


def _free(path: Path) -> Path:
    """Return the first of `name_2`, `name_3` ... that is not there."""
    number = 2
    while (free := path.with_stem(f"{path.stem}_{number}")).exists():
        number += 1
    return free

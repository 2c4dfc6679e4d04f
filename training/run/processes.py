"""Several processes for one call of `train`: forks of this process are the ranks, and this one follows them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.program.ipython import in_notebook
from ..common.program.launched import is_launched
from ..devices.forked.group import run_forked
from ..devices.forked.member import Channel, check_fork
from ..devices.world import launched_world
from ..loop.trainer import build_model
from ..observers.events import Observer, RunStart
from ..observers.screen.notebook import markup
from ..observers.screen.notebook.display import new_output, send_to
from ..tasks.task import Task
from .one_run import make_task_alone
from .result import RunResult, with_best_weights
from .study.runs import study_options
from .training_config import TrainingConfig


def forks_processes(num_processes: int | None) -> bool:
    """Return whether processes are to be forked for a call: not for one, nor in a launch of as many.

    Raises `UserError` in a launch of another number, and where nothing can be forked.
    """
    if num_processes is None:
        return False
    if isinstance(num_processes, bool) or not isinstance(num_processes, int) or num_processes < 1:
        raise UserError(f"num_processes={num_processes!r}: give the number of processes, 1 or more")
    if is_launched(os.environ):
        size = launched_world().size
        if size != num_processes:
            raise UserError(
                f"num_processes={num_processes}: this process is one of {size} that a launcher started; leave "
                f"num_processes out, or start with `slipway launch --num-processes {num_processes}`"
            )
        return False
    if num_processes > 1 and sys.platform != "linux":
        raise UserError(
            f"num_processes={num_processes}: processes are forked on Linux only; write a script and start it with "
            f"`slipway launch --num-processes {num_processes} script.py`"
        )
    return num_processes > 1


def train_forked(
    train: Callable[[Sequence[Observer]], RunResult],
    num_processes: int,
    config: TrainingConfig,
    task: Task | None,
    observers: Sequence[Observer],
) -> RunResult:
    """Call `train` in forks of this process, which end with it; return the result, with the model in this process, on the CPU.

    `train` gets the observers of rank 0. Raises as `train` does in one process; an error that is none of ours is told with
    its stack on stderr, and raised as `TrainingFailed` that names the rank.
    """
    is_notebook = in_notebook()

    def work(channel: Channel) -> dict[str, Any]:
        check_fork(config.device)
        if is_notebook:
            send_to(lambda html, text: channel.send("show", html=html, text=text))
        try:
            result = train([*observers, _Reporter(channel, num_watching=len(observers))])
        finally:
            channel.send("shown")
        return {"values": dict(result), "folder": str(result.folder)}

    cell = _Cell() if is_notebook else None
    try:
        told = run_forked(work, num_processes, _ignore if cell is None else cell.receive, captures_output=is_notebook)
    finally:
        if cell is not None:
            cell.close()
    folder = Path(told["folder"])
    if study_options(config):
        return RunResult(told["values"], folder=folder)
    own = make_task_alone(config) if task is None else task
    recipe = config.make_recipe(None if task is None and own.origin is None else own)
    model = with_best_weights(build_model(own, recipe), folder)
    return RunResult(told["values"], folder=folder, model=model)


def _ignore(kind: str, message: Mapping[str, Any]) -> None:
    """Do nothing: the ranks write to the terminal themselves."""


class _Cell:
    """The output of the cell that started the ranks, where it shows what rank 0 draws."""

    def __init__(self) -> None:
        self._show = new_output()
        self._last: Mapping[str, Any] | None = None
        """What was drawn last, if more was to come."""

    def receive(self, kind: str, message: Mapping[str, Any]) -> None:
        """Show what was drawn."""
        self._last = message if kind == "show" else None
        if kind == "show":
            self._show(message["html"], message["text"])

    def close(self) -> None:
        """Say so where rank 0 was ended in the middle of it."""
        if self._last is not None:
            self._show(self._last["html"] + markup.warning("its process was ended"), f"{self._last['text']}: ended")


class _Reporter(Observer):
    """Tells the process that follows which folder the run has, and the user that observers are called in another process."""

    def __init__(self, channel: Channel, *, num_watching: int) -> None:
        self._channel = channel
        self._num_watching = num_watching

    def on_run_start(self, event: RunStart) -> None:
        """Tell the folder."""
        self._channel.send("folder", folder=str(event.folder))
        if self._num_watching:
            logging.getLogger("slipway").info(
                "observers are called in the process of rank 0, and what they keep in memory stays there; read_journal reads "
                "all events"
            )

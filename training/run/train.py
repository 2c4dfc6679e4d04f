"""A training from its config to its result: the world is started, what was asked for is trained in it, the world ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..common.errors import UserError
from ..common.program.ipython import OneLine, ipython_shell
from ..common.program.launched import join_step
from ..common.program.private import not_for_all_to_write
from ..common.program.streams import open_closed_streams, print_to_stderr
from ..common.settings import Level
from ..config.launched_plan import launched_plan
from ..config.methods import Methods
from ..config.settings import make_config, settings_of, with_place
from ..config.trackers import check_installed
from ..devices.interruption import Interrupted, StopRequest
from ..devices.rank_failure import decide_reporter
from ..devices.world import end_accelerator, launched_world
from ..observers.events import Observer, Observers
from ..observers.report import Reporter
from ..observers.screen.console import configure_logging, make_console_observer
from ..tasks.origin.own_code import refuse_while_imported
from ..tasks.task import Task
from .arguments import check_arguments
from .one_run import make_named_task, make_task_alone, train_once
from .processes import forks_processes, train_forked
from .result import RunResult
from .study.runs import describe_study, study_options
from .study.study import options_of_part, run_study
from .training_config import TrainingConfig
from .world import World, start_world

if TYPE_CHECKING:
    import torch


def train(
    config: TrainingConfig,
    task: Task | None = None,
    observers: Sequence[Observer] = (),
    *,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Callable[..., float] | None = None,
    settings: Level | None = None,
    num_processes: int | None = None,
) -> RunResult:
    """Train as `config` says and return the result, as it stands in `run.json`; of a study (`folds`, `leave_out`, `seeds`)
    that of all its runs. The result is a dictionary that also has the `folder`, the trained `model` and the `metrics`.

    `task` is what is trained; without one it is what `config.task` names, or sign recognition on `config.data`. `observers`
    receive the events of the run after Slipway's own (screen, journal, `run.json`): those of rank 0, in the thread that
    trains; on other ranks they are not called. What an observer raises ends the run, with a note that names the observer.

    `optimizer` is a class such as `torch.optim.NAdam`, or a function of groups of parameters that returns an optimizer;
    `schedule` is a function of the step that returns a factor of the peak learning rate. They take the place of what config
    and task say.

    `num_processes` starts so many processes on this machine for this call, forks of this one, which follows them: in a
    notebook, or a script that no launcher started. Without it the processes are those of the launch.

    `settings` are the origins of the config's options, as `read_settings` returns them; without them they are those of
    `TrainingConfig.from_command_line`, or the options are the caller's own, and the launch plan decides what they leave open.
    Call it in every process of a launch. Raises `UserError` for input that cannot be used, `Interrupted` where a signal asked
    to stop and the run was saved, and `TrainingFailed` where it cannot go on.
    """
    open_closed_streams()
    join_step(os.environ)
    check_arguments(config, task, observers)

    def train_here(observers: Sequence[Observer]) -> RunResult:
        return _train(config, task, observers, Methods(optimizer=optimizer, schedule=schedule), settings)

    try:
        if num_processes is not None and forks_processes(num_processes):
            return train_forked(train_here, num_processes, config, task, observers)
        return train_here(observers)
    except Interrupted as stopped:
        raise stopped.for_caller() from None
    except OneLine as error:
        error.shows_stack = config.debug
        raise


def _train(
    config: TrainingConfig,
    task: Task | None,
    observers: Sequence[Observer],
    methods: Methods,
    settings: Level | None,
) -> RunResult:
    """Train in this process, which may be one of several that do."""
    watching = Observers([])
    if launched_world().rank == 0:
        console = make_console_observer(
            log_level=config.log_level, log_format=config.log_format, verbose=config.verbose
        )
        configure_logging(config.log_level, console.say)
        watching = Observers([console, *([Reporter(console)] if config.report else ())], last=observers)
    planned = launched_plan(os.environ)
    settings = config.settings if settings is None else settings
    if settings is None:
        settings = settings_of(config, planned)
        config = make_config(type(config), settings)
    refuse_while_imported()
    make_task = make_named_task(config, settings)
    if task is not None and config.task is not None:
        error = UserError(
            f"--task {config.task}: the script gives train() a task of its own; leave one of them out", option="task"
        )
        raise with_place(error, settings)
    with not_for_all_to_write(), StopRequest() as stop:
        try:
            with stop.at_once():
                accelerator, ranks = start_world(config)
        except UserError as error:
            raise with_place(error, settings) from None
        try:
            if planned is not None:
                planned.check_world(ranks.size, ranks.device.type)
            ranks.raise_on_all_ranks(_missing_trackers(config, settings) if ranks.is_main else None)
            world = World(
                ranks=ranks,
                num_processes=ranks.size,
                mixed_precision=accelerator.mixed_precision,
                planned_batch=None if planned is None else planned.plan.global_batch_size,
                observers=watching,
                stop=stop,
                methods=methods,
            )
            if make_task is not None:
                task = make_task()
            if task is not None:
                task.make_ready(ranks, stop)
            if part := options_of_part(config, ranks):
                settings = {**settings, **part}
                config = make_config(type(config), settings)
            return (run_study if study_options(config) else train_once)(config, settings, task, world)
        except Exception as error:
            decide_reporter(error, ranks)
            raise
        finally:
            watching.close()
            if ranks.is_main and isinstance(stopped := sys.exception(), Interrupted) and ipython_shell() is None:
                print_to_stderr(str(stopped))
            end_accelerator(accelerator)


def _missing_trackers(config: TrainingConfig, settings: Level) -> UserError | None:
    try:
        check_installed(config.tracker or ())
    except UserError as error:
        return with_place(error, settings)
    return None


def make_task(config: TrainingConfig) -> Task:
    """Return the task of a config in one process, its data read and split. Raises `UserError` for that of a study."""
    if "folds" in (several := study_options(config)) or "leave_out" in several:
        raise UserError(
            f"{describe_study(several)} has a task for each of its runs: give fold or held_out too, for one of them"
        )
    return make_task_alone(config)

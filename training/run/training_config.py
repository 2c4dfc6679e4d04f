"""Every option of a training in one flat record, and the recipe that they make. No torch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from ..common.conversion import field_types, plain_values
from ..common.errors import UserError, flag_of, nearest
from ..common.settings import Level, Setting
from ..common.synonyms import right_name
from ..config.options import GeneralOptions, describe_options
from ..config.recipe import MonitorDirection, Recipe, TaskSpec
from ..config.stages import load_stages
from ..tasks.origin.options import TaskOptions
from ..tasks.sign.options import CLASSIFICATION_METRICS, STAGE_OPTIONS, SignOptions, SignStage
from ..tasks.sign.presets import OWN_PRESETS, PRESETS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(GeneralOptions, SignOptions, TaskOptions):
    """Every option of a training run. The command line, the YAML file and the environment are read into it."""

    @overload
    @classmethod
    def from_command_line(
        cls, parser: None = None, *, arguments: Sequence[str] | None = None, **options: Any
    ) -> TrainingConfig: ...

    @overload
    @classmethod
    def from_command_line(
        cls, parser: ArgumentParser, *, arguments: Sequence[str] | None = None, **options: Any
    ) -> tuple[TrainingConfig, Namespace]: ...

    @classmethod
    def from_command_line(
        cls, parser: ArgumentParser | None = None, *, arguments: Sequence[str] | None = None, **options: Any
    ) -> TrainingConfig | tuple[TrainingConfig, Namespace]:
        """Return the config that a script's user asks for: every option is a flag of the script, as of `slipway train`.

        `options` are what the script says: stronger than the defaults, weaker than the settings files, `SLIPWAY_<OPTION>`,
        `--config` and flags. `arguments` are the words of the command line, those of this program unless given. With a
        `parser`, an `argparse.ArgumentParser` of the script's own options, return the config and a namespace of their values;
        an option of sign recognition that the parser has too (`--data`) is then the script's. `train` knows where each value
        of the config comes from, also of a copy that `dataclasses.replace` made.

        Ends the program with exit code 0 after `--help` and `--explain`, and with one line and exit code 2 for a wrong flag
        or value.
        """
        from .cli import read_command_line

        config, settings, own = read_command_line(arguments, options, parser)
        object.__setattr__(config, "_settings", settings)
        _read.append(config)
        return config if parser is None else (config, own)

    @property
    def settings(self) -> Level | None:
        """Where each option that is set comes from, of a config read from a command line; None for any other."""
        settings: Level | None = getattr(self, "_settings", None)
        return settings

    def make_recipe(self, task: Task | None = None) -> Recipe:
        """Return the recipe that these options describe for a task, not yet resolved for a number of processes.

        Without a task it is sign recognition.
        """
        if task is not None:
            self._check_options_of(task)
        spec = self.sign_task if task is None else _spec_of(task)
        stage_options = SignStage if task is None else task.stage_options
        presets = PRESETS if stage_options is SignStage else OWN_PRESETS
        stages = tuple(
            dataclasses.replace(stage, options=self.change_stage_options(stage.options))
            for stage in load_stages(self.stages_config, presets, stage_options)
        )
        recipe = self.recipe_of(spec, stages)
        if self.monitor == "auto":
            return recipe
        return check_monitor(
            recipe, *((CLASSIFICATION_METRICS, None) if task is None else (task.metric_names, task.direction_of))
        )

    def values_for(self, task: Task | None) -> dict[str, Any]:
        """Return the options by name as they stand in `run.json`: those that the task, sign recognition if None, has."""
        left_out = _sign_only(task) if task is not None else set()
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in left_out}

    def _check_options_of(self, task: Task) -> None:
        """Raise `UserError` for an option of sign recognition that is set and does nothing for the task."""
        unused = _sign_only(task)
        for name in ("folds", "leave_out"):
            if getattr(self, name) is not None:
                raise UserError(
                    f"{flag_of(name)}: the task {task.name!r} brings its own training, validation and test data, which are not "
                    "divided again; train it once for each division of your own, or give --seeds",
                    option=name,
                )
        for field in dataclasses.fields(SignOptions):
            if field.name in unused and getattr(self, field.name) != field.default:
                raise UserError(
                    f"{flag_of(field.name)}: an option of sign recognition, which does nothing for the task "
                    f"{task.name!r}; leave it out",
                    option=field.name,
                )


def check_monitor(
    recipe: Recipe, names: Sequence[str] | None, direction_of: Callable[[str], MonitorDirection | None] | None
) -> Recipe:
    """Return the recipe with the direction of its monitor, of a task with these metrics; None: they are not known yet.

    Raises `UserError` for a metric that there is not, or whose better end nobody told.
    """
    metric, direction = recipe.monitor, recipe.monitor_direction
    if names is not None and metric not in names:
        known = ", ".join(names)
        raise UserError(f"--monitor: {metric!r} is none of {known}{nearest(metric, names)}", option="monitor")
    usual: MonitorDirection = "min" if metric == "loss" else "max"
    if direction == "auto":
        found = usual if direction_of is None else direction_of(metric)
        if found is None:
            raise UserError(
                f"--monitor {metric}: say whether more or less of it is better, {metric}:max or {metric}:min, or "
                f"metrics={{{metric!r}: ('max', function)}}",
                option="monitor",
            )
        direction = found
    # As recipes without the field mean it, so that they keep their hash.
    return dataclasses.replace(recipe, monitor_direction="auto" if direction == usual else direction)


def _sign_only(task: Task) -> set[str]:
    """Return the options of sign recognition that do nothing for a task."""
    of_stages = field_types(task.stage_options) if task.stage_options is not None else {}
    taken = {option for option, name in STAGE_OPTIONS.items() if name in of_stages}
    return set(field_types(SignOptions)) - taken - (set() if task.origin is None else task.origin.flags)


def _spec_of(task: Task) -> TaskSpec:
    if not isinstance(task.options, Mapping):
        raise UserError(
            f"task {task.name!r}: its `options` must be keys and values that stand in the recipe, got "
            f"{type(task.options).__name__}; make them a dictionary, or rename the attribute"
        )
    options = plain_values(dict(task.options), "", [])
    for name, value in plain_values({} if task.origin is None else task.origin.options, "", []).items():
        # An option that task and factory have is one, unless the task made something else of it.
        options[name if options.get(name, value) == value else f"{name} of --task-options"] = value
    for name, value in options.items():
        if " at 0x" in str(value):  # the address of an object, which differs in every process
            raise UserError(
                f"task {task.name!r}: its option {name!r} is no plain value: {value}; give a name or a number"
            )
    return TaskSpec(name=task.name, options=options)


_init = TrainingConfig.__init__

_read: list[TrainingConfig] = []
"""The configs that were read from the command line of this program."""


@functools.wraps(_init)
def _checked_init(self: TrainingConfig, **options: Any) -> None:
    """Raise `UserError` for a keyword that is no option, with the right one."""
    known = field_types(type(self))
    for name in options:
        if name not in known:
            if right_name(name, ["num_processes"]):
                raise UserError(
                    f"{name} is no option of a config: call train(config, task, num_processes={options[name]})"
                )
            raise UserError(f"{type(self).__name__}: unknown option {name!r}{nearest(name, known)}")
    _init(self, **options)
    if _read and len(options) == len(known):
        object.__setattr__(self, "_settings", _settings_of_copy(self, _read[-1]))


def _settings_of_copy(copy: TrainingConfig, config: TrainingConfig) -> Level:
    """Return the origins in a copy by `dataclasses.replace` of the config of the command line: what differs is the caller's."""
    settings = config.settings or {}
    found: Level = {}
    for name in field_types(type(copy)):
        value = getattr(copy, name)
        if value != getattr(config, name):
            found[name] = Setting(value=value, origin="user")
        elif name in settings:
            found[name] = settings[name]
    return found


TrainingConfig.__init__ = _checked_init  # type: ignore[method-assign]

# What `help()` shows, and what tools read that make an argument of each option: the options come from several modules.
TrainingConfig.__init__.__annotations__.update(field_types(TrainingConfig))
TrainingConfig.__doc__ = f"{TrainingConfig.__doc__}\n\n{describe_options(TrainingConfig)}\n"

AdvancedTrainingConfig = TrainingConfig
"""The config's earlier name."""

"""The function or class that `--task` names: found, its options checked against its annotations, called for the task."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Any

from torch import nn

from ...common.conversion import choices_of, convert
from ...common.errors import UserError, nearest
from ...common.small_files import UnreadableError, parse_yaml
from ..task import Task
from .own_code import find_in, import_file, import_name

NAMES = {"images": "slipway.training.tasks.images:make_task", "text": "slipway.training.tasks.text:make_task"}
"""Tasks that come with Slipway, by their short names; sign recognition is none of them, as it is what runs without `--task`."""

SIGN = "sign"
USUAL_FUNCTION = "make_task"

_EMPTY = inspect.Parameter.empty
_OWN_FLAGS = ("data", "seed")
"""Parameters that get the value of the option of the same name."""
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True, kw_only=True)
class Factory:
    """What `--task` names."""

    name: str
    """As `--task` gives it."""
    function: str
    """Its name in its module."""
    target: Any
    """A function or class that returns a task, or a task."""
    file: Path | None
    """Where it was found; None: in a module."""
    parameters: Mapping[str, inspect.Parameter]
    """Those that are given by name."""
    hints: Mapping[str, Any]
    takes_any: bool
    """Whether it has `**options`."""
    unnamed: Sequence[str] = field(default=())
    """Parameters without a default that have no name for a caller."""

    def bind(self, options: Mapping[str, Any], *, data: str | None, seed: int) -> dict[str, Any]:
        """Return the arguments of the call: the options as their annotations say, and `data` and `seed` where it takes them.

        Raises `UserError` that names the option and the nearest right one.
        """
        where = f"--task {self.name}"
        arguments: dict[str, Any] = {}
        for name, value in options.items():
            if name in _OWN_FLAGS:
                raise _wrong(name, f"--task-options {name}: it has an option of its own, --{name}")
            if name not in self.parameters and not self.takes_any:
                known = [one for one in self.parameters if one not in _OWN_FLAGS]
                hint = nearest(name, known) or f"; it takes {', '.join(known) or 'none'}"
                raise _wrong(name, f"--task-options {name}: {self.function} has no such option{hint}")
            arguments[name] = self._convert(name, value, f"--task-options {name}")
        if "data" in self.parameters and data is not None:
            arguments["data"] = self._convert("data", data, "--data")
        elif data is not None:
            raise UserError(f"--data: {self.function} of {where} has no parameter `data`; leave it out", option="data")
        if "seed" in self.parameters:
            arguments["seed"] = seed
        missing = [name for name, one in self.parameters.items() if one.default is _EMPTY and name not in arguments]
        if "data" in missing:
            raise UserError(f"{where}: {self.function} needs data: give --data PATH")
        if missing or self.unnamed:
            given = " ".join(f"{name}=VALUE" for name in missing)
            how = f"give --task-options {given}" if missing else "they need a name, or a default"
            raise UserError(f"{where}: {self.function} needs {', '.join(missing or self.unnamed)}: {how}")
        return arguments

    def make(self, arguments: Mapping[str, Any]) -> Task:
        """Return the task, which knows where it comes from. Raises `UserError` if what is made is none."""
        made = self.target if isinstance(self.target, Task) else self.target(**arguments)
        if not isinstance(made, Task):
            raise UserError(
                f"--task {self.name}: {self.function} returns {_in_words(made)}, not a task; return a Task, such as "
                "DatasetTask(...)"
            )
        made.origin = TaskOrigin(factory=self, arguments=arguments)
        return made

    def _convert(self, name: str, value: Any, where: str) -> Any:
        parameter = self.parameters.get(name)
        default = _EMPTY if parameter is None else parameter.default
        try:
            return _as(value, self.hints.get(name, _EMPTY), default, where)
        except UserError as error:
            raise UserError(str(error), option="data" if name == "data" else f"task_options.{name}") from None


@dataclass(frozen=True, kw_only=True)
class TaskOrigin:
    """The factory that made a task, and what it was called with."""

    factory: Factory
    arguments: Mapping[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """The plain values that the factory was called with, defaults too; what is learned also follows from them."""
        defaults = {name: one.default for name, one in self.factory.parameters.items()}
        values = {**defaults, **self.arguments}
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in values.items()
            if name not in _OWN_FLAGS and is_plain(value)
        }

    @property
    def flags(self) -> set[str]:
        """Which of `--data` and `--seed` the factory got."""
        return {name for name in _OWN_FLAGS if name in self.arguments}


def find_factory(name: str) -> Factory:
    """Return what a `--task` names. Raises `UserError` that says in one sentence what is missing or fails, and where."""
    where = f"--task {name}"
    target, colon, function = NAMES.get(name, name).rpartition(":")
    if not colon:
        target, function = function, USUAL_FUNCTION
    function = function or USUAL_FUNCTION
    file = None
    if target.endswith(".py") or "/" in target:
        file = Path(target)
        found = find_in(import_file(file, where), function, where)
        file = file.resolve()
    else:
        if not colon and "." not in target and not Path(f"{target}.py").is_file():
            known = (*NAMES, SIGN)
            if Path(target).is_dir():
                raise UserError(f"{where}: it is a folder; name the file in it, such as {target}/task.py:{function}")
            raise UserError(
                f"{where}: no such task{nearest(target, known)}; give {', '.join(known)}, FILE.py:FUNCTION or MODULE:FUNCTION"
            )
        # For one of our own the working folder, which may hold data of anybody, is not looked through for modules.
        module = importlib.import_module(target) if name in NAMES else import_name(target, where)
        found = find_in(module, function, where)
    if not callable(found) and not isinstance(found, Task):
        raise UserError(f"{where}: {function} is {_in_words(found)}, not a function that returns a task")
    if lacking := sorted(getattr(found, "__abstractmethods__", ()) if isinstance(found, type) else ()):
        raise UserError(f"{where}: the class {function} lacks the methods {', '.join(lacking)}")
    parameters = {} if isinstance(found, Task) else _parameters(found)
    kinds = {one.kind for one in parameters.values()}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return Factory(
        name=name,
        function=function,
        target=found,
        file=file,
        parameters={name: one for name, one in parameters.items() if one.kind in by_name},
        hints=_hints(found),
        takes_any=inspect.Parameter.VAR_KEYWORD in kinds,
        unnamed=[
            name
            for name, one in parameters.items()
            if one.kind is inspect.Parameter.POSITIONAL_ONLY and one.default is _EMPTY
        ],
    )


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def _hints(target: Any) -> dict[str, Any]:
    """Return the annotations of what is called, as types; those that cannot be resolved count as none."""
    target = getattr(target, "func", target)  # of a partial
    try:
        return typing.get_type_hints(vars(target)["__init__"] if isinstance(target, type) else target)
    except Exception:
        return {}


def _as(value: Any, annotation: Any, default: Any, where: str) -> Any:
    """Return a value as its annotation says, without one as the type of the default, else as YAML reads it."""
    if annotation in (_EMPTY, Any) or isinstance(annotation, (str, typing.TypeVar)):
        if type(default) in (bool, int, float, str):
            return convert(value, type(default), where)
        return _from_yaml(value)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _as(value, inner[0], default, where)
    if origin in (typing.Union, UnionType) and not choices_of(annotation):
        if type(None) in inner and (value is None or value in ("none", "None", "null")):
            return None
        kinds = [kind for kind in inner if kind is not type(None)]
        if not any(value in choices_of(kind) for kind in kinds if isinstance(value, (str, int))):
            return _first_that_fits(value, kinds, where)
        return value
    if annotation is Path:
        return Path(convert(value, str, where))
    if (origin or annotation) in (list, Sequence):
        many: Any = GenericAlias(tuple, (inner[0] if inner else Any, ...))
        return list(convert(value, many, where))
    if annotation in _PLAIN or origin is tuple or choices_of(annotation):
        choices = {str(choice): choice for choice in choices_of(annotation)}
        return convert(choices.get(str(value), value), annotation, where)
    return _from_yaml(value)


def _first_that_fits(value: Any, kinds: Sequence[Any], where: str) -> Any:
    # Text fits a text too: of `str | int` a number is meant by 3, so text is tried last.
    ordered = sorted(kinds, key=lambda kind: kind in (str, Path))
    for kind in ordered[:-1]:
        try:
            return _as(value, kind, _EMPTY, where)
        except UserError:
            continue
    return _as(value, ordered[-1], _EMPTY, where)


def _from_yaml(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_yaml(value)
    except UnreadableError:
        return value


def is_plain(value: Any) -> bool:
    """Return whether a value consists of numbers, texts, paths, lists and mappings."""
    if isinstance(value, (list, tuple)):
        return all(is_plain(one) for one in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(one) for key, one in value.items())
    return isinstance(value, (*_PLAIN, Path))


def _in_words(made: Any) -> str:
    if made is None:
        return "nothing"
    if isinstance(made, type):
        return f"the class {made.__name__}"
    return "a module" if isinstance(made, nn.Module) else f"a value of type {type(made).__name__}"


def _wrong(name: str, message: str) -> UserError:
    return UserError(message, option=f"task_options.{name}")

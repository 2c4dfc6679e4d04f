"""What `spec.json` says beside a model's weights: how the model is made again, and the model of what it says."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ...common.conversion import plain_values
from ...common.errors import UserError
from ...common.program.shown import one_line
from ...common.program.trust import signed, why_foreign
from ..task import Task
from .factory import find_factory, is_plain
from .own_code import find_in, import_file, import_name, is_installed

_BUNDLED = frozenset({("slipway.training.tasks.images", "Network"), ("slipway.training.tasks.text", "Network")})
"""Models that come with Slipway: whoever names one has it make nothing but a model."""


def model_spec(task: Task) -> dict[str, Any]:
    """Return what is needed beside the weights to predict, and how the model is made where that can be said in plain values.

    What names code is signed by this user.
    """
    spec = dict(task.prediction_spec())
    if (names := getattr(task, "class_names", None)) is not None:
        spec.setdefault("class_names", [str(name) for name in names])
    made_by = _callable_spec(task.model_factory)
    if made_by is not None:
        spec["make_model"] = signed("model", made_by)
    if (origin := task.origin) is not None and all(is_plain(value) for value in origin.arguments.values()):
        arguments = plain_values(dict(origin.arguments), "", [])
        if "data" in arguments and Path(arguments["data"]).exists():
            arguments["data"] = str(Path(arguments["data"]).resolve())
        factory = origin.factory
        name = factory.name if factory.file is None else f"{factory.file}:{factory.function}"
        spec["task"] = signed("task", {"name": name, "arguments": arguments})
    return spec


def is_bundled(made_by: Mapping[str, Any]) -> bool:
    """Return whether what makes a model comes with Slipway."""
    return (made_by.get("module"), made_by.get("name")) in _BUNDLED


def refuse_foreign_code(spec: Mapping[str, Any], where: str, remedy: str) -> None:
    """Raise `UserError` where making the model of a `spec.json` would run code that this user's runs have not written there."""
    if isinstance(made_by := spec.get("make_model"), Mapping):
        if is_bundled(made_by):
            return
        why = why_foreign("model", made_by)
        what = f"{made_by.get('name')} of {made_by.get('file') or made_by.get('module')}"
    elif isinstance(task := spec.get("task"), Mapping):
        why, what = why_foreign("task", task), f"the task {task.get('name')}"
    else:
        return
    if why is not None:
        raise UserError(f"{where}/spec.json would run {one_line(what)}, and {why}: read that code first, then {remedy}")


def make_from_spec(spec: Mapping[str, Any], where: str) -> nn.Module | None:
    """Return a new model as a `spec.json` says, by its function, else by its task; None if it says neither.

    It runs what is named there: `refuse_foreign_code` comes first. Raises `UserError` for a function or a file that is not
    there any more, or that fails.
    """
    if isinstance(made_by := spec.get("make_model"), Mapping):
        made: Any = _find_callable(made_by, where)(*made_by["arguments"], **made_by["options"])
    elif isinstance(task := spec.get("task"), Mapping):
        factory, arguments = find_factory(str(task["name"])), dict(task["arguments"])
        data, seed = arguments.pop("data", None), arguments.pop("seed", 0)
        made = factory.make(factory.bind(arguments, data=data, seed=seed)).build_model()
    else:
        return None
    if not isinstance(made, nn.Module):
        raise UserError(
            f"{where}: what makes its model returns a value of type {type(made).__name__} by now, not a module"
        )
    return made


def _callable_spec(made_by: Any) -> dict[str, Any] | None:
    """Return how a function, class or partial of it with plain arguments is found again; None if it cannot be."""
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = {}
    if isinstance(made_by, functools.partial):
        made_by, arguments, options = made_by.func, made_by.args, made_by.keywords
    name, module_name = getattr(made_by, "__qualname__", None), getattr(made_by, "__module__", None)
    module = sys.modules.get(module_name or "")
    if name is None or module is None or not is_plain(list(arguments)) or not is_plain(dict(options)):
        return None
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None or found != made_by:  # a lambda, a function inside a function, a method of an object
        return None
    file = getattr(module, "__file__", None)
    return {
        "module": module_name,
        "file": None if file is None or is_installed(file) else str(Path(file).resolve()),
        "name": name,
        "arguments": plain_values(list(arguments), "", []),
        "options": plain_values(dict(options), "", []),
    }


def _find_callable(spec: Mapping[str, Any], where: str) -> Callable[..., Any]:
    name, module_name, file = str(spec["name"]), str(spec["module"]), spec.get("file")
    main = sys.modules["__main__"]
    if is_bundled(spec):
        module = importlib.import_module(module_name)  # of this Slipway, wherever that of the run was
    elif file is None:
        module = importlib.import_module(module_name) if module_name in sys.modules else import_name(module_name, where)
    elif Path(getattr(main, "__file__", None) or "/").resolve() == Path(file):
        module = main
    elif module_name == "__main__":
        raise UserError(f"{where}: its model is made by {name} in {file}, a script, which is not run to load it")
    else:
        module = import_file(Path(file), f"{where}: {file}")
    found: Callable[..., Any] = find_in(module, name, f"{where}: {module_name}")
    return found

"""Import a file or module of the user's and find what is named in it; what goes wrong there is told by its own line."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ...common.errors import UserError, nearest
from ...common.settings import format_path

_imported: list[str] = []
"""What is being imported now."""


def import_file(path: Path, where: str) -> ModuleType:
    """Return the module of a Python file, whose folder can be imported from then on; of a package, under its full name.

    `where` begins the message of the `UserError` for what is missing or fails.
    """
    if not path.is_file():
        names = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        what = "it is a folder; name the file in it" if path.is_dir() else f"no such file{nearest(path.name, names)}"
        raise UserError(f"{where}: {what}" + ("" if path.is_absolute() else f"; the working folder is {os.getcwd()}"))
    path = path.resolve()
    root, name = path.parent, path.stem
    while (root / "__init__.py").is_file():
        root, name = root.parent, f"{root.name}.{name}"
    for folder in (root, path.parent):
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        sys.path.insert(0, str(folder))  # as for a script, so that helpers beside it are found first
    if "." in name:
        return _import(name, where)
    while name in sys.modules and not _is_of(sys.modules[name], path):
        name = f"own_{name}"  # a module of this name is at work: the file is not to take its place
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{where}: it is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with _told_in_one_line(format_path(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def import_name(name: str, where: str) -> ModuleType:
    """Return a module by its name; it may lie in the working folder. Raises `UserError` as `import_file` does."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return _import(name, where)


def find_in(module: ModuleType, qualname: str, where: str) -> Any:
    """Return what a module has by this name, such as `Net` or `Net.small`. Raises `UserError` that names the nearest."""
    found: Any = module
    for part in qualname.split("."):
        if not hasattr(found, part):
            known = [
                name
                for name, value in vars(module).items()
                if callable(value) and getattr(value, "__module__", None) == module.__name__
            ]
            hint = nearest(qualname, known) or (f"; it has {', '.join(sorted(known)[:5])}" if known else "")
            raise UserError(f"{where}: there is no {qualname!r} in it{hint}")
        found = getattr(found, part)
    return found


def refuse_while_imported() -> None:
    """Raise `UserError` if a file that is imported trains, instead of giving its task."""
    if _imported:
        raise UserError(
            "it trains while it is imported; put what shall run only as a script under `if __name__ == '__main__':`"
        )


def _import(name: str, where: str) -> ModuleType:
    try:
        with _told_in_one_line(name):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise UserError(f"{where}: there is no module {error.name!r}, here or among the installed packages") from None


@contextlib.contextmanager
def _told_in_one_line(name: str) -> Iterator[None]:
    """Turn what an import raises into a `UserError` with its place in the user's code."""
    _imported.append(name)
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise
        raise UserError(f"{_place(error, name)}: {_in_words(error)}") from error
    except SystemExit as error:
        raise UserError(
            f"{_place(error, name)}: it ends the program while it is imported; put what shall run only as a script under "
            "`if __name__ == '__main__':`"
        ) from error
    except Exception as error:
        raise UserError(f"{_place(error, name)}: {_in_words(error)}") from error
    finally:
        _imported.pop()


def _in_words(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {' '.join(text.split())}".removesuffix(": ")


def _place(error: BaseException, name: str) -> str:
    """Return the file and line of the user's where an error came up: the last that is not of an installed package."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{format_path(Path(error.filename))}:{error.lineno}"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not is_installed(one.filename)]
    return f"{format_path(Path(frames[-1].filename))}:{frames[-1].lineno}" if frames else name


def is_installed(file: str) -> bool:
    """Return whether a frame's file is Python's, a package's or Slipway's, not the user's."""
    if file.startswith("<"):
        return True
    file, slipway = os.path.realpath(file), str(Path(__file__).resolve().parents[2])
    stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
    is_package = any(part in ("site-packages", "dist-packages") for part in Path(file).parts)
    return is_package or file.startswith((f"{slipway}{os.sep}", f"{stdlib}{os.sep}"))


def _is_of(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path

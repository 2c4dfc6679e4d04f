"""What the user's own code raised, in one line with its place."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_OURS = Path(__file__).resolve().parents[3]
_ROOMS = tuple(_OURS / name for name in ("training", "slipway", "launcher", "bin"))
_PYTHONS = Path(sysconfig.get_path("stdlib")).resolve()


def words_of(error: BaseException) -> str:
    """Return what an exception says, and where in the user's code: `KeyError: 'f1' (task.py, line 12)`."""
    words = " ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split())
    return f"{words[:300]}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """Return the innermost place of an error in code that is not installed: ` (task.py, line 12)`; nothing if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if _is_users(path):
            return f" ({path.name}, line {frame.lineno})"
    return ""


def is_ours(error: BaseException) -> bool:
    """Return whether Slipway's own code raised an error, or called what did, and no code of the user did later."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if any(path.is_relative_to(room) for room in _ROOMS):
            return True
        if _is_users(path):
            return False
    return False


def _is_users(path: Path) -> bool:
    is_installed = {"site-packages", "dist-packages"} & set(path.parts)
    return path.is_file() and not is_installed and not any(path.is_relative_to(room) for room in (*_ROOMS, _PYTHONS))

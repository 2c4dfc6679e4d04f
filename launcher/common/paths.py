"""Where the package lies, for processes that must find it although it may not be installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import slipway

IMPORT_ROOT = Path(slipway.__file__).resolve().parents[1]
"""The folder in which `import slipway` finds the package: the top of a clone, or `site-packages`."""

TRAIN_SCRIPT = Path(slipway.__file__).resolve().parent / "bin" / "train.py"
"""Slipway's own training script, as an installed package has it; in a clone a link leads to `bin/`."""


def is_train_script(path: str) -> bool:
    """Return whether a path leads to Slipway's own training script; the user may have a `bin/train.py` too."""
    return os.path.realpath(path) == str(TRAIN_SCRIPT.resolve())


def train_script() -> str:
    """Return how a command names Slipway's own training: `bin/train.py` in a clone, elsewhere its full path."""
    return in_clone if is_train_script(in_clone := "bin/train.py") else str(TRAIN_SCRIPT)


def python_path(environment: Mapping[str, str]) -> str:
    """Return the `PYTHONPATH` with which a process that Slipway starts can import it."""
    # Not where it is installed: `PYTHONPATH` comes before the standard library, which another package could then hide.
    own = [] if IMPORT_ROOT.name in ("site-packages", "dist-packages") else [str(IMPORT_ROOT)]
    return os.pathsep.join(filter(None, [*own, environment.get("PYTHONPATH")]))

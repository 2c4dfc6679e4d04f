"""Where the package lies, for processes that must find it although it may not be installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import slipway

IMPORT_ROOT = Path(slipway.__file__).resolve().parents[1]
"""The folder in which `import slipway` finds the package: the top of a clone, or `site-packages`."""


def python_path(environment: Mapping[str, str]) -> str:
    """Return the `PYTHONPATH` of a process of ours: the package's folder before what the environment names."""
    return os.pathsep.join(filter(None, [str(IMPORT_ROOT), environment.get("PYTHONPATH")]))

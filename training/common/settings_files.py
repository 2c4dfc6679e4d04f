"""Where the settings files of a user and of a project lie."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def user_file(environment: Mapping[str, str]) -> Path | None:
    """Return `$XDG_CONFIG_HOME/slipway/config.yaml` where there is one; the folder is ~/.config unless it is set."""
    folder = environment.get("XDG_CONFIG_HOME", "")
    home = environment.get("HOME", "")
    if not os.path.isabs(folder):  # a relative one is to be ignored, says the XDG specification
        folder = os.path.join(home, ".config") if home else ""
    path = Path(folder, "slipway", "config.yaml")
    return path if folder and os.path.isfile(path) else None


def project_file(folder: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Return the `slipway.yaml` of a folder (the working folder unless given) or of the nearest one above it.

    The search ends with a folder that holds `.git`, and before the home folder, the root, and a folder where anybody may
    write.
    """
    try:
        folder = (folder or Path.cwd()).resolve()
        ends = (Path(environment.get("HOME", "")).resolve(), Path(folder.anchor))
        for place in (folder, *folder.parents):
            if place != folder and (place in ends or place.stat().st_mode & stat.S_IWOTH):
                return None
            if os.path.isfile(place / "slipway.yaml"):
                return place / "slipway.yaml"
            if os.path.lexists(place / ".git"):
                return None
    except OSError:  # the working folder is gone or closed
        pass
    return None


def format_path(path: Path) -> str:
    """Return a path as a person would write it: from the working folder or from the home folder where it is inside."""
    with suppress(OSError, RuntimeError):
        for start, name in ((Path.cwd(), ""), (Path.home(), "~")):
            if path.is_relative_to(start):
                return os.path.join(name, path.relative_to(start))
    return str(path)

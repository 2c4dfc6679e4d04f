"""Where a result comes from: the versions of what computed it and the commit of its code."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("slipway", "torch", "accelerate", "datasets", "numpy", "safetensors")


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # A checkout that was not installed has no version of its own.
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the code that trains, with `+changes` where the tree differs from it; none outside git."""
    here = Path(__file__).resolve().parent
    try:
        # Installed into an environment inside another project, the repository around it is not the code's own.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(here, "rev-parse", "HEAD")
        return f"{commit}+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()

"""The origin of a result: versions of the packages, the commit of the user's code and that of Slipway's."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ... import __version__

_PACKAGES = ("torch", "accelerate", "datasets", "numpy", "safetensors")


def versions() -> dict[str, str]:
    """Return the versions of Python, Slipway and the packages that compute."""
    found = {"python": platform.python_version(), "slipway": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def slipway_commit() -> str | None:
    """Return the commit of Slipway's own code, with `+changes` where its tree differs from it; None outside git."""
    here = Path(__file__).resolve()
    # Installed into an environment inside another project, the repository around it is not the code's own.
    return _commit_of(here.parent) if _is_tracked(here) else None


def script_commit(script: str | None) -> str | None:
    """Return the commit of the repository that holds the user's script, with `+changes` where its tree differs from it.

    If the script is Slipway's own command, or None, it is the commit of the repository around the working folder. None
    outside git.
    """
    if script is None or Path(script).is_relative_to(Path(__file__).resolve().parents[2] / "bin"):
        return _commit_of(Path.cwd())
    path = Path(script)
    if _is_tracked(path):
        return _commit_of(path.parent)
    if _git(path.parent, "check-ignore", "-q", path.name) is not None:
        # Such as a command in an environment inside the project.
        return _commit_of(Path.cwd())
    commit = _commit_of(path.parent)
    return commit and f"{commit.removesuffix('+changes')}+changes"


def _commit_of(folder: Path) -> str | None:
    lines = (_git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no") or "").splitlines()
    # Before its first commit a repository answers "(initial)".
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ") and "(" not in line), None)
    has_changes = any(not line.startswith("#") for line in lines)
    return f"{commit}+changes" if commit and has_changes else commit


def _is_tracked(path: Path) -> bool:
    return _git(path.parent, "ls-files", "--error-unmatch", path.name) is not None


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of git; None if it fails or is not installed."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None

"""The origin of a result, as `run.json` has it: options, recipe, plan, command, versions, commits of the code."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .... import __version__
from ...common.program.redaction import command_without_secrets
from ...common.program.trust import signed
from ...common.settings import Level
from ...config.continued import facts_of
from ...config.launched_plan import launched_plan
from ...storage.run_folder import RUN_SCHEMA_VERSION
from .open_run import OpenRun

_PACKAGES = ("torch", "accelerate", "datasets", "numpy", "safetensors")

_MOST_FILES = 200
"""Of the user's own that a record names."""

_SAFE = ("core.fsmonitor=", f"core.hooksPath={os.devnull}", "protocol.allow=never")
"""Settings of git: a repository that came with a folder may name programs, and what git asks others for."""

_OF_USER = ("global", "system", "command")
"""Where git finds settings that no repository brings."""


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
    if script is None or Path(script).is_relative_to(Path(__file__).resolve().parents[3] / "bin"):
        return _commit_of(Path.cwd())
    path = Path(script)
    if _is_tracked(path):
        return _commit_of(path.parent)
    if _git(path.parent, "check-ignore", "-q", path.name) is not None:
        # Such as a command in an environment inside the project.
        return _commit_of(Path.cwd())
    commit = _commit_of(path.parent)
    return commit and f"{commit.removesuffix('+changes')}+changes"


def script_files(script: str | None) -> dict[str, str]:
    """Return hashes of the user's own Python files that are imported, by their paths in the folder of the script.

    Without a script, or with Slipway's own, they are those of the working folder. Installed packages are left out.
    """
    own = Path(__file__).resolve().parents[3]
    of_user = script is not None and not Path(script).is_relative_to(own / "bin")
    folder = Path(script).parent if script is not None and of_user else Path.cwd()
    installed = tuple(str(Path(one).resolve()) + os.sep for one in (own, sys.prefix, sys.base_prefix))
    real_folders: dict[str, str] = {}
    found: dict[str, str] = {}
    for module in [*sys.modules.values()]:
        name = getattr(module, "__file__", None)
        if not isinstance(name, str) or not name.endswith(".py"):
            continue
        real = _real_path(name, real_folders)
        if real.startswith(installed) or "site-packages" in real.split(os.sep):
            continue
        path = Path(real)
        if path.is_relative_to(folder):
            with suppress(OSError):
                found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return dict(sorted(found.items())[:_MOST_FILES])


def _real_path(name: str, real_folders: dict[str, str]) -> str:
    """Return a file's path without links; the folders of thousands of modules are followed once each, in `real_folders`."""
    folder, file = os.path.split(name)
    if folder not in real_folders:
        real_folders[folder] = os.path.realpath(folder)
    path = os.path.join(real_folders[folder], file)
    return os.path.realpath(path) if os.path.islink(path) else path


def _commit_of(folder: Path) -> str | None:
    status = ("status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=dirty")
    lines = (_git(folder, *status, settings=_without_filters(folder)) or "").splitlines()
    # Before its first commit a repository answers "(initial)".
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ") and "(" not in line), None)
    has_changes = any(not line.startswith("#") for line in lines)
    return f"{commit}+changes" if commit and has_changes else commit


def _is_tracked(path: Path) -> bool:
    return _git(path.parent, "ls-files", "--error-unmatch", path.name) is not None


def _without_filters(folder: Path) -> list[str]:
    """Return settings without the programs that a repository, and not its user, has files pass through."""
    pattern = r"^filter\..*\.(clean|process)$"
    found = _git(folder, "config", "--show-scope", "--name-only", "--get-regexp", pattern) or ""
    names = [name for scope, _, name in (line.partition("\t") for line in found.splitlines()) if scope not in _OF_USER]
    return [f"{name}=" for name in names] + [f"{name.rpartition('.')[0]}.required=false" for name in names]


def _git(folder: Path, *arguments: str, settings: Sequence[str] = ()) -> str | None:
    """Return the output of git, which runs no program that the repository names; None if it fails or is not installed."""
    options = [word for setting in (*_SAFE, *settings) for word in ("-c", setting)]
    command = ["git", "--no-optional-locks", *options, "-C", str(folder), *arguments]
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1"}
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=10, check=True, env=environment
        )
        return ended.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def make_record(run: OpenRun, options: Mapping[str, Any], settings: Level, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the `run.json` of a run or a study says from its start on; `data` describe what it is trained on."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    planned = launched_plan(os.environ)
    command = _command(facts_of(settings, None if planned is None else planned.plan.continues, run.record))
    return {
        "schema_version": RUN_SCHEMA_VERSION,
        "name": run.name,
        "started": run.record.get("started", now),
        "resumed": [*run.record.get("resumed", []), now] if run.record else [],
        "progress": run.record.get("progress") or {},
        "command": command,
        "config": dict(options),
        "origins": {name: str(setting) for name, setting in settings.items()},
        "recipe": run.recipe.as_dict(),
        "recipe_hash": run.recipe.hash,
        "base_recipe_hash": run.recipe.base_hash,
        "plan": run.plan.as_dict(),
        "world_size": run.plan.world_size,
        "data": dict(data),
        "versions": versions(),
        "script_commit": script_commit(command["script"]),
        "script_files": script_files(command["script"]),
        "slipway_commit": slipway_commit(),
    }


def _command(continues: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return how this process was started, signed, for `slipway resume`; `continues` is what `slipway continue` gave it."""
    main = sys.modules["__main__"]
    module = getattr(getattr(main, "__spec__", None), "name", None)
    script = getattr(main, "__file__", None)
    facts = {
        "module": module.removesuffix(".__main__") if module else None,
        "script": str(Path(script).resolve()) if script and not module else None,
        "arguments": command_without_secrets(sys.argv[1:]),
        "folder": str(Path.cwd()),
        **({} if continues is None else {"continues": dict(continues)}),
    }
    return signed("command", facts)

"""Check of Accelerate's default config: a file in the user's cache that a launch without `--config_file` reads."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...training.common.plan_file import LaunchPlan
from ...training.common.small_files import UnreadableError, read_yaml
from .check import Check, DoctorContext, passed, warned

_CHECK = "default_config"


def default_config_path(environ: Mapping[str, str]) -> Path:
    """Return where Accelerate looks for its default config, by the rule of its `config_args.py`.

    `default_config.json` of old versions is no longer read: both of its names there are `default_config.yaml`.
    """
    cache = os.path.join(environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(os.path.expanduser(environ.get("HF_HOME", cache))) / "accelerate" / "default_config.yaml"


def check_default_config(context: DoctorContext) -> Check:
    """Warn where there is a default config, and say what it changes."""
    path = default_config_path(context.environ)
    if not path.is_file():
        return passed(_CHECK, f"none at {path}")
    read_by = "a launch without --config_file reads it"
    remedy = f"mv {shlex.quote(str(path))} {shlex.quote(str(path) + '.unused')}"
    differences = _compare(path, context.plan)
    if isinstance(differences, str):
        return warned(_CHECK, f"{path} {differences}; {read_by} and stops", remedy)
    if not differences:
        return warned(_CHECK, f"{path} agrees with this plan, but {read_by} whatever is planned", remedy)
    listed = ", ".join(f"{key} {value} (plan: {planned})" for key, value, planned in differences)
    return warned(_CHECK, f"{path}: {listed}; {read_by}", remedy, differences=len(differences))


def _compare(path: Path, plan: LaunchPlan) -> list[tuple[str, Any, Any]] | str:
    """Return (key, value in the file, planned value) for each difference, or what is wrong with the file."""
    from ..plan.accelerate.config import distributed_type

    try:
        data = read_yaml(path, has_old_booleans=True)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except UnreadableError as error:
        return str(error)
    if not isinstance(data, dict):
        return "has no keys and values"
    planned = {
        "distributed_type": distributed_type(plan),
        "num_processes": plan.num_processes,
        "num_machines": plan.num_machines,
        "mixed_precision": plan.mixed_precision,
        "use_cpu": plan.device == "cpu",
    }
    # YAML reads an unquoted NO as false, which Accelerate refuses; it differs here too.
    found = [(key, data[key], value) for key, value in planned.items() if key in data and data[key] != value]
    return [(key, _format_value(value), _format_value(planned)) for key, value, planned in found]


def _format_value(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:40]

"""The script that the wizard starts: its command line, whether it exists, options for Slipway's own training."""

from __future__ import annotations

import shlex
from pathlib import Path

from ...training.common.errors import UserError, flag_of
from ..common.paths import is_train_script, train_script
from ..plan.records import Intent


def check_script(text: str) -> str:
    """Return the text of a script and its arguments unchanged. Raises `UserError` where a shell cannot split it."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{text!r}: {str(error).lower()}; close the quotes") from None
    if not words or (words[0].startswith("-") and (words[0] != "-m" or len(words) == 1)):
        raise UserError(f"{text!r} names no script; give one such as bin/train.py, or -m and a module")
    return text


def script_words(script: str | None, intent: Intent) -> list[str]:
    """Return the script and its arguments as words. Raises `UserError`, see `check_script`."""
    words = shlex.split(check_script(script)) if script else [train_script()]
    return [*words, *batch_options(script, intent)]


def script_name(script: str | None) -> str:
    """Return the script, or `-m` and the module, without arguments."""
    words = shlex.split(script) if script else [train_script()]
    return " ".join(words[: 2 if words[0] == "-m" else 1])


def script_exists(script: str | None) -> bool:
    """Return whether the script exists, seen from this folder; of a module it is taken to exist."""
    name = script_name(script)
    return name.startswith("-m ") or Path(name).is_file()


def is_own_training(script: str | None) -> bool:
    """Return whether Slipway's own training is started."""
    return not script or is_train_script(shlex.split(script)[0])


def training_arguments(script: str | None) -> list[str]:
    """Return the arguments of Slipway's own training, whose model can be asked for its size."""
    return shlex.split(script)[1:] if script else []


def names_task(script: str | None) -> bool:
    """Return whether a person names a task or data of Slipway's own training."""
    words = training_arguments(script) if is_own_training(script) else []
    return any(word.partition("=")[0] in ("--task", "--data") for word in words)


def batch_options(script: str | None, intent: Intent) -> list[str]:
    """Return the options that give Slipway's own training the batch, which is not in a config; none that it has already."""
    if not is_own_training(script):
        return []
    given = {word.split("=")[0] for word in shlex.split(script or "")}
    flags = []
    if intent.global_batch_size is not None and "--batch-size" not in given:
        flags += ["--batch-size", str(intent.global_batch_size), "--batch-rule", "fixed"]
    for name in ("micro_batch_size", "gradient_accumulation"):
        value = getattr(intent, name)
        if value is not None and flag_of(name) not in given:
            flags += [flag_of(name), str(value)]
    return flags

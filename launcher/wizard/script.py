"""The script that the wizard starts: its words, whether it is there, what Slipway's own one must be told."""

from __future__ import annotations

import shlex
from pathlib import Path

from ...training.common.errors import UserError, flag_of
from ..common.paths import train_script
from .answers import Answers

DEFAULT_SCRIPT = "bin/train.py"


def read_script(text: str) -> str:
    """Return the text of a script and its arguments. Raises `UserError` where a shell could not split it."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{text!r}: {str(error).lower()}; close the quotes") from None
    if not words or (words[0].startswith("-") and (words[0] != "-m" or len(words) == 1)):
        raise UserError(f"{text!r} names no script; give one such as bin/train.py, or -m and a module")
    return text


def script_of(answers: Answers) -> list[str]:
    """Return the script and its arguments. Raises `UserError`, see `read_script`."""
    words = shlex.split(read_script(answers.script)) if answers.script else [train_script()]
    return [*words, *batch_flags(answers)]


def script_name(answers: Answers) -> str:
    """Return what is started, without its arguments."""
    words = script_of(answers)
    return " ".join(words[: 2 if words[0] == "-m" else 1])


def is_there(answers: Answers) -> bool:
    """Return whether the script can be started from this folder; of a module only Python knows."""
    first = script_of(answers)[0]
    return first == "-m" or Path(first).is_file()


def is_own(answers: Answers) -> bool:
    """Return whether Slipway's own training is started."""
    words = shlex.split(answers.script or DEFAULT_SCRIPT)
    return Path(words[0]).parts[-2:] == Path(DEFAULT_SCRIPT).parts


def batch_flags(answers: Answers) -> list[str]:
    """Return how Slipway's own training is told the batch, which a config has no place for; what it is told stays."""
    if not is_own(answers):
        return []
    intent, given = answers.intent, {word.split("=")[0] for word in shlex.split(answers.script or "")}
    flags = []
    if intent.global_batch_size is not None and "--batch-size" not in given:
        flags += ["--batch-size", str(intent.global_batch_size), "--batch-rule", "fixed"]
    for name in ("micro_batch_size", "gradient_accumulation"):
        value = getattr(intent, name)
        if value is not None and flag_of(name) not in given:
            flags += [flag_of(name), str(value)]
    return flags

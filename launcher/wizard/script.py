"""The script that the wizard starts: its command line, whether it exists, options for Slipway's own training."""

from __future__ import annotations

import shlex
from pathlib import Path

from ...training.common.errors import UserError, flag_of
from ..common.paths import is_train_script, train_script
from .answers import Answers


def check_script(text: str) -> str:
    """Return the text of a script and its arguments unchanged. Raises `UserError` where a shell cannot split it."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{text!r}: {str(error).lower()}; close the quotes") from None
    if not words or (words[0].startswith("-") and (words[0] != "-m" or len(words) == 1)):
        raise UserError(f"{text!r} names no script; give one such as bin/train.py, or -m and a module")
    return text


def script_words(answers: Answers) -> list[str]:
    """Return the script and its arguments as words. Raises `UserError`, see `check_script`."""
    words = shlex.split(check_script(answers.script)) if answers.script else [train_script()]
    return [*words, *batch_options(answers)]


def script_name(answers: Answers) -> str:
    """Return the script, or `-m` and the module, without arguments."""
    words = script_words(answers)
    return " ".join(words[: 2 if words[0] == "-m" else 1])


def script_exists(answers: Answers) -> bool:
    """Return whether the script exists, seen from this folder; of a module it is taken to exist."""
    first = script_words(answers)[0]
    return first == "-m" or Path(first).is_file()


def is_own_training(answers: Answers) -> bool:
    """Return whether Slipway's own training is started."""
    return not answers.script or is_train_script(shlex.split(answers.script)[0])


def batch_options(answers: Answers) -> list[str]:
    """Return the options that give Slipway's own training the batch, which is not in a config; none that it has already."""
    if not is_own_training(answers):
        return []
    intent, given_answers = answers.intent, {word.split("=")[0] for word in shlex.split(answers.script or "")}
    flags = []
    if intent.global_batch_size is not None and "--batch-size" not in given_answers:
        flags += ["--batch-size", str(intent.global_batch_size), "--batch-rule", "fixed"]
    for name in ("micro_batch_size", "gradient_accumulation"):
        value = getattr(intent, name)
        if value is not None and flag_of(name) not in given_answers:
            flags += [flag_of(name), str(value)]
    return flags

"""What a line of `slipway launch` in the manner of other launchers means, as the command to write."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.parser import Parser, mended, of_launcher
from ...training.common.program.redaction import command_without_secrets
from ..common.paths import is_train_script, train_script

_STARTERS = ("python", "python3", "slipway", "accelerate", "launch", "torchrun", "srun", "mpirun")
_GPUS = ("--gpus", "--num-gpus", "--n-gpus")
_NO_VALUES = ("--standalone", "--use-env", "--same-network", "--use-fsdp", "--use-deepspeed")
_LAUNCH_MODULES = ("torch.distributed.launch", "torch.distributed.run", "accelerate.commands.launch")


def command_meant(parser: Parser, arguments: list[str], check: Callable[[list[str]], object]) -> str | None:
    """Return the command for the arguments of a launch that are wrong; None where it is not known.

    `check` raises `UserError` for arguments that still are.
    """
    flags = {name for action in parser._actions if action.nargs == 0 for name in action.option_strings}
    words = mended(arguments, flags)
    has_value = {name: action.nargs != 0 for action in parser._actions for name in action.option_strings}
    own: list[str] = []
    of_others: list[str] = []
    of_script: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        name, is_whole, value = word.partition("=")
        plain = name if name in has_value else name.replace("_", "-")
        following = words[at + 1] if at + 1 < len(words) else ""
        if word == "--" or (word in _STARTERS and not Path(word).is_file()):
            at += 1
        elif word == "-m" and following in _LAUNCH_MODULES:
            at += 2
        elif word == "-m" or not word.startswith("-"):
            break
        elif plain in has_value:
            taken = not is_whole and has_value[plain]
            own += [f"{plain}={value}" if is_whole else plain, *([following] if taken else [])]
            at += 2 if taken else 1
        elif plain in ("--multi-gpu", "--cpu"):
            own += ["--device", "cpu"] if plain == "--cpu" else []
            at += 1
        else:
            taken = not (is_whole or plain in _NO_VALUES or following.startswith("-") or following.endswith(".py"))
            shown = word.replace(name, "--nproc") if plain in _GPUS else word
            group = [shown, *([following] if taken and following else [])]
            if of_launcher(group)[0] or not of_launcher(group)[1]:
                of_others += group
            elif get_close_matches(plain, has_value, cutoff=0.8):
                return None  # a typo
            else:
                of_script += group
            at += len(group)
    command = words[at:]
    if command[:1] == ["train"] and not Path("train").exists():
        command = [train_script(), *command[1:]]
    if command and is_train_script(command[0]):
        behind, rest = of_launcher(command[1:])
        own, command = [*own, *behind], [command[0], *rest]
    found = [*own, *of_launcher(of_others)[0], *command[:1], *of_script, *command[1:]]
    try:
        check(found)
    except UserError:
        return None
    return shlex.join(command_without_secrets(["slipway", "launch", *found])) if found != arguments else None

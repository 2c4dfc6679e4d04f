"""Start a training that was started by hand with `--multi-gpu` again, on every device of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

_TRUE = ("1", "true", "yes", "on")


def launch_on_all_devices(script: str, arguments: Sequence[str]) -> int | None:
    """Launch a script with its arguments on all devices if they ask for it; return its exit code.

    Return None where this process shall train: without `--multi-gpu` (then nothing is imported), in a process that was
    launched already, or on a machine with one device.
    """
    if not _is_asked_for(arguments, os.environ):
        return None

    from ...training.common.errors import UserError
    from ...training.common.program.streams import print_to_stderr
    from ..hardware.detect import load_hardware
    from ..plan.make_plan import make_plan
    from ..plan.settings import read_intent

    device = _last_value(arguments, "--device") or os.environ.get("SLIPWAY_DEVICE") or "auto"
    try:
        hardware = load_hardware(None)
        if device == "cuda" and not any(one.kind == "cuda" for one in hardware.environment.visible):
            device = "rocm"  # which torch calls cuda
        intent = read_intent({"device": device}, None, os.environ)
        try:
            if make_plan(hardware, intent).num_processes == 1:
                return None
        except UserError:
            return None  # the training reports the error
        return _launch(script, arguments, device)
    except UserError as error:
        print_to_stderr(f"error: {error}")
        return 2


def _launch(script: str, arguments: Sequence[str], device: str) -> int:
    from .command import main

    return main(["--device", device, script, *arguments])


def _is_asked_for(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    flags = [word for word in arguments if word in ("--multi-gpu", "--no-multi-gpu")]
    by_variable = environment.get("SLIPWAY_MULTI_GPU", "").lower() in _TRUE
    if not (flags[-1] == "--multi-gpu" if flags else by_variable):
        return False
    switched_off = [word for word in arguments if word in ("--data-parallel", "--no-data-parallel")][-1:]
    return (
        switched_off != ["--no-data-parallel"]
        and _last_value(arguments, "--device") != "cpu"
        and not _is_launched(environment)
    )


def _is_launched(environment: Mapping[str, str]) -> bool:
    from ...training.common.errors import UserError
    from ...training.common.program.launched import is_launched, join_step

    join_step(os.environ)
    try:
        return is_launched(environment)
    except UserError:
        return True  # the training reports the error


def _last_value(arguments: Sequence[str], option: str) -> str | None:
    """Return the last value of an option, from `--option value` or `--option=value`, or None."""
    value = None
    for at, word in enumerate(arguments):
        if word == option and at + 1 < len(arguments):
            value = arguments[at + 1]
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
    return value

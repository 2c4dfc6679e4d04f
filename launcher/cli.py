"""The `slipway` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

_USAGE = """usage: slipway train [options]    train; `slipway train --help` lists the options
       slipway --version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit code, 2 for a command that is not known."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments in (["--help"], ["-h"]):
        print(_USAGE, end="")
        return 0
    if arguments == ["--version"]:
        print(version("slipway"))
        return 0
    if arguments[:1] == ["train"]:
        # Replaces this process, so signals and exit code are the training's own.
        os.execv(sys.executable, [sys.executable, "-m", "training", *arguments[1:]])
    what = f"unknown command {arguments[0]!r}" if arguments else "no command"
    print(f"error: {what}\n{_USAGE}", end="", file=sys.stderr)
    return 2

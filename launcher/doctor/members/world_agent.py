"""Accelerate's launcher as a process that ends when the check that started it ends."""

from __future__ import annotations

import os
import signal

from ....training.common.program.lifeline import end_with_parent
from ...launch.state_files import PARENT_VARIABLE


def _main() -> None:
    end_with_parent(int(os.environ[PARENT_VARIABLE]), signal.SIGKILL, grace_seconds=0)
    # Its workers watch this process, so none outlives a check that is killed.
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    from accelerate.commands.launch import main

    main()


if __name__ == "__main__":
    _main()

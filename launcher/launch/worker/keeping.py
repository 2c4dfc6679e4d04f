"""How a process begins that starts the ranks of this machine and keeps them: `agent.py` and `ranks.py`."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....training.common.program.lifeline import end_with_parent
from ..state_files import FOLDER_VARIABLE, LAUNCH_FILE, PARENT_VARIABLE, PLAN_FILE


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What a keeper of ranks was told."""

    folder: Path
    """Of the launch."""
    launch: dict[str, Any]
    plan: dict[str, Any]


def begin(*for_ranks: signal.Signals) -> Keeping:
    """Leave these signals to the ranks, end when the launcher does, and return what the launcher wrote."""
    # SLURM, and systemd, send a signal to every process there is. Not ignored, which the ranks would inherit.
    for signum in for_ranks:
        signal.signal(signum, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # SIGKILL, at once: the kernel then sends the ranks their signal, once.
    end_with_parent(int(os.environ[PARENT_VARIABLE]), signal.SIGKILL, 0.0)
    folder = Path(os.environ[FOLDER_VARIABLE])
    launch, plan = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (LAUNCH_FILE, PLAN_FILE))
    return Keeping(folder=folder, launch=launch, plan=plan)

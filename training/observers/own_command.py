"""A command of Slipway as a process of its own, which a run starts and does not depend on."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """
import sys
if sys.argv[1] not in sys.path:
    sys.path.insert(0, sys.argv[1])
from slipway.launcher.cli import main
sys.exit(main(sys.argv[2:]))
"""
_TOP = str(Path(__file__).absolute().parents[3])
"""Of the package, which need not be installed: what `slipway` lies in."""


def command_words(*words: str) -> list[str]:
    """Return the words by which a process starts `slipway` with these."""
    return [sys.executable, "-P", "-c", _PROGRAM, _TOP, *words]

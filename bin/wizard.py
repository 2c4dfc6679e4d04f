"""Plan in a conversation, write the Accelerate config, launch: `slipway wizard` from a checkout that is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

# The package may not be installed: the folder that holds it, the top of a clone, is then searched first.
_TOP = next(str(top) for top in Path(__file__).resolve().parents if (top / "slipway/__init__.py").is_file())
if _TOP not in sys.path:
    sys.path.insert(0, _TOP)

from slipway.launcher.cli import main

if __name__ == "__main__":
    sys.exit(main(["wizard", *sys.argv[1:]]))

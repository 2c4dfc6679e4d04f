"""Plan in a conversation, write the Accelerate config, launch: `slipway wizard` from a checkout that is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from slipway.launcher.cli import main

if __name__ == "__main__":
    sys.exit(main(["wizard", *sys.argv[1:]]))

"""Train. Run by `accelerate launch bin/train.py`, by `torchrun bin/train.py` or by `python bin/train.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from slipway.launcher.launch.self_launch import start_itself

if __name__ == "__main__":
    code = start_itself(__file__, sys.argv[1:])
    if code is None:
        from slipway.training.run.cli import main

        code = main()
    sys.exit(code)

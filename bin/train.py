"""Train. Run by `accelerate launch bin/train.py`, by `torchrun bin/train.py` or by `python bin/train.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from training.cli import main

if __name__ == "__main__":
    sys.exit(main())

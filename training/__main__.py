"""`python -m slipway.training`: the same as `bin/train.py`, from an installed package."""

from __future__ import annotations

import sys

from .run.cli import main

if __name__ == "__main__":
    sys.exit(main())

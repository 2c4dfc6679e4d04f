"""`python -m slipway`: the same as the `slipway` command."""

from __future__ import annotations

import sys

from slipway.launcher.cli import main

if __name__ == "__main__":
    sys.exit(main())

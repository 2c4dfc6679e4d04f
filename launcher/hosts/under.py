"""Run `slipway` so that it ends with the process that has started it: `python -m slipway.launcher.hosts.under PID ...`."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

from ...training.common.program.lifeline import end_with_parent

_GRACE_SECONDS = 60.0

if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]), signal.SIGTERM, _GRACE_SECONDS)
    main = import_module("slipway.launcher.cli").main
    sys.exit(main(sys.argv[2:]))

"""Train. Run by `accelerate launch bin/train.py`, by `torchrun bin/train.py` or by `python bin/train.py`."""

from __future__ import annotations

import sys
from pathlib import Path

# The package may not be installed: the folder that holds it, the top of a clone, is then searched first.
_TOP = next(str(top) for top in Path(__file__).resolve().parents if (top / "slipway/__init__.py").is_file())
if _TOP not in sys.path:
    sys.path.insert(0, _TOP)

from slipway.launcher.launch.self_launch import launch_on_all_devices
from slipway.training.common.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE
from slipway.training.common.program.streams import open_closed_streams, say_starting
from slipway.training.common.program.waiting import end_within

if __name__ == "__main__":
    open_closed_streams()
    say_starting()
    code = launch_on_all_devices(__file__, sys.argv[1:])
    if code is None:
        from slipway.training.run.cli import main

        code = main()
        if code in (EXIT_RESUMABLE, EXIT_INTERRUPTED):
            end_within(1.0, code)
    sys.exit(code)

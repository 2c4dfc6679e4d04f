"""Runs `accelerate launch` in a process of its own: torchrun's agent, whose workers are wrapped by `child.py` beside it.

Run by path, `python agent.py ACCELERATE_OPTIONS -- SCRIPT args`. What it says itself goes to `agent.log`; its
workers keep the terminal. What became of them goes to `agent.json`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The package may not be installed. Imports below are absolute, for a file that is run by path belongs to no package.
sys.path.insert(
    0, next(str(top) for top in Path(__file__).absolute().parents if (top / "slipway/__init__.py").is_file())
)

import json
import signal
import traceback

from slipway.launcher.launch.state_files import (
    AGENT_FILE,
    AGENT_LOG,
    FOLDER_VARIABLE,
    LAUNCH_FILE,
    PARENT_VARIABLE,
    AgentReport,
    write_record,
)
from slipway.launcher.launch.worker.lifeline import end_with_parent

_CHILD = str(Path(__file__).with_name("child.py"))


def main() -> int:
    """Start the workers and wait for them; return 0 where all ended well."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # At once and without a last word: its workers then get their signal, once, from the kernel.
    end_with_parent(int(os.environ[PARENT_VARIABLE]), signal.SIGKILL, 0.0)
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    folder = Path(os.environ[FOLDER_VARIABLE])
    launch = json.loads((folder / LAUNCH_FILE).read_text(encoding="utf-8"))
    split = sys.argv.index("--")
    # Python's streams only: the descriptors are those that the workers get.
    sys.stdout = sys.stderr = (folder / AGENT_LOG).open("a", buffering=1, encoding="utf-8")
    try:
        _launch(sys.argv[1:split], sys.argv[split + 1 :], launch["grace_seconds"])
    except BaseException as error:
        traceback.print_exc()
        failures = getattr(error, "failures", {})  # of torch's ChildFailedError, by global rank
        codes = {str(rank): int(failure.exitcode) for rank, failure in failures.items()}
        write_record(folder / AGENT_FILE, AgentReport(exit_codes=codes))
        return 1
    return 0


def _launch(options: list[str], command: list[str], grace_seconds: float) -> None:
    # The warnings of torch's C++ code would be on the terminal. It reads this once, when it is imported.
    said = os.environ.get("TORCH_CPP_LOG_LEVEL")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from accelerate.commands.launch import launch_command, launch_command_parser

    if said is None:
        del os.environ["TORCH_CPP_LOG_LEVEL"]
    arguments = launch_command_parser().parse_args([*options, _CHILD])
    # Past the parser, which would read some of them as its own; torchrun takes `$` for a macro.
    arguments.training_script_args = [word.replace("$", "$$") for word in command]
    # For torchrun, which finds its own options here by name: no folder in /tmp, and our grace time instead of 30 s.
    arguments.log_dir = os.devnull
    arguments.shutdown_timeout = max(1, round(grace_seconds))
    launch_command(arguments)


if __name__ == "__main__":
    sys.exit(main())

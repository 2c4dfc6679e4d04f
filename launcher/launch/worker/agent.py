"""Run `accelerate launch`, which is torchrun's agent, as a process whose workers are wrapped by `child.py` beside it.

It is run by path: `python agent.py ACCELERATE_OPTIONS -- SCRIPT args`. Its own output goes to `agent.log`; its workers
keep the terminal. Their exit codes go to `agent.json`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The package may not be installed. Imports below are absolute, since a file that is run by path is in no package.
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
from slipway.training.common.program.lifeline import end_with_parent

_CHILD = str(Path(__file__).with_name("child.py"))


def main() -> int:
    """Start the workers and wait for them; return 0 where all ended well."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # SIGKILL, at once: the kernel then sends its workers their signal, once.
    end_with_parent(int(os.environ[PARENT_VARIABLE]), signal.SIGKILL, 0.0)
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    folder = Path(os.environ[FOLDER_VARIABLE])
    launch = json.loads((folder / LAUNCH_FILE).read_text(encoding="utf-8"))
    split = sys.argv.index("--")
    # Only Python's streams: the workers inherit the file descriptors.
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
    # Keeps the warnings of torch's C++ code off the terminal. torch reads this once, when it is imported.
    level = os.environ.get("TORCH_CPP_LOG_LEVEL")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from accelerate.commands.launch import launch_command, launch_command_parser

    if level is None:
        del os.environ["TORCH_CPP_LOG_LEVEL"]
    arguments = launch_command_parser().parse_args([*options, _CHILD])
    # Set after parsing, since the parser would read some of them as its own options; `$` is a macro for torchrun.
    arguments.training_script_args = [word.replace("$", "$$") for word in command]
    # torchrun's own options, which it finds here by name: no folder in /tmp, and our grace time instead of 30 s.
    arguments.log_dir = os.devnull
    arguments.shutdown_timeout = max(1, round(grace_seconds))
    launch_command(arguments)


if __name__ == "__main__":
    sys.exit(main())

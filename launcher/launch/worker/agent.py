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

import argparse
import signal
import socket
import traceback
from typing import Any

from slipway.launcher.launch.state_files import AGENT_FILE, AGENT_LOG, PARENT_VARIABLE, AgentReport, write_record
from slipway.launcher.launch.worker.keeping import begin

_LOOPBACK = "127.0.0.1"
_STORE_SECONDS = 600
_CHILD = str(Path(__file__).with_name("child.py"))


def main() -> int:
    """Start the workers and wait for them; return 0 where all ended well."""
    kept = begin(signal.SIGUSR1, signal.SIGUSR2)
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    split = sys.argv.index("--")
    # Only Python's streams: the workers inherit the file descriptors.
    sys.stdout = sys.stderr = (kept.folder / AGENT_LOG).open("a", buffering=1, encoding="utf-8")
    try:
        _launch(sys.argv[1:split], sys.argv[split + 1 :], kept.launch["grace_seconds"], kept.plan)
    except BaseException as error:
        traceback.print_exc()
        failures = getattr(error, "failures", {})  # of torch's ChildFailedError, by global rank
        codes = {str(rank): int(failure.exitcode) for rank, failure in failures.items()}
        write_record(kept.folder / AGENT_FILE, AgentReport(exit_codes=codes))
        return 1
    return 0


def _launch(options: list[str], command: list[str], grace_seconds: float, plan: dict[str, Any]) -> None:
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
    if plan["num_machines"] == 1:
        _stay_on_this_machine(arguments, plan["main_process_port"])
    launch_command(arguments)


def _stay_on_this_machine(arguments: argparse.Namespace, port: int) -> None:
    """Have torchrun serve the store in which the workers meet on loopback: its own listens on every address of the host."""
    from torch.distributed import TCPStore
    from torch.distributed.elastic.rendezvous import (
        RendezvousHandler,
        RendezvousInfo,
        RendezvousParameters,
        rendezvous_handler_registry,
    )
    from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

    class Loopback(StaticTCPRendezvous):
        def get_backend(self) -> str:
            return "loopback"

        def next_rendezvous(self) -> RendezvousInfo:
            if self._store is None:
                listener = socket.create_server((_LOOPBACK, self.master_port))
                self._store = TCPStore(
                    _LOOPBACK, self.master_port, 1, True, self.timeout, True, master_listen_fd=listener.detach()
                )
            return super().next_rendezvous()

    def make(parameters: RendezvousParameters) -> RendezvousHandler:
        return Loopback(_LOOPBACK, port, 0, 1, parameters.run_id, _STORE_SECONDS)

    rendezvous_handler_registry.register("loopback", make)
    arguments.rdzv_backend = "loopback"
    arguments.rdzv_endpoint = f"{_LOOPBACK}:{port}"


if __name__ == "__main__":
    sys.exit(main())

"""Wraps a training process: it ends with its launcher, its output is kept, and its real exit code is told.

Run by path, `python -u child.py SCRIPT args` or `child.py -m MODULE args`, by the launcher or by torchrun's agent.
The script then runs in this process as `__main__`, as if Python had been given it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The package may not be installed. Imports below are absolute, for a file that is run by path belongs to no package.
sys.path.insert(
    0, next(str(top) for top in Path(__file__).absolute().parents if (top / "slipway/__init__.py").is_file())
)

import builtins
import contextlib
import dataclasses
import faulthandler
import io
import json
import runpy
import signal
import time
import traceback
import types
from collections.abc import Callable
from types import TracebackType

from slipway.launcher.launch.state_files import (
    FOLDER_VARIABLE,
    LAUNCH_FILE,
    PARENT_VARIABLE,
    PLAN_FILE,
    RankState,
    log_path,
    read_states,
    write_state,
)
from slipway.launcher.launch.worker.lifeline import end_with_parent
from slipway.launcher.launch.worker.output import route_output

EXIT_RESUMABLE = 75
_LONGEST_TRACEBACK = 20_000  # characters
_SPEAKER_SECONDS = 2.0
_NETWORK_ERRORS = ("DistBackendError", "DistNetworkError", "DistStoreError")
_NETWORK_WORDS = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL", "ECONNRESET")


def main() -> None:
    """Run the script of the command line; does not return."""
    # The launcher blocks what it waits for, and a mask is inherited.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    folder = Path(os.environ[FOLDER_VARIABLE])
    launch = json.loads((folder / LAUNCH_FILE).read_text(encoding="utf-8"))
    rank, local_rank = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    output_pid = route_output(log_path(folder, rank), speaks=rank == 0)
    end_with_parent(int(os.environ.pop(PARENT_VARIABLE)), signal.SIGTERM, launch["grace_seconds"])
    faulthandler.enable()  # a crash in C code leaves its Python stack in the log
    _bind(folder, local_rank)
    state = RankState(rank=rank, local_rank=local_rank, pid=os.getpid(), started_at=time.time(), output_pid=output_pid)
    write_state(folder, state)
    run = _prepare(sys.argv[1:])
    state = _run(run, state, log_path(folder, rank))
    faulthandler.disable()  # no script's stack is left to show, and a library may yet abort
    with contextlib.suppress(OSError):
        write_state(folder, state)
    beside_rank_0 = rank == local_rank != 0
    if beside_rank_0 and state.exit_code not in (0, EXIT_RESUMABLE) and state.error is None:
        _let_rank_0_speak(folder)
    sys.exit(_reported(state.exit_code))


def _bind(folder: Path, local_rank: int) -> None:
    """Keep this process on the CPUs of the plan."""
    planned = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))["cpu_affinity"]
    if planned and hasattr(os, "sched_setaffinity"):
        from slipway.launcher.hardware.probes.sources import cpu_list

        try:
            os.sched_setaffinity(0, cpu_list(planned[local_rank]))
        except (OSError, IndexError) as error:
            print(f"slipway launch: CPUs {planned} cannot be bound: {error}", file=sys.stderr)


def _prepare(command: list[str]) -> Callable[[], object]:
    """Make `sys.argv` and `sys.path` what Python would make them, and return what runs the script."""
    del sys.path[0]  # the package's
    if command[0] == "-m":
        module = command[1]
        sys.argv[:] = command[1:]
        _put_first(os.getcwd())
        return lambda: runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.argv[:] = command
    _put_first(str(Path(command[0]).resolve().parent))
    return lambda: _run_script(os.path.abspath(command[0]))


def _put_first(folder: str) -> None:
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _run_script(path: str) -> None:
    """Run a script as `__main__`, which it stays: what it leaves for the interpreter's end may need it."""
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = types.ModuleType("__main__")
    # No `__spec__`, as under Python itself: multiprocessing would look the module up by its name.
    module.__dict__.update(__file__=path, __builtins__=builtins, __cached__=None)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def _run(run: Callable[[], object], state: RankState, log: Path) -> RankState:
    """Run the script and return how it ended. An exception is shown as Python would show it."""
    try:
        run()
        return dataclasses.replace(state, exit_code=0, ended_at=time.time())
    except SystemExit as end:
        ended = dataclasses.replace(state, ended_at=time.time())
        return dataclasses.replace(ended, exit_code=_exit_code(end.code))
    except BaseException as caught:
        ended = dataclasses.replace(state, ended_at=time.time())
        error = caught
    error = error.with_traceback(_of_the_script(error.__traceback__))
    text = "".join(traceback.format_exception(error))
    _show(error, text, log)
    if isinstance(error, KeyboardInterrupt):
        return dataclasses.replace(ended, exit_code=128 + signal.SIGINT)
    return dataclasses.replace(
        ended,
        exit_code=1,
        error=traceback.format_exception_only(error)[-1].strip(),
        traceback=text[-_LONGEST_TRACEBACK:],
        lost_peer=_lost_peer(error),
    )


def _exit_code(code: object) -> int:
    """Return the exit code of `sys.exit(code)`; a text is printed, as Python does."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _of_the_script(entries: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames that lead to the script."""
    while entries is not None and (
        entries.tb_frame.f_code.co_filename == __file__ or entries.tb_frame.f_globals.get("__name__") == "runpy"
    ):
        entries = entries.tb_next
    return entries


def _show(error: BaseException, text: str, log: Path) -> None:
    hook = sys.excepthook
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        hook(type(error), error, error.__traceback__)
    except Exception:
        with contextlib.suppress(OSError, ValueError):
            print(text, end="", file=sys.stderr)
    if os.isatty(2):
        # The terminal was this process's own, so its log has nothing yet.
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(text)


def _lost_peer(error: BaseException) -> bool:
    """Return whether an error only says that another process is gone, which then is the one to blame."""
    if type(error).__name__ in _NETWORK_ERRORS:
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _NETWORK_WORDS)


def _let_rank_0_speak(folder: Path) -> None:
    """Wait until rank 0 has ended too: where all ranks stop alike it says why, and the agent ends it when one is gone."""
    limit = time.monotonic() + _SPEAKER_SECONDS
    while time.monotonic() < limit:
        speaker = read_states(folder).get(0)
        if speaker and speaker.exit_code is not None:
            return
        time.sleep(0.05)


def _reported(exit_code: int | None) -> int:
    """Return the code for the parent. The agent ends the other ranks at once when one does not say 0."""
    under_agent = "TORCHELASTIC_RUN_ID" in os.environ
    return 0 if under_agent and exit_code == EXIT_RESUMABLE else exit_code or 0


if __name__ == "__main__":
    main()

"""Wrap a training process: it ends with its launcher, its output goes to a log, its exit code to a file.

It is run by path, `python -u child.py SCRIPT args` or `child.py -m MODULE args`, by the launcher or by torchrun's agent.
The script runs in this process as `__main__`, as if Python had been given it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The package may not be installed. Imports below are absolute, since a file that is run by path is in no package.
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
from slipway.launcher.launch.worker.imports import watch_imports
from slipway.launcher.launch.worker.output import route_output
from slipway.training.common.errors import EXIT_RESUMABLE
from slipway.training.common.program.lifeline import end_with_parent
from slipway.training.common.program.streams import print_to_stderr

_LONGEST_TRACEBACK = 20_000  # characters
_RANK_0_SECONDS = 2.0
_POLL_SECONDS = 0.05
_STORE_VARIABLE = "TORCHELASTIC_USE_AGENT_STORE"
_NETWORK_ERRORS = ("DistBackendError", "DistNetworkError", "DistStoreError")
_NETWORK_WORDS = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL", "ECONNRESET")


def main() -> None:
    """Run the script of the command line; does not return."""
    # The launcher blocks the signals it waits for, and a process inherits the mask.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    folder = Path(os.environ[FOLDER_VARIABLE])
    launch = json.loads((folder / LAUNCH_FILE).read_text(encoding="utf-8"))
    rank, local_rank = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    output_pid = route_output(log_path(folder, rank), is_shown=rank == 0)
    end_with_parent(int(os.environ.pop(PARENT_VARIABLE)), signal.SIGTERM, launch["grace_seconds"])
    faulthandler.enable()  # a crash in C code writes its Python stack to the log
    _bind_to_cpus(folder, local_rank)
    if rank:
        _read_nothing()
    state = RankState(rank=rank, local_rank=local_rank, pid=os.getpid(), started_at=time.time(), output_pid=output_pid)
    write_state(folder, state)
    run = _prepare_script(sys.argv[1:])
    watch_imports()
    state = _run(run, state, log_path(folder, rank))
    faulthandler.disable()  # the script has ended, and a library may still abort
    with contextlib.suppress(OSError):
        write_state(folder, state)
    beside_rank_0 = rank == local_rank != 0
    if rank == 0 and state.exit_code in (0, EXIT_RESUMABLE) and os.environ.get(_STORE_VARIABLE) == "False":
        _outlast_others(folder)
    elif beside_rank_0 and state.exit_code not in (0, EXIT_RESUMABLE) and state.error is None:
        _wait_for_rank_0(folder)
    sys.exit(_exit_code_for_parent(state.exit_code))


def _bind_to_cpus(folder: Path, local_rank: int) -> None:
    """Keep this process on the CPUs that the plan gives it."""
    planned = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))["cpu_affinity"]
    if planned and hasattr(os, "sched_setaffinity"):
        from slipway.launcher.hardware.probes.sources import cpu_list

        try:
            os.sched_setaffinity(0, cpu_list(planned[local_rank]))
        except (OSError, IndexError) as error:
            print_to_stderr(f"slipway launch: CPUs {planned} cannot be bound: {error}")


def _read_nothing() -> None:
    """Leave what comes on stdin to rank 0: several readers would each get pieces of it."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _prepare_script(command: list[str]) -> Callable[[], object]:
    """Set `sys.argv` and `sys.path` as Python would, and return the function that runs the script or module."""
    del sys.path[0]  # inserted above
    if command[0] == "-m":
        module = command[1]
        sys.argv[:] = command[1:]
        _set_first_path(os.getcwd())
        return lambda: runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.argv[:] = command
    _set_first_path(str(Path(command[0]).resolve().parent))
    return lambda: _run_script(os.path.abspath(command[0]))


def _set_first_path(folder: str) -> None:
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _run_script(path: str) -> None:
    """Run a script as `__main__`. The module stays there, since functions that run at exit may need it."""
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = types.ModuleType("__main__")
    # No `__spec__`, as under Python itself: with one, multiprocessing would import the module by its name.
    module.__dict__.update(__file__=path, __builtins__=builtins, __cached__=None)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)  # noqa: S102 - the script that the user asks to start


def _run(run: Callable[[], object], state: RankState, log: Path) -> RankState:
    """Run the script and return the state with its end. An exception is printed as Python prints it."""
    try:
        run()
        return dataclasses.replace(state, exit_code=0, ended_at=time.time())
    except SystemExit as end:
        ended = dataclasses.replace(state, ended_at=time.time())
        return dataclasses.replace(ended, exit_code=_exit_code(end.code))
    except BaseException as caught:
        ended = dataclasses.replace(state, ended_at=time.time())
        error = caught
    error = error.with_traceback(_without_wrapper(error.__traceback__))
    text = "".join(traceback.format_exception(error))
    code = _print_exception(error, text, log)
    if code is not None:
        return dataclasses.replace(ended, exit_code=code)
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
    print_to_stderr(str(code), as_it_is=True)
    return 1


def _without_wrapper(entries: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of this file and of runpy."""
    while entries is not None and (
        entries.tb_frame.f_code.co_filename == __file__ or entries.tb_frame.f_globals.get("__name__") == "runpy"
    ):
        entries = entries.tb_next
    return entries


def _print_exception(error: BaseException, text: str, log: Path) -> int | None:
    """Print an exception as the script has it printed; return the exit code that this decides, if it does."""
    hook = sys.excepthook
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        hook(type(error), error, error.__traceback__)
    except SystemExit as end:
        return _exit_code(end.code)
    except Exception:
        print_to_stderr(text, end="")
    if os.isatty(2):
        # This process wrote to the terminal itself, so its log is empty.
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(text)
    return None


def _lost_peer(error: BaseException) -> bool:
    """Return whether an error only means that another process is gone, which then failed first."""
    if type(error).__name__ in _NETWORK_ERRORS:
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _NETWORK_WORDS)


def _wait_for_rank_0(folder: Path) -> None:
    """Wait some seconds for the end of rank 0, which prints why where all ranks fail for the same reason.

    The agent ends all ranks as soon as one is gone.
    """
    limit = time.monotonic() + _RANK_0_SECONDS
    while time.monotonic() < limit:
        first = read_states(folder).get(0)
        if first and first.exit_code is not None:
            return
        time.sleep(_POLL_SECONDS)


def _outlast_others(folder: Path) -> None:
    """Stay until the other ranks have ended: rank 0 may serve the store, which they may ask until then."""
    with contextlib.suppress(KeyboardInterrupt):
        others = [state.pid for rank, state in read_states(folder).items() if rank]
        while any(map(_is_alive, others)):
            time.sleep(_POLL_SECONDS)


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def _exit_code_for_parent(exit_code: int | None) -> int:
    """Return the exit code of this process: 0 for 75 under the agent, which ends all ranks once one has another code."""
    under_agent = "TORCHELASTIC_RUN_ID" in os.environ
    return 0 if under_agent and exit_code == EXIT_RESUMABLE else exit_code or 0


if __name__ == "__main__":
    main()

"""What is seen to in a training process once a library is imported, which may be late or never."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from slipway.training.common.program.streams import print_to_stderr

_LOOPBACK = ("127.0.0.1", "localhost")
_STORE_SECONDS = 600


def watch_imports() -> None:
    """Have this process of a launch meet the others on loopback, and tell of a world of one that is meant as several."""
    sys.meta_path.insert(
        0,
        _AfterImport({"torch.distributed.distributed_c10d": _meet_on_loopback, "accelerate.state": _see_to_accelerate}),
    )


class _AfterImport(MetaPathFinder):
    """Calls a function with a module right after the module's own code has run."""

    def __init__(self, actions: dict[str, Callable[[ModuleType], None]]) -> None:
        self._actions = actions

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's own spec with the function behind its code; None for all other modules."""
        action = self._actions.pop(fullname, None)
        if not self._actions:
            sys.meta_path.remove(self)
        spec = None if action is None else PathFinder.find_spec(fullname, path, target)
        if action is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_act(module: ModuleType) -> None:
            execute(module)
            action(module)

        spec.loader.exec_module = execute_and_act  # type: ignore[method-assign]
        return spec


def _meet_on_loopback(module: ModuleType) -> None:
    """Have rank 0 serve the store of a group on loopback, where torch itself would listen on every address of the host."""
    original = module.init_process_group
    signature = inspect.signature(original)
    kept: list[object] = []

    @functools.wraps(original)
    def init_process_group(*args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(TypeError):  # which the function itself raises
            given = signature.bind(*args, **kwargs).arguments
            rank = given.get("rank", -1)
            is_first = (os.environ.get("RANK") if rank < 0 else str(rank)) == "0"
            if is_first and given.get("store") is None and given.get("init_method") in (None, "env://"):
                kept.append(_serve_store())
        return original(*args, **kwargs)

    module.init_process_group = init_process_group  # type: ignore[attr-defined]


def _serve_store() -> object | None:
    """Return a served store that torch's own, of the same port, finds and shares; None where this is not ours to do."""
    from torch.distributed import TCPStore

    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    if host not in _LOOPBACK or not port.isdecimal():
        return None
    with contextlib.suppress(OSError, OverflowError, RuntimeError):  # which torch will say again, of its own
        listener = socket.create_server((_LOOPBACK[0], int(port)))
        return TCPStore(
            _LOOPBACK[0],
            listener.getsockname()[1],
            None,
            True,
            timedelta(seconds=_STORE_SECONDS),
            wait_for_workers=False,
            multi_tenant=True,
            master_listen_fd=listener.detach(),
        )
    return None


def _see_to_accelerate(module: ModuleType) -> None:
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        # Accelerate takes a process with a LOCAL_RANK for a replica, and `accelerate launch` sets none for one process.
        os.environ.pop("LOCAL_RANK", None)
        return
    state = module.PartialState
    original = state.__init__

    @functools.wraps(original)
    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        state.__init__ = original
        if self.num_processes == 1:
            caller = sys._getframe(1)
            place = f"{os.path.basename(caller.f_code.co_filename)}, line {caller.f_lineno}"
            print_to_stderr(
                f"slipway launch: warning: {place}: PartialState() made this process a world of its own, and so does each of "
                f"the {size} processes: all compute the same. Write PartialState(cpu=True), make the Accelerator before "
                "it, or start one process with --num-processes 1"
            )

    state.__init__ = initialize

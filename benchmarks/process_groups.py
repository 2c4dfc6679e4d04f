"""Process groups on the CPUs of this host, whose ranks compute something and of which rank 0 hands back the result."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing

from slipway.training.devices.manager import make_accelerator
from slipway.training.devices.ranks import Ranks


def start_rank(rank: int, world_size: int, port: int) -> Ranks:
    """Return this process as one rank of a group on the CPUs of this host, with one thread."""
    torch.set_num_threads(1)
    if world_size > 1:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(world_size),
            LOCAL_WORLD_SIZE=str(world_size),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
    accelerator = make_accelerator(device="cpu", mixed_precision="no")
    ranks = Ranks(rank=rank, size=accelerator.num_processes, local_rank=rank, device=accelerator.device)
    assert ranks.size == world_size
    return ranks


def write_result(output: str, result: Any, ranks: Ranks) -> None:
    """Have rank 0 write what `in_process_group` returns."""
    if ranks.is_main:
        Path(output).write_text(json.dumps(result), encoding="utf-8")


def import_once(*modules: str) -> None:
    """Have the server import these once for all processes that it forks; only before the first of them."""
    # The last is what torch's optimizers import when the first of them is made.
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload([*modules, "accelerate", "torch._dynamo"])


def in_process_group(work: Callable[..., None], world_size: int, *arguments: Any) -> Any:
    """Call `work(rank, world_size, port, output, *arguments)` in as many new processes, and return what was written.

    They are forked from a server, which may have imported what they need: `import_once`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "found.json")
        torch.multiprocessing.start_processes(
            work, (world_size, port, output, *arguments), nprocs=world_size, start_method="forkserver"
        )
        return json.loads(Path(output).read_text(encoding="utf-8"))

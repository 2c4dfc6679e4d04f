"""What a launcher says in the environment of this process, and what another launch, or an image, has left there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass

from ..errors import UserError
from ..plan_file import PLAN_VARIABLE
from .streams import print_to_stderr

AGENT_VARIABLE = "TORCHELASTIC_RUN_ID"
"""Of each process that torchrun's agent starts."""

_SIZE = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_LOCAL_RANK = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK")
_LOCAL_SIZE = ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE")
_PLACE = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE")
LAUNCH_VARIABLES = (*_SIZE, *_RANK, *_LOCAL_RANK, *_LOCAL_SIZE, *_PLACE)
"""Variables that give a process its place in a launch: torchrun's and those of MPI, which Accelerate reads too."""

_MOST_PROCESSES = 1_000_000

FIRST_JOB_PORT, NUM_JOB_PORTS = 20_000, 10_000
"""Where jobs of a cluster that share a machine meet: below the ports that the kernel gives to connections."""
_FIRST_RESERVED_STEP = 0xFFFFFFF0
"""SLURM's own steps, such as the batch script and the shell of `salloc`, have numbers from here."""


@dataclass(frozen=True, kw_only=True)
class LaunchedWorld:
    """What the launcher promised this process in its environment; a plain start is a world of one."""

    size: int
    rank: int
    local_rank: int
    local_size: int | None
    """Processes on this host; `None` if the launcher does not tell."""
    promise: str = ""
    """The variable that promises several processes, with its value."""


def world_of(environment: Mapping[str, str]) -> LaunchedWorld:
    """Return the world of torchrun, accelerate launch or MPI, from the variables that Accelerate reads.

    Raises `UserError` if they contradict each other or are not numbers.
    """
    named, size = _number(environment, _SIZE)
    rank_named, rank = _number(environment, _RANK)
    local_named, local_rank = _number(environment, _LOCAL_RANK)
    local_size_named, local_size = _number(environment, _LOCAL_SIZE)
    promise = f"{named}={size}"
    if size is not None and size > 1 and rank is None:
        raise UserError(f"{promise} is set but {_RANK[0]} is not; start with torchrun, or unset {named}")
    if (rank or 0) >= (size or 1):
        raise UserError(
            f"{rank_named}={rank} is not below {_SIZE[0]}={size or 1}; fix the launcher, or unset {rank_named} where "
            "another launch has left it"
        )
    if (size or 1) == 1:
        return LaunchedWorld(size=1, rank=0, local_rank=0, local_size=1)
    if not 0 < (local_size or 1) <= (size or 1):
        raise UserError(
            f"{local_size_named}={local_size} is not within 1 and {promise}; fix the launcher, or unset both"
        )
    if local_size is not None and (local_rank or 0) >= local_size:
        raise UserError(
            f"{local_named}={local_rank} is not below {local_size_named}={local_size}; fix the launcher, or unset both"
        )
    return LaunchedWorld(
        size=size or 1, rank=rank or 0, local_rank=local_rank or 0, local_size=local_size, promise=promise
    )


def is_launched(environment: Mapping[str, str]) -> bool:
    """Return whether a launcher started this process. Raises `UserError` as `world_of` does.

    A place in a world of one process, with neither torchrun's agent nor a plan, is what another launch has left.
    """
    return bool(environment.get(PLAN_VARIABLE)) or _is_of_agent(environment) or world_of(environment).size > 1


def leftovers(environment: Mapping[str, str]) -> list[str]:
    """Return the variables, with their values, that give a place in a launch to a process that is in none."""
    if environment.get(PLAN_VARIABLE) or _is_of_agent(environment) or world_of(environment).size > 1:
        return []
    return [f"{name}={environment[name]}" for name in LAUNCH_VARIABLES if environment.get(name)]


def _is_of_agent(environment: Mapping[str, str]) -> bool:
    return all(environment.get(name) for name in (AGENT_VARIABLE, "RANK", "WORLD_SIZE", "LOCAL_RANK"))


def master_of(environment: Mapping[str, str], promise: str) -> tuple[str, int]:
    """Return the address and the port where the processes of a world meet. Raises `UserError` that names the variable."""
    address = environment.get("MASTER_ADDR", "").strip()
    if not address:
        raise UserError(f"{promise} but MASTER_ADDR is not set; start with torchrun or accelerate launch, or unset it")
    if not re.fullmatch(r"[\w.:%-]{1,255}", address):
        raise UserError(
            f"MASTER_ADDR={address!r} is not a host's name or address; fix the launcher, or unset {promise}"
        )
    text = environment.get("MASTER_PORT") or "29500"
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 1 << 16:
        raise UserError(f"MASTER_PORT={text[:40]!r} is not a port, 1 to 65535; fix the launcher, or unset {promise}")
    return address, int(text)


def job_port(job_id: int, step: int = 0) -> int:
    """Return the port where the processes of a job meet, or those of one of its steps."""
    return FIRST_JOB_PORT + (job_id + 101 * step) % NUM_JOB_PORTS


def join_step(environment: MutableMapping[str, str]) -> bool:
    """Make the tasks of a step of SLURM one world, in torchrun's variables; rank 0 says so. Return whether they are one.

    `srun python train.py` starts the program once for each task, and would train it as often, one run over the other.
    They are not where a launcher has given the process its place, in a step of one task, and outside of the step: variables
    of a job that this process is not in do not count.
    """
    if environment.get(PLAN_VARIABLE) or any(environment.get(name) for name in (AGENT_VARIABLE, *_SIZE, *_RANK)):
        return False
    names = ("STEP_ID", "STEP_NUM_TASKS", "STEP_NUM_NODES", "PROCID", "LOCALID", "NODEID", "TASK_PID")
    found = {name: _integer(environment, f"SLURM_{name}") for name in names}
    numbers = {name: value for name, value in found.items() if value is not None}
    job, host = environment.get("SLURM_JOB_ID", ""), first_host(nodes_of_step(environment))
    tasks = numbers.get("STEP_NUM_TASKS", 1)
    if len(numbers) < len(names) or tasks < 2 or not job.isdecimal() or host is None:
        return False
    if numbers["STEP_ID"] >= _FIRST_RESERVED_STEP or not _is_in_task(numbers["TASK_PID"], environment):
        return False
    address = "127.0.0.1" if numbers["STEP_NUM_NODES"] == 1 else address_of_node(host) or host
    port = job_port(int(environment.get("SLURM_JOB_ID_HET_GROUP_0") or job), numbers["STEP_ID"])
    local_size = _tasks_of_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""), numbers["NODEID"])
    variables = {
        "WORLD_SIZE": tasks,
        "RANK": numbers["PROCID"],
        "LOCAL_RANK": numbers["LOCALID"],
        "LOCAL_WORLD_SIZE": local_size,
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
    }
    environment.update({name: str(value) for name, value in variables.items() if value is not None})
    if numbers["PROCID"] == 0:
        print_to_stderr(
            f"SLURM job {job}, step {numbers['STEP_ID']}: its {tasks} tasks are one world, which meets at {address}:{port}; "
            "for a run of its own in each task: srun env -u SLURM_PROCID ..."
        )
    return True


def nodes_of_step(environment: Mapping[str, str]) -> str:
    """Return the node list of a step of SLURM, in the order of its nodes' numbers.

    SLURM's own is sorted by name, and the parts of a heterogeneous job are numbered one after the other.
    """
    groups = range(min(_integer(environment, "SLURM_HET_SIZE") or 0, 1000))
    lists = [environment.get(f"SLURM_JOB_NODELIST_HET_GROUP_{group}", "") for group in groups]
    counts = [_integer(environment, f"SLURM_JOB_NUM_NODES_HET_GROUP_{group}") or 0 for group in groups]
    spans = sum(counts) == _integer(environment, "SLURM_STEP_NUM_NODES")
    return ",".join(lists) if len(lists) > 1 and spans and all(lists) else environment.get("SLURM_STEP_NODELIST", "")


def _integer(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 else None


def first_host(node_list: str) -> str | None:
    """Return the first host of a SLURM node list: `node[01-04,7]` gives `node01`; None where it has another form."""
    match = re.match(r"([\w.-]+)(?:\[([0-9]+))?", node_list)
    return match[1] + (match[2] or "") if match else None


def address_of_node(host: str) -> str | None:
    """Return the address that SLURM has for a node whose name the network does not know; None where it has none."""
    with suppress(OSError, UnicodeError):
        if socket.getaddrinfo(host, None):
            return None
    command = ("scontrol", "show", "node", "--oneliner", host)
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    address = re.search(r"\bNodeAddr=(\S+)", said)
    return address[1] if address and address[1] != host else None


def _tasks_of_node(counts: str, node: int) -> int | None:
    """Return the tasks of a node by its number, from SLURM's `2(x3),1`; None where it says nothing of it."""
    for count, _, times in re.findall(r"(\d+)(\(x(\d+)\))?", counts):
        if node < int(times or 1):
            return int(count)
        node -= int(times or 1)
    return None


def _is_in_task(pid: int, environment: Mapping[str, str]) -> bool:
    """Return whether this process belongs to the task of a step whose first process has this id."""
    now = os.getpid()
    with suppress(OSError, ValueError, IndexError):
        while now > 1:
            if now == pid:
                return True
            with open(f"/proc/{now}/stat", "rb") as file:
                now = int(file.read().rpartition(b")")[2].split()[1])
    # A container does not see the processes above its own.
    return environment.get("SLURMD_NODENAME", "") in (socket.gethostname(), socket.gethostname().partition(".")[0])


def _number(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, int | None]:
    """Return the first of these variables that is set, with its value."""
    for name in names:
        text = environment.get(name, "").strip()
        if re.fullmatch(r"[0-9]{1,9}", text) and int(text) <= _MOST_PROCESSES:
            return name, int(text)
        if text:
            raise UserError(
                f"environment variable {name}={text[:40]!r}: not a whole number of processes; unset it or fix the launcher"
            )
    return names[0], None

"""A launch in a job of SLURM: whether this host is in it, one launcher a node, and what was understood of it."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...training.common.errors import UserError

if TYPE_CHECKING:
    from ..hardware.record import Hardware, Slurm
    from ..plan.records import MergedIntent

_OF_TASKS = re.compile(
    r"(SLURM|SRUN)_(NTASKS|NPROCS|NTASKS_PER_\w+|CPUS_PER_\w+|GPUS_PER_TASK|GPUS_PER_SOCKET|GPU_BIND|TRES_PER_TASK|"
    r"TRES_BIND|CPU_BIND\w*|DISTRIBUTION|THREADS_PER_CORE|EXACT)"
)
"""Variables by which srun would divide a node among several tasks."""
_WAIT_SECONDS = 300
"""How long the other nodes may take to save after the first has ended."""
_ANSWER_SECONDS = 20.0


def start_on_all_nodes(options: argparse.Namespace) -> None:
    """Go on as `srun` of this same command line on each node, where this is a shell or the batch script of several nodes.

    Return where this launcher is to start its processes itself. Raises `UserError` where the job is over.
    """
    slurm = _job()
    if slurm is None or slurm.place == "step" or options.hosts or options.hardware or options.dry_run:
        return
    from ..plan.options import intent_of

    nodes = slurm.node_count or 1
    is_inside = is_member(slurm)
    if (
        intent_of(options).num_machines is not None
        or (is_inside and nodes == 1)
        or not (is_inside or _is_salloc(slurm))
    ):
        return
    from .supervise.supervisor import print_status

    command = srun_command(nodes)
    print_status(f"{describe(slurm)}; starts one launcher on each: {' '.join(command)} ...")
    environment = {name: value for name, value in os.environ.items() if not _OF_TASKS.fullmatch(name)}
    try:
        # Signals and the exit code are srun's from here.
        os.execvpe(command[0], [*command, sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - no shell is meant
    except OSError as error:
        raise UserError(
            f"SLURM job {slurm.job_id} has {nodes} nodes, and srun cannot be started here ({error.strerror}): start it where "
            "srun is installed; or on this host alone, with --num-machines 1"
        ) from None


def srun_command(nodes: int) -> list[str]:
    """Return the command that starts one task on each node, with all that the job has there."""
    count = f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"
    return ["srun", *count, "--kill-on-bad-exit=0", f"--wait={_WAIT_SECONDS}"]


def settle(hardware: Hardware, intent: MergedIntent) -> tuple[Hardware, MergedIntent, tuple[str, ...]]:
    """Return the hardware without the variables of a job that this host is not in, and a line on the job it is in.

    The intent has the address of the job's first node where its name leads nowhere. Raises `UserError` where the job's
    tasks cannot be one world.
    """
    slurm = hardware.scheduler.slurm
    if slurm is None:
        return hardware, intent, ()
    if not is_member(slurm):
        if (slurm.node_count or 1) > 1 and intent.num_machines is None:
            raise UserError(
                f"SLURM_JOB_ID={slurm.job_id} is a job on {slurm.node_list}, and {hardware.hostname} is none of these hosts: "
                f"start there, with `srun --nodes={slurm.node_count} --ntasks-per-node=1 slipway launch ...`; or here alone, "
                "with --num-machines 1 (the variable may be left of another job)"
            )
        # What another job has left does not count.
        return dataclasses.replace(hardware, scheduler=dataclasses.replace(hardware.scheduler, slurm=None)), intent, ()
    if intent.num_machines is None:
        _check_tasks(slurm)
        if slurm.place == "step" and (slurm.node_count or 1) > 1 and intent.main_process_ip is None:
            intent = _with_address(intent, slurm)
    return hardware, intent, (describe(slurm),)


def _with_address(intent: MergedIntent, slurm: Slurm) -> MergedIntent:
    """Return the intent with the address of the first node, if SLURM knows one where the network knows no such name."""
    from ...training.common.program.launched import address_of_node, first_host
    from ...training.common.settings import Setting

    host = first_host(slurm.node_list or "")
    address = None if host is None else address_of_node(host)
    if address is None:
        return intent
    setting = Setting(value=address, origin="user", place=f"SLURM for node {host}")
    settings = {**intent.settings, "main_process_ip": setting}
    return dataclasses.replace(intent, settings=settings, main_process_ip=address)


def _check_tasks(slurm: Slurm) -> None:
    nodes, tasks = slurm.node_count or 1, slurm.task_count or 1
    if slurm.place == "step" and tasks > nodes:
        raise UserError(
            f"SLURM job {slurm.job_id}: the step has {tasks} tasks on {nodes} node{'s' * (nodes > 1)}, and each would start a "
            f"launcher for all of its node: start one a node, `srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 "
            "slipway launch ...`; or the training itself in each task, `srun slipway train ...`; or with --num-machines 1 a "
            "world of its own in each"
        )


def describe(slurm: Slurm) -> str:
    """Return what was understood of a job, in a line."""
    nodes = slurm.node_count or 1
    place = {"allocation": "a shell of it", "batch": "its batch script", "step": "a step of it"}[slurm.place]
    where = f"{nodes} node{'s' * (nodes > 1)}" + (f" ({slurm.node_list})" if slurm.node_list else "")
    rank = (
        f", this is node {slurm.node_rank}"
        if slurm.place == "step" and nodes > 1 and slurm.node_rank is not None
        else ""
    )
    again = f", started again ({slurm.restart_count})" if slurm.restart_count else ""
    return f"SLURM job {slurm.job_id}, {place}: {where}{rank}{again}"


def is_member(slurm: Slurm) -> bool:
    """Return whether this process runs on a node of a job: by the host's name, its cgroup, or SLURM's own process."""
    from ..hardware.probes.sources import read_text
    from ..plan.devices import names_host

    if slurm.node_list is None or names_host(slurm.node_list, socket.gethostname()):
        return True
    # A container has a host name of its own, and nodes may be named otherwise than hosts.
    return "slurm" in (read_text(Path("/proc/self/cgroup")) or "") or _is_below_slurm()


def _is_below_slurm() -> bool:
    import psutil

    try:
        return any(parent.name().startswith("slurmstepd") for parent in psutil.Process().parents())
    except psutil.Error:
        return False


def _is_salloc(slurm: Slurm) -> bool:
    """Return whether this is the shell of an `salloc` that holds its job still, on a host that is in no job.

    Raises `UserError` where the job is over.
    """
    if slurm.place != "allocation" or os.environ.get("SLURM_SUBMIT_HOST") != socket.gethostname():
        return False
    if shutil.which("srun") is None or shutil.which("squeue") is None:
        return False
    command = ["squeue", "--noheader", f"--jobs={slurm.job_id}", "--format=%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return False
    if done.stdout.strip() == "RUNNING":
        return True
    raise UserError(
        f"SLURM_JOB_ID={slurm.job_id}: the job of this shell does not run any more ({done.stdout.strip() or 'not known'}): "
        "leave the shell and take another with salloc; or start on this host alone, with --num-machines 1"
    )


def _job() -> Slurm | None:
    from ..hardware.probes import scheduler
    from ..hardware.probes.sources import Sources

    return scheduler.detect(Sources()).slurm


def job_of(options: argparse.Namespace, environment: Mapping[str, str]) -> str:
    """Return the name by which the starts of one job are known: that of `--job`, or the number of the job of SLURM."""
    if options.job is not None:
        return str(options.job)
    slurm = _job()
    return f"slurm-{slurm.job_id}" if slurm is not None and slurm.place != "allocation" and is_member(slurm) else ""

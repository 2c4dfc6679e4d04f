"""What a launcher makes of the variables of a SLURM job: interactive, batch, step, array, heterogeneous, leftover."""

from __future__ import annotations

import dataclasses
import os
import socket
from pathlib import Path

import pytest

from slipway.launcher.hardware.probes import scheduler
from slipway.launcher.hardware.probes.sources import Sources
from slipway.launcher.launch import allocation
from slipway.launcher.launch.command import build_parser
from slipway.launcher.plan.make_plan import make_plan
from slipway.launcher.plan.settings import read_intent
from slipway.training.common.errors import UserError
from slipway.training.common.program.launched import job_port
from tests.launcher.launches import Launches, launches
from tests.launcher.machines import machine

__all__ = ["launches"]  # a fixture

HOST = socket.gethostname()
JOB = {"SLURM_JOB_ID": "12345", "SLURM_JOB_NODELIST": f"{HOST},gone2", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "2"}
BATCH = {**JOB, "SLURM_PROCID": "0", "SLURM_NODEID": "0"}
STEP = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": f"{HOST},gone2", "SLURM_STEP_NUM_NODES": "2"}
STEP |= {"SLURM_STEP_NUM_TASKS": "2"}


def settled(environment: dict[str, str], **fixed: str) -> tuple[int, int, str | None, int | None, str]:
    """Return machines, rank, address and port of the plan, and what is said."""
    slurm = scheduler.detect(Sources(environ=environment)).slurm
    hardware = dataclasses.replace(machine(), scheduler=dataclasses.replace(machine().scheduler, slurm=slurm))
    hardware, intent, notes = allocation.settle(hardware, read_intent(fixed, None, {}))
    plan = make_plan(hardware, intent)
    return plan.num_machines, plan.machine_rank, plan.main_process_ip, plan.main_process_port, "; ".join(notes)


def test_a_step_is_one_machine_of_the_job_and_says_what_it_understood() -> None:
    assert settled({**STEP, "SLURM_NODEID": "1"}) == (
        2, 1, HOST, job_port(12345), f"SLURM job 12345, a step of it: 2 nodes ({HOST},gone2), this is node 1",
    )  # fmt: skip


def test_a_step_on_some_nodes_of_a_job_does_not_wait_for_the_others() -> None:
    some = {**STEP, "SLURM_STEP_NODELIST": HOST, "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "1"}
    assert settled(some) == (1, 0, None, None, f"SLURM job 12345, a step of it: 1 node ({HOST})")


def test_the_jobs_of_an_array_meet_at_ports_of_their_own() -> None:
    array = {"SLURM_ARRAY_JOB_ID": "12345", "SLURM_ARRAY_TASK_ID": "1"}
    ports = {settled({**STEP, **array, "SLURM_JOB_ID": number})[3] for number in ("12345", "12346")}
    assert ports == {job_port(12345), job_port(12346)}
    assert 29500 not in ports


def test_the_parts_of_a_heterogeneous_job_are_one_world_that_meets_at_one_port() -> None:
    first, second = (
        settled(
            {
                **STEP,
                "SLURM_HET_SIZE": "2",
                "SLURM_JOB_ID": job,
                "SLURM_JOB_ID_HET_GROUP_0": "12345",
                "SLURM_NODEID": rank,
            }
        )
        for job, rank in (("12345", "0"), ("12346", "1"))
    )
    assert first[:4] == (2, 0, HOST, job_port(12345))
    assert second[:4] == (2, 1, HOST, job_port(12345))


def test_the_parts_of_a_heterogeneous_job_meet_on_the_first_part_whatever_its_name() -> None:
    parts = {"SLURM_HET_SIZE": "2", "SLURM_JOB_NODELIST_HET_GROUP_0": HOST, "SLURM_JOB_NODELIST_HET_GROUP_1": "a1"}
    parts |= {"SLURM_JOB_NUM_NODES_HET_GROUP_0": "1", "SLURM_JOB_NUM_NODES_HET_GROUP_1": "1"}
    assert settled({**STEP, **parts, "SLURM_STEP_NODELIST": f"a1,{HOST}"})[:3] == (2, 0, HOST)
    alone = {"SLURM_STEP_NODELIST": HOST, "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "1"}
    assert settled({**STEP, **parts, **alone})[:3] == (1, 0, None)  # a step of one part


@pytest.mark.parametrize("tasks", ["4", "3"])
def test_a_task_for_each_gpu_is_refused_by_every_task(tasks: str) -> None:
    with pytest.raises(UserError, match="each would start a launcher for all of its node: start one a node") as error:
        settled({**STEP, "SLURM_STEP_NUM_TASKS": tasks})
    assert "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 slipway launch" in str(error.value)
    assert settled({**STEP, "SLURM_STEP_NUM_TASKS": tasks}, num_machines="1")[0] == 1


def test_what_a_job_on_other_hosts_has_left_never_counts() -> None:
    gone = {**STEP, "SLURM_STEP_NODELIST": "gone[1-2]", "SLURM_JOB_NODELIST": "gone[1-2]", "SLURM_NODEID": "1"}
    with pytest.raises(UserError, match="none of these hosts"):
        settled(gone)
    assert settled(gone, num_machines="1") == (1, 0, None, None, "")
    assert settled(gone, num_machines="2", main_process_ip="10.0.0.1")[:4] == (2, 0, "10.0.0.1", 29500)
    one = {**gone, "SLURM_STEP_NODELIST": "gone1", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "1"}
    assert settled(one) == (1, 0, None, None, "")


@pytest.mark.parametrize("variables", [JOB, {**JOB, "SLURM_STEP_ID": "4294967290", "SLURM_PROCID": "0"}, BATCH])
def test_a_shell_and_a_batch_script_start_one_launcher_a_node(
    variables: dict[str, str], tmp_path: Path, launches: Launches
) -> None:
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nprintf "%s\\n" "$@" "tasks ${SLURM_NTASKS:-}${SLURM_CPUS_PER_TASK:-}"\nexit 75\n')
    srun.chmod(0o755)
    script = launches.script("print('never')")
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = launches.environment(**variables, SLURM_CPUS_PER_TASK="1", PATH=path)
    done = launches.run("--device", "cpu", script, "a b", environment=environment)
    assert done.returncode == 75
    words = done.stdout.splitlines()
    assert words[:3] == ["--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert words[-6:] == ["launch", "--device", "cpu", str(script), "a b", "tasks "]
    assert "SLURM job 12345" in done.stderr


def test_one_node_of_a_job_needs_no_srun(launches: Launches) -> None:
    one = {**BATCH, "SLURM_JOB_NODELIST": HOST, "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "8"}
    done = launches.run("--device", "cpu", launches.script("print('here')"), environment=launches.environment(**one))
    assert (done.returncode, done.stdout) == (0, "here\n")
    assert f"SLURM job 12345, its batch script: 1 node ({HOST})" in done.stderr


def test_a_shell_whose_job_is_over_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, does in (("squeue", "echo COMPLETED"), ("srun", "true")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    shell = {
        **JOB,
        "SLURM_JOB_NODELIST": "gone[1-2]",
        "SLURM_SUBMIT_HOST": HOST,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    options = build_parser().parse_args(["train.py"])
    with pytest.raises(UserError, match=r"does not run any more \(COMPLETED\)"):
        allocation.start_on_all_nodes(options)

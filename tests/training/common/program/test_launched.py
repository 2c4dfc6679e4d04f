"""What the environment says of a launch: the world of this process, or what another launch has left."""

from __future__ import annotations

import os

import pytest

from slipway.training.common.errors import UserError
from slipway.training.common.program.launched import is_launched, job_port, join_step, leftovers, master_of, world_of

_AGENT = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


@pytest.mark.parametrize(
    "environment",
    [
        {"LOCAL_RANK": "0"},
        {"LOCAL_RANK": "7", "LOCAL_WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "10.0.0.9", "MASTER_PORT": "123456"},
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {"MASTER_ADDR": "nonsense", "NODE_RANK": "3"},
    ],
)
def test_a_place_in_a_world_of_one_is_what_another_launch_left(environment: dict[str, str]) -> None:
    world = world_of(environment)
    assert (world.size, world.rank, world.local_rank, world.local_size) == (1, 0, 0, 1)
    assert not is_launched(environment)
    assert leftovers(environment) == [f"{name}={environment[name]}" for name in leftovers_names(environment)]


def leftovers_names(environment: dict[str, str]) -> list[str]:
    """Return the names in the order of `leftovers`, which has to tell all of them."""
    told = [one.partition("=")[0] for one in leftovers(environment)]
    assert sorted(told) == sorted(environment)
    return told


def test_the_only_process_of_torchrun_is_launched_and_a_plan_is_a_launch() -> None:
    assert is_launched(_AGENT)
    assert leftovers(_AGENT) == []
    assert not is_launched({"TORCHELASTIC_RUN_ID": "none"})
    assert is_launched({"SLIPWAY_PLAN": "plan.json"})
    assert not is_launched({})


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "8"}, "WORLD_SIZE=8 is set but RANK is not"),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, "unset OMPI_COMM_WORLD_SIZE"),
        ({"RANK": "3"}, "RANK=3 is not below WORLD_SIZE=1"),
        ({"WORLD_SIZE": "9" * 5000, "RANK": "0"}, "WORLD_SIZE='99999"),
        ({"WORLD_SIZE": "99999999", "RANK": "0"}, "WORLD_SIZE='99999999'"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE='-2'"),
        ({"PMI_SIZE": "two"}, "PMI_SIZE='two'"),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_WORLD_SIZE": "3"},
            "LOCAL_WORLD_SIZE=3 is not within 1 and WORLD_SIZE=2",
        ),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE=0"),
        ({"WORLD_SIZE": "4", "RANK": "0", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "2"}, "LOCAL_RANK=2 is not below"),
    ],
)
def test_a_world_that_cannot_be_names_the_variable(environment: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        world_of(environment)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "MASTER_ADDR is not set"),
        ({"MASTER_ADDR": "a b"}, "MASTER_ADDR='a b' is not a host"),
        ({"MASTER_ADDR": "host", "MASTER_PORT": "99999"}, "MASTER_PORT='99999' is not a port"),
        ({"MASTER_ADDR": "host", "MASTER_PORT": "0"}, "MASTER_PORT='0'"),
        ({"MASTER_ADDR": "host", "MASTER_PORT": "tcp://10.0.0.1:80"}, "MASTER_PORT='tcp:"),
    ],
)
def test_a_place_to_meet_that_cannot_be_names_the_variable(environment: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        master_of(environment, "WORLD_SIZE=2")
    assert words in str(caught.value)
    assert "unset" in str(caught.value)


STEP = {
    "SLURM_JOB_ID": "12345", "SLURM_STEP_ID": "2", "SLURM_STEP_NODELIST": "localhost,gone2", "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_PROCID": "1", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0", "SLURM_TASK_PID": str(os.getpid()),
}  # fmt: skip


def test_the_tasks_of_a_step_are_one_world_that_meets_at_a_port_of_the_job() -> None:
    environment = dict(STEP)
    assert join_step(environment)
    world = world_of(environment)
    assert (world.size, world.rank, world.local_rank, world.local_size) == (3, 1, 1, 2)
    assert (environment["MASTER_ADDR"], int(environment["MASTER_PORT"])) == ("localhost", job_port(12345, 2))
    last = {**STEP, "SLURM_NODEID": "1", "SLURM_PROCID": "2", "SLURM_LOCALID": "0"}
    assert join_step(last)
    assert world_of(last).local_size == 1
    assert not join_step(dict(environment))  # it has its place


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_STEP_ID": "4294967291"},  # the batch script
        {"SLURM_STEP_ID": "4294967290"},  # the shell of salloc
        {"SLURM_STEP_ID": ""},
        {"SLURM_PROCID": ""},  # as a task is told to train alone
        {"SLURM_TASK_PID": "999999999"},  # left of a step that this process is not in
        {"WORLD_SIZE": "2", "RANK": "0"},
        {"PMI_RANK": "1", "PMI_SIZE": "2"},
        {"SLIPWAY_PLAN": "plan.json"},
        {"SLURM_STEP_NUM_TASKS": "many"},
    ],
)
def test_what_is_no_task_of_several_is_left_as_it_is(changes: dict[str, str]) -> None:
    environment = STEP | changes
    before = dict(environment)
    assert not join_step(environment)
    assert environment == before


@pytest.mark.parametrize(("counts", "sizes"), [("2(x3),1", [2, 2, 2, 1]), ("4", [4]), ("1,3(x2)", [1, 3, 3])])
def test_the_tasks_of_each_node_are_counted(counts: str, sizes: list[int]) -> None:
    for node, size in enumerate(sizes):
        environment = {**STEP, "SLURM_STEP_TASKS_PER_NODE": counts, "SLURM_NODEID": str(node), "SLURM_PROCID": "1"}
        assert join_step(environment)
        assert environment["LOCAL_WORLD_SIZE"] == str(size)

"""Scripts that know nothing of Slipway: what they read on stdin, how their processes meet, and where they are started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.launcher.launch.environment import World, environment_of, rank_variables, starts_directly
from slipway.launcher.plan.make_plan import make_plan
from slipway.launcher.plan.records import Intent
from tests.conftest import ROOT
from tests.launcher.launches import SLIPWAY, Launches, launches
from tests.launcher.machines import machine
from tests.limits import HANG_SECONDS

__all__ = ["launches"]
CPU = ("--device", "cpu", "--main-process-port", "0")
READS = """
import os, sys
try:
    print(repr(input()), repr(sys.stdin.read()))
except EOFError:
    print("nothing")
"""
MEETS = """
import os, psutil
import torch.distributed as dist
dist.init_process_group("gloo")
ranks = [None] * dist.get_world_size()
dist.all_gather_object(ranks, (int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])))
listening = {one.laddr.ip for one in psutil.Process().net_connections("tcp") if one.status == "LISTEN"}
print(ranks, listening)
dist.destroy_process_group()
"""
BARE = """
from accelerate import PartialState
print(PartialState().num_processes)
"""


@pytest.mark.parametrize("count", [1, 2])
def test_what_comes_on_stdin_is_for_rank_0_alone(launches: Launches, count: int) -> None:
    launches.script(READS)
    process = launches.start(*CPU, "--num-processes", count, "script.py", stdin=subprocess.PIPE)
    out, _ = process.communicate("first\nsecond\nthird\n", timeout=HANG_SECONDS)
    assert out == "'first' 'second\\nthird\\n'\n"
    assert [log.read_text() for log in launches.logs()[1:]] == ["nothing\n"] * (count - 1)


@pytest.mark.parametrize("count", [1, 2])
def test_a_closed_stdin_is_one_that_has_nothing(launches: Launches, count: int) -> None:
    launches.script(READS)
    shell = ["bash", "-c", '"$@" <&-', "-", *SLIPWAY, "launch", *CPU, "--num-processes", str(count), "script.py"]
    done = subprocess.run(shell, cwd=launches.folder, env=launches.environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "nothing\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_script_makes_its_own_process_group_of_any_size_on_loopback(launches: Launches, count: int) -> None:
    launches.script(MEETS)
    done = launches.run(*CPU, "--num-processes", count, "script.py")
    assert done.stdout == f"{[(rank, rank) for rank in range(count)]} {{'127.0.0.1'}}\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_processes_that_are_worlds_of_one_each_are_told(launches: Launches, count: int) -> None:
    launches.script(BARE)
    done = launches.run(*CPU, "--num-processes", count, "script.py")
    assert (done.returncode, done.stdout) == (0, "1\n")
    told = [line for line in done.stderr.splitlines() if "warning: script.py, line 3: PartialState()" in line]
    assert len(told) == count - 1
    assert all("PartialState(cpu=True)" in line for line in told)


def test_a_name_that_is_no_text_is_a_name(launches: Launches) -> None:
    name = os.fsdecode(b"b\xe4r.py")
    launches.script("import sys; print(ascii(sys.argv))", name)
    done = launches.run(*CPU, "--num-processes", "2", name)
    assert (done.returncode, done.stdout) == (0, f"{[name]!a}\n"), done.stderr


@pytest.mark.parametrize("command", ["launch script.py", "train --quick-test", "doctor"])
def test_a_working_folder_that_is_gone_is_told_in_one_line(tmp_path: Path, command: str) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    shell = ["bash", "-c", 'cd "$0"; rmdir "$0"; "$@"', str(gone), *SLIPWAY, *command.split()]
    done = subprocess.run(shell, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "error: the working folder cannot be used (No such file or directory); change to one that exists: cd ~\n"
    )


@pytest.mark.slow
def test_ranks_get_what_accelerate_s_own_launcher_gives_them(launches: Launches, tmp_path: Path) -> None:
    """The start without it must not drift from it: both start the same script."""
    launches.script("import json, os\nprint(json.dumps(dict(os.environ)))")
    plan = make_plan(machine(), Intent(device="cpu", num_processes=2, threads_per_process=2))
    assert starts_directly(plan)
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "script.py"]
    plain = launches.environment(**plan.environment)
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=plain, capture_output=True, text=True, check=True
    )
    theirs = next(one for one in map(json.loads, done.stdout.splitlines()) if one["RANK"] == "1")
    world = World(size=2, local_size=2, port=int(theirs["MASTER_PORT"]))
    ours = {**environment_of(plan, plain, "plan", "folder"), **rank_variables(1, world)}
    of_start = {"TORCHELASTIC_ERROR_FILE", "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_SIGNALS_TO_HANDLE"}
    of_start |= {"LC_CTYPE", "KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK"}
    differing = {name for name in theirs if theirs[name] != ours.get(name)} - of_start
    assert {name: (theirs[name], ours.get(name)) for name in differing} == {}

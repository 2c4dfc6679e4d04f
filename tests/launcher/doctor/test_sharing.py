"""`slipway doctor` says who shares the CPUs, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from slipway.launcher.doctor.sharing import Program, Sharing, judge_sharing, look


def sharing(**changes: Any) -> Sharing:
    alone: dict[str, Any] = {
        "cpus": 2, "programs": (), "used_cores": 0.1, "stolen_cores": 0.0, "load": 0.1, "throttled": None,
    }  # fmt: skip
    return Sharing(**{**alone, **changes})


def test_an_idle_machine_passes_with_its_load() -> None:
    check = judge_sharing(sharing(), {})
    assert (check.state, check.evidence) == ("pass", "nothing else uses the 2 CPUs now; load 0.1")


def test_the_busiest_programs_are_named_with_their_cores_and_the_way_to_have_them_wait() -> None:
    programs = tuple(Program(process=number, name=f"job{number}", cores=cores) for number, cores in enumerate(
        (0.9, 0.5, 0.3, 0.2, 0.01), start=11,
    ))  # fmt: skip
    check = judge_sharing(sharing(programs=programs, load=3.0), {})
    assert check.state == "warn"
    assert check.evidence == (
        "other programs use 1.9 of 2 CPUs: job11 (11) 0.9, job12 (12) 0.5, job13 (13) 0.3, 1 more; load 3.0"
    )
    assert check.remedy is not None
    assert "renice -n 19 -p 11 12 13" in check.remedy
    chosen = judge_sharing(sharing(programs=programs), {"OMP_WAIT_POLICY": "active"})
    assert "unset OMP_WAIT_POLICY" in (chosen.remedy or "")


def test_the_name_of_a_program_commands_no_terminal() -> None:
    check = judge_sharing(sharing(programs=(Program(process=7, name="\x1b[2Jx", cores=1.0),)), {})
    assert "\x1b" not in check.evidence


def test_what_is_no_process_here_a_quota_and_a_hypervisor_are_each_told() -> None:
    other_container = judge_sharing(sharing(used_cores=1.4), {})
    assert other_container.evidence.startswith("1.4 of 2 CPUs are used by what is no process here")
    throttled = judge_sharing(sharing(throttled=0.6), {})
    assert throttled.evidence.startswith("the cgroup's quota stopped it in 60 % of its periods so far")
    assert "--threads 1" in (throttled.remedy or "")
    stolen = judge_sharing(sharing(stolen_cores=0.5), {})
    assert stolen.evidence.startswith("the hypervisor gives 0.5 of 2 CPUs to others")


def test_a_look_finds_a_busy_program_and_not_itself() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    ) as busy:
        try:
            assert busy.stdout is not None
            busy.stdout.readline()
            found = look(0.05)
        finally:
            busy.kill()
    processes = {program.process for program in found.programs}
    assert busy.pid in processes
    assert os.getpid() not in processes

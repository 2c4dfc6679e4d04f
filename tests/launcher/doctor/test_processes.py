"""The processes that the doctor starts: they end, all of them, and what they said is told."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from slipway.launcher.doctor.check import Check, Report
from slipway.launcher.doctor.processes import _running, member_environment, run_members
from slipway.launcher.hardware.detect import detect
from slipway.launcher.launch.state_files import PARENT_VARIABLE
from slipway.launcher.plan.make_plan import Intent, make_plan
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS, wait_until

SLIPWAY = [sys.executable, "-c", "import sys; from slipway.launcher.cli import main; sys.exit(main())"]
MARK = "SLIPWAY_TEST_MARK"
# A torch that hangs when it is imported, as one whose driver hangs, with a child in a session of its own.
HANGING_TORCH = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(300)"], start_new_session=True)
print("waiting for a peer", flush=True)
time.sleep(300)
"""


def marked(mark: str) -> list[psutil.Process]:
    """Return the living processes that have a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which torch hangs, with a mark of its own."""
    package = tmp_path / "broken" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(HANGING_TORCH)
    kept = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    path = os.pathsep.join((str(tmp_path / "broken"), str(ROOT)))
    return {**kept, "PYTHONPATH": path, "HF_HOME": str(tmp_path), "TMPDIR": str(tmp_path), MARK: uuid.uuid4().hex}


def start(environ: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SLIPWAY, "doctor", "--json", "--device", "cpu", *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def checks_of(text: str) -> dict[str, Check]:
    return {check.name: check for check in Report.from_json(text).checks}


def test_what_hangs_ends_by_the_limit_and_leaves_no_process(environ: dict[str, str]) -> None:
    with start(environ, "--num-processes", "2", "--timeout-seconds", "1.5") as doctor:
        output, errors = doctor.communicate(timeout=HANG_SECONDS)
    assert doctor.returncode == 3, errors
    checks = checks_of(output)
    for name in ("collective", "world"):
        assert checks[name].state == "fail"
        assert checks[name].evidence.endswith("no end within 1.5 s; last line: waiting for a peer")
        assert (checks[name].remedy or "").startswith("--timeout-seconds 4.5")
    assert marked(environ[MARK]) == []


# Starts a process in a session of its own as often as it can, for as long as it runs.
BREEDING = """
import os, subprocess, sys, time
for _ in range(400):
    subprocess.Popen(["sleep", "30"], start_new_session=True, stdin=subprocess.DEVNULL)
"""


def test_what_starts_others_while_it_is_ended_leaves_none_of_them(environ: dict[str, str], tmp_path: Path) -> None:
    for _ in range(5):
        with (
            contextlib.suppress(KeyboardInterrupt),
            _running([[sys.executable, "-S", "-c", BREEDING]], environ, tmp_path),
        ):
            wait_until(lambda: len(marked(environ[MARK])) >= 3)
            raise KeyboardInterrupt
        left = marked(environ[MARK])
        for process in left:
            process.kill()
        assert left == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_doctor_that_is_stopped_takes_its_processes_along(
    environ: dict[str, str], signum: signal.Signals, tmp_path: Path
) -> None:
    with start(environ) as doctor:
        wait_until(lambda: len(marked(environ[MARK])) >= 3)  # itself and two members
        members = psutil.Process(doctor.pid).children()
        doctor.send_signal(signum)
        doctor.communicate(timeout=HANG_SECONDS)
    try:
        assert doctor.returncode == (-9 if signum == signal.SIGKILL else 128 + signum)
        wait_until(lambda: not any(member in marked(environ[MARK]) for member in members))
        # Nobody is left to see the child that a member put into a session of its own.
        assert signum == signal.SIGKILL or (marked(environ[MARK]) == [] == list(tmp_path.glob("slipway-doctor-*")))
    finally:
        for process in marked(environ[MARK]):
            process.kill()


def members(*commands: list[str], seconds: float, folder: Path) -> tuple[str | None, bool, float]:
    outcome = run_members(commands, os.environ, folder, seconds)
    return outcome.problem, outcome.timed_out, outcome.seconds


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_when_one_fails_the_others_are_not_waited_for(tmp_path: Path) -> None:
    failing = python("import sys; print('ncclSystemError: no route'); print('====='); sys.exit(9)")
    problem, timed_out, seconds = members(
        python("import time; time.sleep(3600)"), failing, seconds=HANG_SECONDS, folder=tmp_path
    )
    assert problem == "exit code 9; last line: ncclSystemError: no route"
    assert not timed_out
    assert seconds < HANG_SECONDS


def test_of_several_that_fail_the_one_that_a_signal_ended_is_to_blame(tmp_path: Path) -> None:
    report = 'open(sys.argv[1], "w").write(\'{"error": "RuntimeError: Connection closed by peer"}\')'
    missing = [*python(f"import sys; {report}; sys.exit(1)"), str(tmp_path / "1.json")]
    assert members(missing, seconds=HANG_SECONDS, folder=tmp_path)[0] == "RuntimeError: Connection closed by peer"
    killed = python("import os, time; time.sleep(0.2); print('allocating', flush=True); os.kill(os.getpid(), 9)")
    assert (
        members(missing, killed, seconds=HANG_SECONDS, folder=tmp_path)[0] == "killed by SIGKILL; last line: allocating"
    )


def test_how_a_process_ended_is_said(tmp_path: Path) -> None:
    dying = python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert members(dying, seconds=HANG_SECONDS, folder=tmp_path)[0] == "killed by SIGSEGV; it printed nothing"
    assert members(python("print('well')"), seconds=HANG_SECONDS, folder=tmp_path)[:2] == (None, False)


def test_control_characters_of_a_process_do_not_reach_the_terminal(tmp_path: Path) -> None:
    loud = python("print('\\x1b[2Jred\\x07'); raise SystemExit(1)")
    assert members(loud, seconds=HANG_SECONDS, folder=tmp_path)[0] == "exit code 1; last line: ?[2Jred?"


def test_an_all_reduce_whose_peer_never_comes_ends_by_the_limit(tmp_path: Path) -> None:
    plan = make_plan(detect(), Intent(device="cpu"))
    environ = {**member_environment(plan, os.environ, str(tmp_path)), MARK: uuid.uuid4().hex}
    alone = [sys.executable, "-m", "slipway.launcher.doctor.members.all_reduce", str(tmp_path), "60", "0", "2", "cpu"]
    outcome = run_members([alone], environ, tmp_path, limit_seconds=6)
    assert outcome.timed_out
    assert outcome.problem
    assert outcome.problem.startswith("no end within 6 s")
    assert marked(environ[MARK]) == []


def test_a_member_ends_by_its_own_limit_when_nobody_else_ends_it(tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from slipway.launcher.doctor.members.member import write_report\n"
        f"with write_report({str(tmp_path)!r}, 0.3): time.sleep(300)"
    )
    environ = {**os.environ, PARENT_VARIABLE: str(os.getpid())}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, timeout=HANG_SECONDS)
    assert done.returncode == -signal.SIGALRM


def test_leftovers_of_a_launch_do_not_reach_the_processes(tmp_path: Path) -> None:
    plan = make_plan(detect(), Intent(device="cpu"))
    environ = member_environment(plan, {"WORLD_SIZE": "4", "PET_NNODES": "2", "PATH": "/bin"}, str(tmp_path))
    assert not {"WORLD_SIZE", "PET_NNODES"} & environ.keys()
    assert environ["PATH"] == "/bin"
    assert environ["ACCELERATE_USE_CPU"] == "true"

"""The wrapper of a training process, by itself: what it records, where output goes, what it leaves the script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from slipway.launcher.launch.state_files import LaunchRecord, read_agent_report, read_states
from slipway.launcher.launch.worker import child
from slipway.launcher.plan.make_plan import Intent, make_plan
from slipway.training.common.json_records import to_json
from tests.conftest import ROOT
from tests.launcher.machines import machine
from tests.limits import HANG_SECONDS, wait_until

CHILD = str(child.__file__)


class Wrapped:
    """Runs a script under the wrapper, as a launch would."""

    def __init__(self, folder: Path, affinity: list[str]) -> None:
        self.folder = folder
        plan = json.loads(make_plan(machine(), Intent(device="cpu")).to_json()) | {"cpu_affinity": affinity}
        (folder / "plan.json").write_text(json.dumps(plan))
        record = LaunchRecord(launcher_pid=os.getpid(), started_at=0.0, grace_seconds=0.3, argv=(), folder=str(folder))
        (folder / "launch.json").write_text(to_json(record))

    def run(
        self, text: str, *flags: str, parent: int | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        (self.folder / "script.py").write_text(text)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "TORCHELASTIC_"))}
        ours = {"SLIPWAY_LAUNCH_FOLDER": str(self.folder), "SLIPWAY_PARENT": str(parent or os.getpid())}
        return subprocess.run(
            [sys.executable, *flags, "-u", CHILD, str(self.folder / "script.py")],
            env={**kept, **ours, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )

    def state(self, rank: int = 0) -> Any:
        return read_states(self.folder)[rank]


@pytest.fixture
def wrapped(tmp_path: Path) -> Wrapped:
    return Wrapped(tmp_path, [])


@pytest.mark.parametrize(
    ("statement", "code"),
    [("sys.exit()", 0), ("sys.exit(42)", 42), ("sys.exit(-1)", 255), ("sys.exit('why')", 1), ("sys.exit(75)", 75)],
)
def test_an_exit_code_is_python_s_own_and_recorded(wrapped: Wrapped, statement: str, code: int) -> None:
    done = wrapped.run(f"import sys; {statement}")
    assert done.returncode == code
    assert (wrapped.state().exit_code, wrapped.state().error) == (code, None)
    assert done.stderr == ("why\n" if "why" in statement else "")


def test_torchrun_is_told_0_by_a_rank_that_asks_to_be_resumed_so_that_the_others_may_save(wrapped: Wrapped) -> None:
    done = wrapped.run("import sys; sys.exit(75)", TORCHELASTIC_RUN_ID="x")
    assert (done.returncode, wrapped.state().exit_code) == (0, 75)


def test_other_ranks_write_to_their_log_alone(wrapped: Wrapped) -> None:
    done = wrapped.run("import os; print('hello'); os.system('echo child'); 1 / 0", RANK="3", LOCAL_RANK="1")
    assert (done.stdout, done.stderr) == ("", "")
    log = (wrapped.folder / "rank_3.log").read_text()
    assert log.startswith("hello\nchild\nTraceback")
    assert log.endswith("ZeroDivisionError: division by zero\n")
    state = wrapped.state(3)
    assert (state.rank, state.local_rank, state.exit_code) == (3, 1, 1)
    assert state.traceback == log.removeprefix("hello\nchild\n")


def test_a_script_s_own_hook_shows_the_exception(wrapped: Wrapped) -> None:
    done = wrapped.run("import sys; sys.excepthook = lambda kind, error, trace: print('mine', error); 1 / 0")
    assert done.returncode == 1
    assert (done.stdout, done.stderr) == ("mine division by zero\n", "")
    assert wrapped.state().error == "ZeroDivisionError: division by zero"


def test_a_chained_exception_and_a_syntax_error_look_as_under_python(wrapped: Wrapped) -> None:
    for text in ("try: 1 / 0\nexcept Exception as error: raise KeyError('x') from error", "def f(:\n"):
        done = wrapped.run(text)
        plain = subprocess.run(
            [sys.executable, str(wrapped.folder / "script.py")], capture_output=True, text=True, check=False
        )
        assert done.stderr == plain.stderr


def test_what_runs_at_exit_still_has_its_module(wrapped: Wrapped) -> None:
    text = "import atexit, sys\nNAME = 'kept'\natexit.register(lambda: print(NAME, sys.modules['__main__'].NAME))\n"
    assert wrapped.run(text).stdout == "kept kept\n"


def test_a_lost_peer_is_told_from_an_error_of_ones_own(wrapped: Wrapped) -> None:
    gloo = "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711"
    wrapped.run(f"raise RuntimeError({gloo!r})")
    assert wrapped.state().lost_peer
    wrapped.run("raise RuntimeError('bad luck')")
    assert not wrapped.state().lost_peer


def test_a_crash_in_c_code_leaves_its_stack_in_the_log(wrapped: Wrapped) -> None:
    done = wrapped.run("import ctypes\ndef crash(): ctypes.string_at(0)\ncrash()\n", RANK="1")
    assert done.returncode == -signal.SIGSEGV
    assert "in crash" in (wrapped.folder / "rank_1.log").read_text()
    assert wrapped.state(1).exit_code is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no CPUs")
def test_a_rank_keeps_to_its_cpus(tmp_path: Path) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    text = "import os; print(sorted(os.sched_getaffinity(0)))"
    bound = Wrapped(tmp_path, [f"{allowed[-1]}", f"{allowed[0]}"]).run(text, LOCAL_RANK="0")
    assert bound.stdout == f"[{allowed[-1]}]\n"
    wrong = Wrapped(tmp_path, ["1048575"]).run(text)
    assert wrong.returncode == 0
    assert "cannot be bound" in wrong.stderr


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_process_ends_with_its_parent_also_where_the_kernel_does_not_help(tmp_path: Path, platform: str) -> None:
    if platform == "linux" and sys.platform != "linux":
        pytest.skip("not Linux")
    said = tmp_path / "said"
    orphan = (
        "import os, signal, time, types\n"
        "from slipway.training.common.program import lifeline\n"
        f"file = open({str(said)!r}, 'a', buffering=1)\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: print('got', number, file=file))\n"
        f"lifeline.sys = types.SimpleNamespace(platform={platform!r})\n"
        "lifeline.end_with_parent(os.getppid(), signal.SIGTERM, 0.3)\n"
        "print(os.getpid(), file=file)\n"
        "time.sleep(600)\n"
    )
    parent = (
        "import subprocess, sys, time, os\n"
        f"subprocess.Popen([sys.executable, '-c', {orphan!r}])\n"
        f"while not (os.path.exists({str(said)!r}) and os.path.getsize({str(said)!r})): time.sleep(0.01)\n"
    )
    subprocess.run([sys.executable, "-c", parent], cwd=ROOT, check=True, timeout=HANG_SECONDS)
    pid = int(said.read_text().split()[0])
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert said.read_text().splitlines()[1:] == ["got 15"]


def test_a_process_whose_parent_is_gone_already_does_not_start(wrapped: Wrapped) -> None:
    done = wrapped.run("print('ran')", parent=1)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == ""


def test_the_log_goes_on_when_the_reader_of_the_output_is_gone(wrapped: Wrapped) -> None:
    # As in `slipway launch script.py | head -1`: a training does not end because nobody looks.
    (wrapped.folder / "script.py").write_text("import time\nfor i in range(20): print(i); time.sleep(0.01)\n")
    ours = {"SLIPWAY_LAUNCH_FOLDER": str(wrapped.folder), "SLIPWAY_PARENT": str(os.getpid())}
    process = subprocess.Popen(
        [sys.executable, "-u", CHILD, str(wrapped.folder / "script.py")],
        env={**os.environ, **ours},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.wait(timeout=HANG_SECONDS) == 0
    assert (wrapped.folder / "rank_0.log").read_text().split() == [str(i) for i in range(20)]


def test_a_safe_path_stays_safe(wrapped: Wrapped) -> None:
    done = wrapped.run("import sys; print(sys.path)", "-P", PYTHONPATH="")
    assert (
        done.stdout
        == subprocess.run(
            [sys.executable, "-P", str(wrapped.folder / "script.py")],
            env={**os.environ, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


def test_a_record_that_is_no_record_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "rank_0.json").write_text("{")
    (tmp_path / "agent.json").write_text('{"exit_codes": {"one": 1}}')
    assert read_states(tmp_path) == {}
    assert read_agent_report(tmp_path) == {}


def test_an_exit_code_beyond_a_byte_is_cut_as_the_system_does() -> None:
    assert [child._exit_code(code) for code in (None, True, 0, 256 + 3, -2)] == [0, 1, 0, 3, 254]

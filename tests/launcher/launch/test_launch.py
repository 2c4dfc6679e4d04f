"""`slipway launch` as a person meets it: what it refuses, what it shows, and one process that it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.launcher.launch.environment import stale_variables, starts_directly
from slipway.launcher.plan.make_plan import Intent, make_plan
from slipway.training.common.plan_file import LaunchPlan
from tests.conftest import ROOT
from tests.launcher.helpers import assert_one_line_error
from tests.launcher.launches import Launches, launches
from tests.launcher.machines import FOLDER, machine
from tests.limits import HANG_SECONDS, wait_until

__all__ = ["launches"]

STUBBORN = """
import signal, subprocess, sys, time
for one in (signal.SIGTERM, signal.SIGINT):
    signal.signal(one, lambda number, frame: print("got", number, flush=True))
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("up", flush=True)
while True:
    time.sleep(0.1)
"""


def test_without_a_script_it_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_line_error(["launch"], "name the SCRIPT to start", capsys)
    assert_one_line_error(["launch", "--num-processes", "2"], "name the SCRIPT to start", capsys)


def test_a_wrong_script_names_the_nearest_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.py").touch()
    assert_one_line_error(["launch", str(tmp_path / "tran.py")], "did you mean 'train.py'?", capsys)
    assert_one_line_error(["launch", str(tmp_path)], "is a folder", capsys)
    assert_one_line_error(["launch", str(tmp_path / "nowhere" / "train.py")], "no such file", capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-proceses", "2", "x.py"], "did you mean '--num-processes'?"),
        (["--num-processes", "two", __file__], "--num-processes: expected a whole number"),
        (["--hardware", str(FOLDER / "t4.json"), __file__], "add --dry-run"),
        (["--json", __file__], "add --dry-run"),
        (["--grace-seconds", "-1", __file__], "must be 0 or more"),
        (["--log-dir", "/proc/nowhere", __file__], "--log-dir /proc/nowhere"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line_error(["launch", *arguments], message, capsys)


def test_a_dry_run_shows_command_environment_and_files_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (tmp_path / "x.py").touch()
    before = dict(os.environ)
    launch = ["launch", "--dry-run", "--device", "cpu", "--num-processes", "2", "--threads-per-process", "1"]
    assert cli.main([*launch, "x.py", "--lr", "1 e"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(sys.executable)
    assert lines[0].endswith("ranks.py x.py --lr '1 e'")
    assert "  ~ OMP_NUM_THREADS=1 (was 3)" in lines
    assert "  - WORLD_SIZE=4" in lines
    assert any(line.startswith("  + SLIPWAY_PLAN=") for line in lines)
    assert "  distributed_type: MULTI_GPU" in lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.py"]
    assert dict(os.environ) == before


def test_a_dry_run_as_json_plans_for_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").touch()
    hardware = ["--hardware", str(FOLDER / "8xh100.json")]
    assert cli.main(["launch", "--dry-run", "--json", *hardware, "x.py"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema_version"] == 1
    assert shown["argv"][-1] == "x.py"
    (plan,) = (content for path, content in shown["files"].items() if path.endswith("plan.json"))
    assert LaunchPlan.from_json(plan).num_processes == 8


def test_each_of_several_machines_starts_its_own_part_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").touch()
    options = ["--num-machines", "2", "--machine-rank", "1", "--main-process-ip", "10.0.0.1", "--num-processes", "4"]
    assert cli.main(["launch", "--dry-run", "--json", "--device", "cpu", *options, "x.py"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    (plan,) = (json.loads(content) for path, content in files.items() if path.endswith("plan.json"))
    assert (plan["machine_rank"], plan["num_machines"], plan["num_processes"]) == (1, 2, 4)


def test_a_busy_port_is_an_error_where_several_machines_must_agree_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").touch()
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        options = ["--num-machines", "2", "--num-processes", "4", "--main-process-ip", "10.0.0.1"]
        launch = ["launch", "--dry-run", "--device", "cpu", *options, "--main-process-port", port]
        assert_one_line_error([*launch, "--machine-rank", "0", "x.py"], f"--main-process-port {port}: another", capsys)
        assert cli.main([*launch, "--machine-rank", "1", "x.py"]) == 0


def test_arguments_reach_the_script_word_for_word(launches: Launches) -> None:
    script = launches.script("import json, sys; print(json.dumps(sys.argv))")
    words = ["a b", "--", "--num-processes", "3", "--dry-run", "-m", "$HOME ${local_rank} $$", "--json=é", "", "-u"]
    done = launches.run("--device", "cpu", "script.py", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["script.py", *words]
    after = launches.run("--", "script.py", "--help")
    assert json.loads(after.stdout) == ["script.py", "--help"]
    assert script.exists()


def test_the_script_finds_what_it_would_find_under_python(launches: Launches) -> None:
    launches.script("NAME = 'mine'", "launcher.py")  # the name of this package
    launches.script(
        "import sys, launcher, multiprocessing\n"
        "def double(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(double, [21]))\n"
        "    print(launcher.NAME, __file__, sys.path[0], __spec__, sys.modules['__main__'].double.__module__)\n"
    )
    command = [sys.executable, "script.py"]
    plain = subprocess.run(
        command, cwd=launches.folder, env=launches.environment(), capture_output=True, text=True, check=True
    )
    assert "mine" in plain.stdout
    assert launches.run("script.py").stdout == plain.stdout


def test_a_module_runs_as_under_python(launches: Launches) -> None:
    (launches.folder / "package").mkdir()
    launches.script("import sys; print(__name__, __package__, sys.argv[1:])", "package/__main__.py")
    done = launches.run("-m", "package", "-m", "x")
    assert (done.returncode, done.stdout) == (0, "__main__ package ['-m', 'x']\n")


def test_the_header_is_one_line_and_the_folder_has_plan_config_and_log(launches: Launches) -> None:
    launches.script("import os; print(os.environ['SLIPWAY_PLAN']); print(os.environ['SLIPWAY_LAUNCH_FOLDER'])")
    done = launches.run("--device", "cpu", "script.py")
    folder = launches.launch_folder()
    assert done.stdout.splitlines() == [str(folder / "plan.json"), str(folder)]
    assert len(done.stderr.splitlines()) == 1
    assert f"1 process on cpu, precision no; config {folder.relative_to(launches.folder)}/config.yaml" in done.stderr
    plan = LaunchPlan.from_json((folder / "plan.json").read_text())
    assert (plan.num_processes, plan.device) == (1, "cpu")
    assert "distributed_type: 'NO'" in (folder / "config.yaml").read_text()
    assert launches.states()[0]["exit_code"] == 0


def test_variables_of_another_launch_are_not_passed_on(launches: Launches) -> None:
    launches.script("import os, json; print(json.dumps(dict(os.environ)))")
    stale = {
        "WORLD_SIZE": "4",
        "RANK": "3",
        "PET_NNODES": "2",
        "ACCELERATE_USE_FSDP": "true",
        "OMPI_COMM_WORLD_SIZE": "2",
    }
    done = launches.run("--device", "cpu", "script.py", environment=launches.environment(**stale, MY_OWN="kept"))
    found = json.loads(done.stdout)
    assert {name: found.get(name) for name in stale} == {**dict.fromkeys(stale), "WORLD_SIZE": "1", "RANK": "0"}
    assert found["MY_OWN"] == "kept"
    assert "SLIPWAY_PARENT" not in found
    assert f"another launch's variables are not passed on: {', '.join(sorted(stale))}" in done.stderr
    assert "warning" not in done.stderr


def test_the_exit_code_is_the_script_s(launches: Launches) -> None:
    launches.script("import sys; print('last words'); sys.exit(42)")
    done = launches.run("script.py")
    assert done.returncode == 42
    assert "slipway launch: failed: exit code 42; log runs" in done.stderr
    assert launches.states()[0]["exit_code"] == 42


def test_an_exception_looks_as_under_python_and_is_recorded(launches: Launches) -> None:
    launches.script("def f():\n    raise ValueError('bad luck')\nf()\n")
    plain = subprocess.run(
        [sys.executable, "script.py"], cwd=launches.folder, capture_output=True, text=True, check=False
    )
    done = launches.run("script.py")
    assert done.returncode == 1
    assert "".join(done.stderr.splitlines(keepends=True)[1:-1]) == plain.stderr
    assert "failed: ValueError: bad luck; log " in done.stderr.splitlines()[-1]
    (state,) = launches.states()
    assert (state["exit_code"], state["error"]) == (1, "ValueError: bad luck")
    assert state["ended_at"] >= state["started_at"]
    assert plain.stderr in launches.logs()[0].read_text()


def test_a_process_that_a_signal_ends_is_128_plus_its_number(launches: Launches) -> None:
    launches.script("import os; print('alive', flush=True); os.kill(os.getpid(), 9)")
    done = launches.run("script.py")
    assert done.returncode == 137
    assert "failed: killed by SIGKILL" in done.stderr
    launches.script("import os; print('no goodbye', flush=True); os._exit(7)")
    assert launches.run("script.py").returncode == 7


def test_all_output_is_kept_in_order_also_of_c_code_and_of_what_dies(launches: Launches) -> None:
    launches.script(
        "import ctypes, os, sys\n"
        "for i in range(2000): print('line', i, file=(sys.stdout, sys.stderr)[i % 2])\n"
        "ctypes.CDLL(None).puts(b'from C'); ctypes.CDLL(None).fflush(None)\n"
        "os.system('echo from a child')\n"
        "print('the last', flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = launches.run("script.py", stderr=subprocess.STDOUT)
    expected = [*(f"line {i}" for i in range(2000)), "from C", "from a child", "the last"]
    assert done.stdout.splitlines()[1:-1] == expected
    assert launches.logs()[0].read_text().splitlines() == expected


def test_stdout_and_stderr_stay_apart(launches: Launches) -> None:
    launches.script("import sys; print('result'); print('talk', file=sys.stderr)")
    done = launches.run("script.py")
    assert done.stdout == "result\n"
    assert done.stderr.splitlines()[1:] == ["talk"]
    assert sorted(launches.logs()[0].read_text().split()) == ["result", "talk"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_process(launches: Launches, number: int, code: int) -> None:
    launches.script("import time; print('up', flush=True); time.sleep(600)")
    process = launches.start("script.py")
    launches.until_said("up")
    process.send_signal(number)
    _, err = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == code
    assert f"stopped by {signal.Signals(number).name}" in err
    assert launches.left() == []


def test_what_ignores_a_signal_is_killed_after_the_grace_time_with_its_children(launches: Launches) -> None:
    launches.script(STUBBORN)
    process = launches.start("--grace-seconds", "0.5", "script.py")
    launches.until_said("up")
    process.terminate()
    _, err = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 143
    assert "stopped by SIGTERM; 2 processes had to be killed" in err
    assert launches.logs()[0].read_text().splitlines() == ["up", "got 15"]
    assert launches.left() == []


def test_a_killed_launcher_leaves_nothing(launches: Launches) -> None:
    launches.script(STUBBORN)
    process = launches.start("--grace-seconds", "0.5", "script.py")
    launches.until_said("up")
    process.kill()
    wait_until(lambda: not launches.left())
    assert launches.logs()[0].read_text().splitlines() == ["up", "got 15"]


def test_other_signals_are_passed_on_and_do_not_stop_it(launches: Launches) -> None:
    launches.script(
        "import signal, sys, time\n"
        "for one in ('SIGUSR1', 'SIGUSR2', 'SIGHUP'):\n"
        "    signal.signal(getattr(signal, one), lambda number, frame: print('got', number, flush=True))\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(75))\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    process = launches.start("script.py")
    launches.until_said("up")
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        process.send_signal(number)
        launches.until_said(f"got {int(number)}")
    process.terminate()
    out, err = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 75
    assert "stopped by SIGTERM, resumable" in err
    assert len(out.splitlines()) == 4


def test_a_process_that_the_script_left_running_ends_with_it(launches: Launches) -> None:
    launches.script(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    )
    done = launches.run("--grace-seconds", "1", "script.py")
    assert done.returncode == 0
    assert "1 process left running: ended with the script" in done.stderr
    assert launches.left() == []


def test_a_folder_whose_logs_a_run_keeps_is_removed(launches: Launches) -> None:
    text = "import os, sys; os.link(os.environ['SLIPWAY_LAUNCH_FOLDER'] + '/rank_0.log', 'kept.log'); sys.exit({})"
    launches.script(text.format(0))
    assert launches.run("--log-dir", "logs", "script.py").returncode == 0
    assert not (launches.folder / "logs").exists()
    (launches.folder / "kept.log").unlink()
    launches.script(text.format(3))
    assert launches.run("--log-dir", "logs", "script.py").returncode == 3
    assert len(list((launches.folder / "logs").iterdir())) == 1


def test_the_newest_twenty_launches_are_kept_and_nothing_else_is_touched(launches: Launches) -> None:
    logs = launches.folder / "logs"
    for second in range(30):
        folder = logs / f"20200101T0000{second:02d}Z-{2**22 + 1}"  # above any pid
        folder.mkdir(parents=True)
        host = "elsewhere" if second == 3 else socket.gethostname()
        (folder / "launch.json").write_text(json.dumps({"host": host}))
    running = logs / f"20190101T000000Z-{os.getpid()}"
    running.mkdir()
    (logs / "mine").mkdir()
    launches.script("")
    assert launches.run("--log-dir", "logs", "script.py").returncode == 0
    names = sorted(path.name for path in logs.iterdir())
    assert len(names) == 23
    of_another_host = f"20200101T000003Z-{2**22 + 1}"
    assert {"mine", running.name, of_another_host, f"20200101T000029Z-{2**22 + 1}"} <= set(names)


def test_one_process_gets_what_accelerate_s_own_launcher_sets() -> None:
    """The direct start must not drift from Accelerate: its own function is asked, in a process of its own."""
    from slipway.launcher.launch.environment import environment_of

    program = (
        "import json, sys\n"
        "from accelerate.commands.launch import _validate_launch_command, launch_command_parser\n"
        "from accelerate.utils.launch import prepare_simple_launcher_cmd_env\n"
        "args, _, _ = _validate_launch_command(launch_command_parser().parse_args(sys.argv[1:]))\n"
        "print(json.dumps(prepare_simple_launcher_cmd_env(args)[1]))\n"
    )
    plan = make_plan(machine(), Intent(device="cpu", num_processes=1, threads_per_process=2))
    options = ["--cpu", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "x.py"]
    plain = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program, *options], env=plain, capture_output=True, text=True, check=True
    )
    ours = environment_of(plan, plain, "plan", "folder")
    theirs = json.loads(done.stdout.splitlines()[-1])
    theirs = {name: value for name, value in theirs.items() if name not in ("LC_CTYPE", "KMP_INIT_AT_FORK")}
    assert starts_directly(plan)
    # Accelerate has True, the plan true: it reads both.
    assert {name: ours[name].lower() for name in theirs} == {name: value.lower() for name, value in theirs.items()}


def test_what_tells_accelerate_how_to_speak_is_kept() -> None:
    assert stale_variables({"ACCELERATE_LOG_LEVEL": "info", "ACCELERATE_USE_CPU": "1", "LC_ALL": "C"}) == [
        "ACCELERATE_USE_CPU"
    ]


def test_the_launcher_imports_no_torch() -> None:
    program = (
        "import sys\n"
        "from slipway.launcher.launch import command, self_launch\n"
        "from slipway.launcher.launch.worker import agent\n"
        "from slipway.launcher.launch.supervise import supervisor\n"
        "sys.exit(any(name.partition('.')[0] in ('torch', 'accelerate', 'numpy') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_the_variables_of_a_job_on_other_hosts_are_refused_before_anything_waits(
    launches: Launches, tmp_path: Path
) -> None:
    script = launches.script("print('alone')")
    job = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "3", "SLURM_JOB_NODELIST": "gone[1-3]", "SLURM_NODEID": "1"}
    done = launches.run("--device", "cpu", script, environment=launches.environment(**job))
    assert done.returncode == 2
    assert "SLURM_JOB_ID=7 is a job on gone[1-3]" in done.stderr
    assert "--num-machines 1" in done.stderr
    done = launches.run("--device", "cpu", "--num-machines", "1", script, environment=launches.environment(**job))
    assert (done.returncode, done.stdout) == (0, "alone\n")


def test_tokens_of_the_command_are_in_no_file_of_the_launch_and_reach_the_script(launches: Launches) -> None:
    script = launches.script(
        "import os, sys; print(sys.argv[1] + os.environ['HF_TOKEN'] == '--hf-token=planted-1planted-22')"
    )
    environment = launches.environment(HF_TOKEN="planted-22")
    done = launches.run("--device", "cpu", script, "--hf-token=planted-1", "planted-22", environment=environment)
    assert (done.returncode, done.stdout) == (0, "True\n")
    texts = [path.read_text() for path in launches.launch_folder().iterdir()]
    assert len(texts) > 3
    assert [text for text in texts if "planted" in text] == []
    assert any("--hf-token=***" in text for text in texts)

"""`slipway launch` of several processes, through Accelerate and torchrun's agent: logs, failures, signals, ports."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.conftest import ROOT
from tests.launcher.launches import Launches, launches
from tests.limits import HANG_SECONDS, wait_until

__all__ = ["launches"]
TWO = ("--device", "cpu", "--num-processes", "2", "--main-process-port", "0")  # any free port: tests run side by side
BY_ACCELERATE = "dynamo_config: {dynamo_backend: EAGER}\nnum_processes: 2\n"
"""A section of its own config goes through its own launcher."""

pytestmark = pytest.mark.slow


def workers(launches: Launches) -> dict[int, psutil.Process]:
    return {state["rank"]: psutil.Process(state["pid"]) for state in launches.states()}


def test_two_ranks_run_with_their_own_logs_and_a_port_that_is_free(launches: Launches) -> None:
    launches.script(
        "import json, os, sys\n"
        "names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_PORT', 'ACCELERATE_USE_CPU', 'TORCH_CPP_LOG_LEVEL')\n"
        "print(json.dumps([sys.argv, __name__, {name: os.environ.get(name) for name in names}]))\n"
        "print('talk', file=sys.stderr)\n"
    )
    words = ["--num_processes", "3", "a b", "--", "$x ${local_rank} $$", "-m"]
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = launches.run(*TWO, "--main-process-port", port, "script.py", *words)
    assert done.returncode == 0, done.stderr
    logs = [log.read_text() for log in launches.logs()]
    said = [json.loads(next(line for line in log.splitlines() if line.startswith("["))) for log in logs]
    for rank, (argv, name, variables) in enumerate(said):
        assert (argv, name) == (["script.py", *words], "__main__")
        assert (variables["RANK"], variables["LOCAL_RANK"], variables["WORLD_SIZE"]) == (str(rank), str(rank), "2")
        assert variables["ACCELERATE_USE_CPU"].lower() == "true"
        assert variables["TORCH_CPP_LOG_LEVEL"] is None
        assert int(variables["MASTER_PORT"]) != port
    # The terminal has what rank 0 says, apart, and nothing of rank 1 or of the agent.
    assert done.stdout == next(line for line in logs[0].splitlines(keepends=True) if line.startswith("["))
    header, note, talk = done.stderr.splitlines()
    assert "2 processes on cpu" in header
    assert f"port {port} is taken: {said[0][2]['MASTER_PORT']} is used instead" in note
    assert talk == "talk"
    folder = launches.launch_folder()
    assert json.loads((folder / "plan.json").read_text())["main_process_port"] == int(said[0][2]["MASTER_PORT"])
    assert all(state["exit_code"] == 0 for state in launches.states())


def test_the_first_failing_rank_s_traceback_is_shown_alone(launches: Launches) -> None:
    launches.script(
        "import os, time\n"
        "def work():\n"
        "    if os.environ['RANK'] == '1': raise ValueError('bad luck')\n"
        "    time.sleep(600)\n"
        "work()\n"
    )
    done = launches.run(*TWO, "script.py")
    assert done.returncode == 1
    _, block, *trace = done.stderr.splitlines()
    assert "rank 1 failed first: ValueError: bad luck; log runs" in block
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "ValueError: bad luck"
    assert [line for line in trace if line.startswith("  File")] == [
        f'  File "{launches.folder}/script.py", line 5, in <module>',
        f'  File "{launches.folder}/script.py", line 3, in work',
    ]
    assert "\n".join(trace) in (launches.launch_folder() / "rank_1.log").read_text()


def test_an_exit_code_of_any_rank_comes_back_with_its_last_lines(launches: Launches) -> None:
    launches.script(
        "import os, sys, time\n"
        "if os.environ['RANK'] == '0': time.sleep(600)\n"
        "for i in range(50): print('line', i)\n"
        "sys.exit(42)\n"
    )
    done = launches.run(*TWO, "script.py")
    assert done.returncode == 42
    _, block, *lines = done.stderr.splitlines()
    assert "rank 1 failed first: exit code 42; log runs" in block
    assert lines == [f"line {i}" for i in range(30, 50)]


def test_where_all_ranks_stop_alike_rank_0_has_said_why_and_it_is_not_repeated(launches: Launches) -> None:
    launches.script(
        "import os, sys, time\n"
        "if os.environ['RANK'] == '0':\n"
        "    open('up', 'w').close()\n"
        "    time.sleep(0.7)\n"
        "    print('error: no such data', file=sys.stderr)\n"
        "while not os.path.exists('up'):\n"
        "    time.sleep(0.01)\n"
        "sys.exit(2)\n"
    )
    done = launches.run(*TWO, "script.py")
    assert done.returncode == 2
    assert done.stderr.count("error: no such data") == 1
    assert "rank 0 failed first: exit code 2" in done.stderr.splitlines()[-1]


def test_a_rank_that_a_signal_ends_is_found_though_it_says_nothing(launches: Launches) -> None:
    launches.script(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    process = launches.start(*TWO, "--grace-seconds", "1", "script.py")
    launches.until_said("up", 2)
    workers(launches)[1].kill()
    _, err = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 137
    assert "rank 1 failed first: killed by SIGKILL (as the kernel does when memory runs out)" in err
    assert err.splitlines()[-1] == "up"


def test_sigterm_ends_ranks_that_ignore_it_after_the_grace_time(launches: Launches) -> None:
    launches.script(
        "import os, signal, subprocess, sys, time\n"
        "for one in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):\n"
        "    signal.signal(one, lambda number, frame: print('got', number, flush=True))\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    process = launches.start(*TWO, "--grace-seconds", "1", "script.py")
    launches.until_said("up", 2)
    process.send_signal(signal.SIGUSR1)
    launches.until_said("got 10", 2)
    process.terminate()
    _, err = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 143
    # On a busy machine the agent is one of them, where it has no time left to report.
    assert re.search(r"stopped by SIGTERM; [45] processes had to be killed", err)
    assert "Traceback" not in err
    # Each of them once, from the launcher and not from the agent too.
    assert [log.read_text().split("\n")[:-1] for log in launches.logs()] == [["up", "got 10", "got 15"]] * 2
    assert launches.left() == []


def test_ranks_that_saved_and_ask_to_be_resumed_end_in_75_however_long_one_takes(launches: Launches) -> None:
    launches.script(
        "import os, signal, sys, time\n"
        "def stop(number, frame):\n"
        "    time.sleep(1.0 if os.environ['RANK'] == '0' else 0.0)\n"
        "    print('saved', flush=True)\n"
        "    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    process = launches.start(*TWO, "script.py")
    launches.until_said("up", 2)
    process.terminate()
    out, err = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 75
    assert out.splitlines() == ["up", "saved"]
    assert "stopped by SIGTERM, resumable" in err


def test_a_launcher_that_is_killed_leaves_no_rank_that_ignores_signals(launches: Launches) -> None:
    launches.script(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: print('got', number, flush=True))\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    process = launches.start(*TWO, "--grace-seconds", "1", "script.py")
    launches.until_said("up", 2)
    process.kill()
    wait_until(lambda: not launches.left())
    # At least once: the kernel tells it again for each thread of the agent that its children pass to.
    assert [set(log.read_text().splitlines()) for log in launches.logs()] == [{"up", "got 15"}] * 2


def test_a_stop_before_there_is_a_rank_ends_the_agent(launches: Launches) -> None:
    launches.script("import time; time.sleep(600)")
    launches.script(BY_ACCELERATE, "config.yaml")
    process = launches.start(*TWO, "--config", "config.yaml", "script.py")
    wait_until(lambda: list(launches.folder.glob("runs/.launches/*/agent.log")))
    process.terminate()
    assert process.wait(timeout=HANG_SECONDS) == 143
    assert launches.left() == []


def test_an_agent_that_cannot_start_shows_the_end_of_its_log(launches: Launches) -> None:
    launches.script("")
    (launches.folder / "accelerate").mkdir()
    launches.script("raise ImportError('this accelerate is broken')", "accelerate/__init__.py")
    environment = launches.environment(PYTHONPATH=os.pathsep.join([str(launches.folder), str(ROOT)]))
    launches.script(BY_ACCELERATE, "config.yaml")
    done = launches.run(*TWO, "--config", "config.yaml", "script.py", environment=environment)
    assert done.returncode == 1
    assert "no process was started; the log of the agent that starts the ranks, runs" in done.stderr
    assert done.stderr.splitlines()[-1] == "ImportError: this accelerate is broken"


def test_the_training_really_trains_on_two_ranks(launches: Launches, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(4, 8, 24)
    values = random.normal(size=(lengths.sum(), 21, 3)).astype(np.float32)
    np.savez(tmp_path / "clips.npz", X=values, y=np.arange(24) % 2, lengths=lengths)
    options = ["--stages-config", "minimal", "--epochs", "1", "--batch-size", "4"]
    options += ["--model-width", "16", "--model-blocks", "1"]
    started = time.time()
    done = launches.run(
        *TWO, ROOT / "bin" / "train.py", "--data", tmp_path / "clips.npz", "--runs-dir", tmp_path / "trained", *options
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "trained").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert (record["world_size"], record["state"]) == (2, "finished")
    assert (run / "run.json").stat().st_mtime > started


@pytest.mark.parametrize("by_accelerate", [False, True])
@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_to_every_process_there_is_saves_all_ranks(
    signum: signal.Signals, by_accelerate: bool, launches: Launches
) -> None:
    """SLURM sends the signals of a step so, and systemd those of a unit."""
    (launches.folder / "f.yaml").write_text(BY_ACCELERATE)
    script = launches.script(
        "import signal, sys, time\n"
        "told = []\n"
        "for one in (signal.SIGUSR1, signal.SIGTERM):\n"
        "    signal.signal(one, lambda number, frame: told.append(number))\n"
        "print('ready', flush=True)\n"
        "while not told:\n"
        "    time.sleep(0.01)\n"
        "time.sleep(0.3)\n"  # to save
        "print('saved', flush=True)\n"
        "sys.exit(75)\n"
    )
    process = launches.start(*TWO, *(("--config", "f.yaml") if by_accelerate else ()), script)
    launches.until_said("ready", 2)
    for one in launches.left():
        with contextlib.suppress(psutil.Error):
            one.send_signal(signum)
    assert process.wait(HANG_SECONDS) == 75
    launches.until_said("saved", 2)

"""`slipway launch --max-restarts` with real processes that crash, are killed, or are asked to stop."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pexpect
import psutil
import pytest

from slipway.launcher.launch.state_files import read_progress
from tests.conftest import ROOT
from tests.launcher.launches import SLIPWAY, Launches, launches
from tests.limits import HANG_SECONDS, wait_until

__all__ = ["launches"]

COUNTED = """
import os, pathlib, signal, sys, time
counter = pathlib.Path("starts")
start = len(counter.read_text()) + 1 if counter.exists() else 1
counter.write_text("x" * start)
print("start", start, os.environ.get("SLIPWAY_RESTART"), flush=True)
"""


def test_a_script_is_started_until_it_ends_well_and_no_log_is_lost(launches: Launches) -> None:
    launches.script(
        COUNTED
        + "if start == 1: raise ValueError('bad luck')\n"
        + "if start == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = launches.run("--max-restarts", "5", "script.py", environment=launches.environment(SLIPWAY_RESTART="7"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["start 1 None", "start 2 1", "start 3 2"]
    folder = launches.launch_folder()
    folders = [folder, folder / "restart_1", folder / "restart_2"]
    assert [(one / "rank_0.log").read_text().splitlines()[0] for one in folders] == done.stdout.splitlines()
    said = [line for line in done.stderr.splitlines() if re.match(r"slipway launch: |  \d", line)][1:]
    assert [re.sub(r"; log runs\S+|, \d+ s(?=:)", "", line.removeprefix("slipway launch: ")) for line in said] == [
        "failed: ValueError: bad luck",
        "restart 1 of 5 in 1 s: the process failed: ValueError: bad luck",
        "failed: killed by SIGKILL (as the kernel does when memory runs out)",
        "restart 2 of 5 in 2 s: the process failed: killed by SIGKILL",
        "3 starts:",
        "  1: the process failed: ValueError: bad luck",
        "  2: the process failed: killed by SIGKILL",
        "  3: finished",
    ]


def test_a_script_that_fails_at_once_for_the_same_reason_is_given_up(launches: Launches) -> None:
    launches.script(COUNTED + "raise ValueError(f'bad luck at {id(start):#x}, start {start}')\n")
    done = launches.run("--max-restarts", "5", "script.py")
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["start 1 None", "start 2 1"]
    assert (
        "given up: it failed twice after about the same time for the same reason, ValueError: bad luck" in done.stderr
    )


def test_restarts_come_to_an_end(launches: Launches) -> None:
    launches.script(COUNTED + "sys.exit(40 + start)\n")
    done = launches.run("--max-restarts", "1", "script.py")
    assert (done.returncode, done.stdout.count("start")) == (42, 2)
    assert "given up: it has been restarted once\n" in done.stderr


@pytest.mark.parametrize(
    ("end", "code"), [("sys.exit(2)", 2), ("sys.exit(75)", 75), ("os.kill(os.getpid(), signal.SIGTERM)", 143)]
)
def test_bad_input_and_preemption_are_not_restarted(launches: Launches, end: str, code: int) -> None:
    launches.script(COUNTED + end + "\n")
    done = launches.run("--max-restarts", "5", "script.py")
    assert (done.returncode, done.stdout.count("start")) == (code, 1)
    assert "restart" not in done.stderr


def test_a_stop_that_was_asked_for_is_no_crash(launches: Launches) -> None:
    launches.script(
        COUNTED
        + "signal.signal(signal.SIGTERM, lambda number, frame: os.abort())\n"
        + "print('up', flush=True)\n"
        + "while True: time.sleep(0.05)\n"
    )
    process = launches.start("--max-restarts", "5", "script.py")
    launches.until_said("up")
    process.terminate()
    out, err = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, out.count("start")) == (143, 1)
    assert "restart" not in err


def test_a_screen_that_is_killed_leaves_a_line_of_its_own_and_the_cursor(launches: Launches) -> None:
    launches.script(
        "import os, sys\n"
        "if 'SLIPWAY_RESTART' in os.environ: sys.exit()\n"
        "print('\\x1b[?25lhalf a line', end='', flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    terminal = pexpect.spawn(
        SLIPWAY[0],
        [*SLIPWAY[1:], "launch", "--max-restarts", "1", "script.py"],
        cwd=str(launches.folder),
        env=launches.environment(TERM="xterm"),  # type: ignore[arg-type]
        encoding="utf-8",
        timeout=HANG_SECONDS,
        dimensions=(40, 200),
    )
    terminal.expect_exact("half a line\x1b[?25h\r\nslipway launch: failed: killed by SIGKILL")
    terminal.expect_exact("restart 1 of 1 in 1 s: the process failed: killed by SIGKILL\r\n")
    terminal.expect(r"2, \d+ s: finished")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


@pytest.mark.slow
def test_when_the_agent_is_killed_both_ranks_start_again(launches: Launches) -> None:
    launches.script(
        "import os, sys, time\n"
        "print('agent', os.getppid(), flush=True)\n"
        "if 'SLIPWAY_RESTART' not in os.environ: time.sleep(600)\n"
    )
    process = launches.start(
        "--device", "cpu", "--num-processes", "2", "--main-process-port", "0", "--max-restarts", "1", "script.py"
    )
    wait_until(lambda: any(log.read_text().endswith("\n") for log in launches.logs()))
    agent = next(log.read_text().split()[1] for log in launches.logs() if log.read_text().endswith("\n"))
    psutil.Process(int(agent)).kill()
    _, err = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0, err
    assert "the agent that starts the ranks failed first: killed by SIGKILL" in err
    assert "restart 1 of 1 in 1 s: the agent that starts the ranks failed: killed by SIGKILL" in err


@pytest.mark.slow
def test_a_training_whose_rank_is_killed_ends_with_the_weights_it_would_have_had(launches: Launches) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(4, 8, 64)
    values = random.normal(size=(lengths.sum(), 21, 3)).astype(np.float32)
    np.savez(launches.folder / "clips.npz", X=values, y=np.arange(64) % 2, lengths=lengths)
    options = ["--data", "clips.npz", "--train-ratio", "0.7", "--stages-config", "minimal", "--epochs", "12"]
    options += [
        "--patience",
        "1000",
        "--batch-size",
        "4",
        "--micro-batch-size",
        "4",
        "--model-width",
        "16",
        "--model-blocks",
        "1",
    ]
    options += ["--model-blocks", "1", "--save-every", "10step"]
    launch = ["--device", "cpu", "--num-processes", "2", "--main-process-port", "0", "--max-restarts", "2"]
    command = [*launch, ROOT / "bin" / "train.py", *options, "--runs-dir"]
    disturbed = launches.start(*command, "killed")

    def at_work() -> int | None:
        for folder in launches.folder.glob("runs/.launches/*"):
            progress = read_progress(folder)
            if progress is not None and progress.step >= 20:
                return int(json.loads((folder / "rank_0.json").read_text())["pid"])
        return None

    psutil.Process(wait_until(at_work)).kill()
    killed_at = time.time()
    _, err = disturbed.communicate(timeout=HANG_SECONDS)
    assert disturbed.returncode == 0, err
    assert re.search(r"restart 1 of 2 in 1 s from step \d+: rank 0 failed after step \d+: killed", err)
    assert "2 starts:" in err
    undisturbed = launches.start(*command, "plain")
    assert undisturbed.communicate(timeout=HANG_SECONDS)[1] is not None
    assert undisturbed.returncode == 0

    (run,) = (launches.folder / "killed").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert (record["state"], record["result"]["steps"]) == ("finished", 72)
    assert record["resumed"]
    assert (run / "run.json").stat().st_mtime > killed_at
    assert {path.name for path in (run / "logs").iterdir()} == {
        f"rank_{rank}{n}.log" for rank in (0, 1) for n in ("", ".2")
    }
    assert not (launches.folder / "runs" / ".launches").exists()  # every log is in the run's folder
    for weights in ("last", "best"):
        path = Path("clips-minimal") / weights / "model.safetensors"
        found = [(launches.folder / runs / path).read_bytes() for runs in ("killed", "plain")]
        assert found[0] == found[1]

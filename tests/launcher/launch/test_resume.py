"""`slipway resume`: how a run goes on as it was started."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.launcher import cli
from slipway.launcher.common.paths import TRAIN_SCRIPT
from tests.conftest import ROOT
from tests.launcher.helpers import assert_one_line_error
from tests.launcher.launches import SLIPWAY, Launches, launches
from tests.limits import HANG_SECONDS, wait_until
from tests.results.runs.runs import listed, make_run

__all__ = ["launches"]

TELLS = """
import json, os, sys
names = ("SLIPWAY_PLAN", "WORLD_SIZE")
print(json.dumps([sys.argv, os.getcwd(), {name: os.environ.get(name) for name in names}]))
sys.exit(3)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tells.py").write_text(TELLS)
    return tmp_path


def test_a_run_is_started_as_it_was_with_the_options_of_a_launch_before_its_name(launches: Launches) -> None:
    folder = launches.folder
    script = launches.script(TELLS, "tells.py")
    words = ["--lr", "1e-3", "--resume", "auto", "--from=runs/mine/checkpoints/000001-step-9"]
    run = make_run(folder, command={"module": None, "script": str(script), "arguments": words, "folder": str(folder)})
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    done = resumed(launches, "--threads-per-process", "1", "--log-dir", "logs", "../runs/mine", cwd=elsewhere)
    assert done.returncode == 3, done.stderr
    argv, where, variables = json.loads(done.stdout)
    assert argv == [str(script), *words]
    assert where == str(folder)
    plan = json.loads(Path(variables["SLIPWAY_PLAN"]).read_text())
    assert (plan["device"], plan["num_processes"], plan["threads_per_process"]) == ("cpu", 1, 1)
    assert plan["resume"] == str(run)
    assert Path(variables["SLIPWAY_PLAN"]).is_relative_to(elsewhere / "logs")


def test_a_module_is_started_as_one_and_with_restarts(launches: Launches) -> None:
    launches.script(TELLS, "tells.py")
    command = {"module": "tells", "script": None, "arguments": ["x"], "folder": str(launches.folder)}
    make_run(launches.folder, command=command)
    done = resumed(launches, "--max-restarts", "1", "mine")
    assert done.returncode == 3
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [argv[1:] for argv, _, _ in lines] == [["x"], ["x"]]
    plans = [json.loads(Path(variables["SLIPWAY_PLAN"]).read_text()) for _, _, variables in lines]
    assert [plan["resume"] for plan in plans] == [str(launches.folder / "runs" / "mine")] * 2


def resumed(launches: Launches, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SLIPWAY, "resume", *arguments],
        cwd=cwd or launches.folder,
        env=launches.environment(),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], list[str]]:
    """Return the plan with which a run would be resumed, and what is said of it."""
    assert cli.main(["resume", "--dry-run", "--json", *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    (plan,) = (json.loads(content) for path, content in shown["files"].items() if path.endswith("plan.json"))
    return plan, shown["notes"]


def test_the_number_of_processes_stays_unless_another_is_asked_for(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(project, plan={"device": "cpu", "world_size": 3})
    make_run(project, "on-gpus", plan={"device": "cuda", "world_size": 4})
    h100 = ("--hardware", str(ROOT / "tests" / "launcher" / "fixtures" / "machines" / "8xh100.json"))
    assert planned(capsys, "mine")[0]["num_processes"] == 3
    assert planned(capsys, "--num-processes", "2", "mine")[0]["num_processes"] == 2
    assert planned(capsys, "mine", "--num-processes=1")[0]["num_processes"] == 1
    plan, notes = planned(capsys, *h100, "on-gpus")
    assert (plan["device"], plan["num_processes"]) == ("cuda", 4)
    assert "8 cuda devices, 4 used as before; --num-processes 8 uses all" in notes


def test_a_finished_run_stays_untouched(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(project, state="finished", result={"steps": 3})
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.iterdir()}
    assert cli.main(["resume", "mine"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "mine is finished: nothing is left to train; `slipway continue mine --epochs 10` goes on" in said.err
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.iterdir()} == before
    assert sorted(path.name for path in (project / "runs").iterdir()) == ["mine"]


def test_a_run_of_an_environment_that_is_gone_goes_on_with_this_ones_training(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(project, script=Path("/gone/site-packages/slipway/bin/train.py"))
    assert cli.main(["resume", "--dry-run", "--json", "mine"]) == 0
    assert str(TRAIN_SCRIPT) in json.loads(capsys.readouterr().out)["argv"]


def test_a_run_of_slipway_train_from_before_it_had_one_name_goes_on_and_no_module_of_the_user_is_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = {"module": "training", "script": None, "arguments": ["--epochs", "3"], "folder": str(project)}
    make_run(project, "old", command=command, schema_version=1)
    make_run(project, "new", command=command, schema_version=2)
    assert cli.main(["resume", "--dry-run", "--json", "old"]) == 0
    argv = json.loads(capsys.readouterr().out)["argv"]
    assert argv[argv.index(str(TRAIN_SCRIPT)) :][:3] == [str(TRAIN_SCRIPT), "--epochs", "3"]
    assert cli.main(["resume", "--dry-run", "--json", "new"]) == 0
    argv = json.loads(capsys.readouterr().out)["argv"]
    assert argv[argv.index("-m") :][:2] == ["-m", "training"]


def test_what_cannot_be_resumed_is_said_in_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(project)
    make_run(project, "typed", command={"module": None, "script": None, "arguments": [], "folder": str(project)})
    make_run(project, "moved", script=Path("/nowhere/train.py"))
    away = {"module": "training", "script": None, "arguments": [], "folder": "/nowhere"}
    make_run(project, "away", command=away)
    make_run(project, "old", command=None)
    broken = make_run(project, "broken") / "run.json"
    broken.write_text("[]")
    for name, message in (
        ("mien", "no such run, here or in runs (did you mean 'mine'?)"),
        ("typed", f"it was started from no script; start it again there, with resume='{project}/runs/typed'"),
        ("moved", f"its script /nowhere/train.py does not exist any more; use its own command with --resume {project}"),
        ("away", "it was started in /nowhere (No such file or directory); start it by its own command, with --resume"),
        ("old", "its run.json does not say how it was started; use its own command with --resume"),
        ("broken", f"{broken}: not the record of a run"),
    ):
        assert_one_line_error(["resume", name], message, capsys)
    assert_one_line_error(["resume"], "the following arguments are required: RUN", capsys)
    assert_one_line_error(["resume", "--num-proceses", "2", "mine"], "unknown argument '--num-proceses'", capsys)


@pytest.mark.slow
def test_a_run_that_was_killed_and_moved_goes_on_with_two_processes(
    launches: Launches, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(4, 8, 48)
    values = random.normal(size=(lengths.sum(), 21, 3)).astype(np.float32)
    np.savez(launches.folder / "clips.npz", X=values, y=np.arange(48) % 2, lengths=lengths)
    script = launches.script(
        "import sys\n"
        "from slipway import TrainingConfig, train\n"
        "train(TrainingConfig(data='clips.npz', stages_config='minimal', epochs=int(sys.argv[1]), patience=1000,\n"
        "    batch_size=4, micro_batch_size=2, model_width=16, model_blocks=1, save_every='10step', device='cpu'))\n"
    )
    killed = subprocess.Popen(
        [sys.executable, script.name, "12"],
        cwd=launches.folder,
        env=launches.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: list(launches.folder.glob("runs/*/checkpoints/0*-step-[2-9]0")))
    killed.kill()
    killed.wait()
    ((name, found),) = listed(capsys, "--runs-dir", str(launches.folder / "runs")).items()
    assert (found["state"], found["stage"]) == ("dead", "training")
    assert found["step"] >= 20

    shutil.move(launches.folder / "runs" / name, launches.folder / "moved")
    options = ("--num-processes", "2", "--main-process-port", "0")
    done = resumed(launches, *options, "moved")
    assert done.returncode == 0, done.stderr
    record = json.loads((launches.folder / "moved" / "run.json").read_text())
    assert (record["state"], record["world_size"]) == ("finished", 2)
    assert record["recipe"]["resolution"]["global_batch_size"] == 4
    steps = [json.loads(line) for line in (launches.folder / "moved" / "events.jsonl").read_text().splitlines()]
    (resume,) = (event for event in steps if event["event"] == "resume")
    assert resume["step"] >= 20
    last = [event["step"] for event in steps if event["event"] == "step"][-1]
    assert last == record["result"]["steps"] == 12 * 10
    assert not (launches.folder / "runs" / name).exists()

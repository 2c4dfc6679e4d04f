"""What the launcher decided reaches a run by the plan file, and by nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from slipway import TrainingConfig, UserError, train
from slipway.training.common.plan_file import PLAN_VARIABLE
from slipway.training.run.planning import accelerate_says, launched_compile_backend
from slipway.training.tasks.task import Batch
from tests.training.launch_plans import write_plan
from tests.training.misbehaviour import ActingTask, events_of, record_of, run, send
from tests.training.processes import started
from tests.training.rehearsal import rehearsed_with

ARGUMENTS = ("--experiment-name", "run", "--batch-size", "16", "--batch-rule", "fixed", "--log-level", "error")
SHORT = ("--stages-config", "minimal", "--epochs", "1", "--max-steps", "2")


def train_plainly(runs_dir: str, arguments: Sequence[str] = ()) -> int:
    """Train the small task by the command line, with nothing of a launcher in the environment but the plan."""
    import slipway.training.run.cli
    import slipway.training.run.train

    left = [name for name in os.environ if name.startswith(("SLIPWAY_", "ACCELERATE_", "FSDP_"))]
    assert left == [PLAN_VARIABLE], left
    torch._dynamo.config.disable = True  # what is compiled is not the question, and takes its time
    whole = slipway.training.run.train.train
    note = partial(note_size, Path(runs_dir) / f"rank_{os.environ.get('RANK', '0')}")
    task = ActingTask(note)
    slipway.training.run.train.train = partial(whole, task=task)  # type: ignore[assignment]
    with rehearsed_with(task, act=None):
        return slipway.training.run.cli.main([*ARGUMENTS, *SHORT, "--runs-dir", runs_dir, *arguments])


def note_size(file: Path, step: int, batch: Batch, losses: torch.Tensor) -> None:
    """Act: note the size of a micro-batch of this rank."""
    with file.open("a", encoding="utf-8") as notes:
        notes.write(f"{len(batch.indices)},")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLIPWAY_", "ACCELERATE_", "FSDP_")):
            monkeypatch.delenv(name)


def trained(size: int, folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with started(size, folder / "output", train_plainly, str(folder)) as group:
        assert group.exit_codes() == [0] * size, group.output()
    return record_of(folder)


@pytest.mark.usefixtures("bare")
def test_precision_micro_batch_shares_and_sharding_arrive_by_the_plan_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = {"mixed_precision": "bf16", "micro_batch_size": 3, "share_weights": (3.0, 1.0), "num_processes": 2}
    environment = write_plan(tmp_path / "plan.json", {"sharding": "fsdp"}, **fixed)
    record = trained(2, tmp_path, environment, monkeypatch)
    plan = record["plan"]
    assert record["recipe"]["resolution"]["mixed_precision"] == "bf16"
    assert (plan["micro_batch_size"], plan["gradient_accumulation"]) == (3, 4)
    assert (plan["share_weights"], plan["sharding"], plan["world_size"]) == ([3.0, 1.0], "fsdp", 2)
    decided = ("mixed_precision", "micro_batch_size", "share_weights", "sharding", "device")
    assert {record["origins"][name].split(":")[0] for name in decided} == {"launch plan"}
    assert plan["reasons"]["share_weights"] == "launch plan: fixed by you"
    (begun,) = [event for event in events_of(tmp_path) if event["event"] == "run"]
    assert begun["plan"]["reasons"]["micro_batch_size"] == "launch plan: fixed by you"
    assert [(tmp_path / f"rank_{rank}").read_text() for rank in (0, 1)] == ["3,3,3,3," * 2, "1,1,1,1," * 2]


@pytest.mark.usefixtures("bare")
def test_accumulation_compile_and_workers_arrive_by_the_plan_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = {"gradient_accumulation": 4, "global_batch_size": 32, "compile": True, "num_workers": 1}
    environment = write_plan(tmp_path / "plan.json", **fixed)
    record = trained(1, tmp_path, environment, monkeypatch)
    plan = record["plan"]
    assert (plan["gradient_accumulation"], plan["micro_batch_size"], plan["num_workers"]) == (4, 4, 1)
    assert plan["compile_backend"] == "inductor"
    assert plan["reasons"]["compile_backend"] == "launch plan: fixed by you"
    assert record["config"]["compile"] is True, "a person asked for it"
    assert record["config"]["device"] == "auto", "nobody did"
    # The recipe's batch counts: one that was only planned for is not taken in silence.
    (other,) = [event for event in events_of(tmp_path) if event["event"] == "other_batch"]
    assert (other["planned"], other["global_batch_size"], other["warning"]) == (32, 16, True)


@pytest.mark.usefixtures("bare")
def test_where_there_is_a_plan_what_accelerate_s_launcher_says_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = write_plan(tmp_path / "plan.json")
    variables = {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_DYNAMO_BACKEND": "EAGER", "ACCELERATE_USE_FSDP": "1"}
    for name, value in {**settings, **variables}.items():
        monkeypatch.setenv(name, value)
    assert (accelerate_says("ACCELERATE_USE_FSDP"), launched_compile_backend()) == ("", None)
    monkeypatch.delenv("ACCELERATE_USE_FSDP")  # it would have Accelerate itself look for a group of processes
    with started(1, tmp_path / "output", run, ["--runs-dir", str(tmp_path), "--epochs", "1"]) as group:
        assert group.exit_codes() == [0], group.output()
    record = record_of(tmp_path)
    assert record["recipe"]["resolution"]["mixed_precision"] == "no"
    assert (record["plan"]["compile_backend"], record["plan"]["sharding"]) == (None, "replicate")


@pytest.mark.usefixtures("bare")
def test_the_precision_of_its_start_is_kept_whatever_is_planned_where_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plan.json"
    for name, value in write_plan(path, {"mixed_precision": "bf16"}, num_processes=2).items():
        monkeypatch.setenv(name, value)
    arguments = ["--runs-dir", str(tmp_path), "--epochs", "2"]
    with started(2, tmp_path / "output", run, arguments, partial(send, signal.SIGTERM, 1, 0)) as group:
        assert group.exit_codes() == [75, 75], group.output()
    assert record_of(tmp_path)["config"]["mixed_precision"] == "auto"
    assert record_of(tmp_path)["recipe"]["resolution"]["mixed_precision"] == "bf16"
    write_plan(path, {"resume": str(tmp_path / "run")})
    with started(1, tmp_path / "output", run, [*arguments, "--resume", "auto"]) as group:
        assert group.exit_codes() == [0], group.output()
    record = record_of(tmp_path)
    assert record["recipe"]["resolution"]["mixed_precision"] == "bf16"
    assert (record["state"], len(record["resumed"])) == ("finished", 1)
    write_plan(path, num_processes=3)
    with started(1, tmp_path / "output", run, arguments) as group:
        assert group.exit_codes() == [2]
        assert "the plan is 3 on cpu, but 1 on cpu were started" in group.output()


@pytest.mark.usefixtures("bare")
def test_the_plan_of_a_machine_with_another_device_is_named_by_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in write_plan(tmp_path / "plan.json", {"device": "cuda"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^SLIPWAY_PLAN=.*/plan\.json: --device cuda: .* or pass --device auto$"):
        train(TrainingConfig(runs_dir=str(tmp_path), log_level="error"))

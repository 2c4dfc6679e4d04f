"""What a launcher planned: held to where the start differs, and filled in where the options leave the choice."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slipway.training.run.launched_plan import VARIABLE, LaunchedPlan, launched_plan
from slipway.training.run.training_config import TrainingConfig
from tests.training.helpers import catch
from tests.training.misbehaviour import record_of, run, send
from tests.training.processes import started

PLAN = {
    "schema_version": 1,
    "num_processes": 1,
    "device": "cpu",
    "mixed_precision": "no",
    "micro_batch_size": 7,
    "num_workers": 2,
    "sharding": "replicate",
    "more": "of no concern",
}


def write(path: Path, **changes: Any) -> dict[str, str]:
    """Write a plan; return the environment that names it."""
    path.write_text(json.dumps({**PLAN, **changes}))
    return {VARIABLE: str(path)}


def read(path: Path, **changes: Any) -> LaunchedPlan:
    plan = launched_plan(write(path, **changes))
    assert plan is not None
    return plan


def test_without_a_plan_nothing_is_promised() -> None:
    assert launched_plan({}) is None
    assert launched_plan({VARIABLE: ""}) is None


def test_the_plan_fills_in_what_the_options_leave_open(tmp_path: Path) -> None:
    plan = read(tmp_path / "plan.json", mixed_precision="bf16", sharding="fsdp")
    filled = plan.fill_in(TrainingConfig(seed=3))
    assert (filled.num_workers, filled.micro_batch_size, filled.mixed_precision, filled.seed) == (2, 7, "bf16", 3)
    assert filled.sharding == "fsdp"
    own = TrainingConfig(num_workers=0, micro_batch_size=3, mixed_precision="no", sharding="replicate")
    assert plan.fill_in(own) == own
    # The two set each other: who asked for one of them has chosen.
    assert plan.fill_in(TrainingConfig(gradient_accumulation=2)).micro_batch_size == "auto"


def test_a_plan_that_leaves_a_choice_leaves_it_to_the_training(tmp_path: Path) -> None:
    plan = read(tmp_path / "plan.json", mixed_precision="fp8", micro_batch_size=None)
    filled = plan.fill_in(TrainingConfig())
    assert (filled.micro_batch_size, filled.mixed_precision, filled.sharding) == ("auto", "auto", "auto")


@pytest.mark.parametrize(
    ("size", "device", "fits"), [(2, "cuda", True), (1, "cuda", False), (2, "cpu", False), (4, "xpu", False)]
)
def test_a_world_that_is_not_the_planned_one_is_refused(tmp_path: Path, size: int, device: str, fits: bool) -> None:
    plan = read(tmp_path / "plan.json", num_processes=2, device="rocm")
    if fits:
        plan.check_world(size, device)
        return
    message = str(catch(plan.check_world, size, device))
    assert f"the plan is 2 on cuda, but {size} on {device} were started" in message
    assert "start it with `slipway launch`, or unset SLIPWAY_PLAN" in message


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        '{"schema_version": 1}',
        json.dumps({**PLAN, "num_processes": "two"}),
        "\udcff",
        "[" * 100_000,
    ],
)
def test_a_file_that_is_no_plan_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    message = str(catch(launched_plan, {VARIABLE: str(path)}))
    assert message == f"SLIPWAY_PLAN={path}: not a plan; start with `slipway launch`, or unset SLIPWAY_PLAN"


def test_a_plan_that_cannot_be_read_or_is_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    absent = str(catch(launched_plan, {VARIABLE: str(tmp_path / "absent")}))
    assert "No such file or directory; start with `slipway launch`, or unset SLIPWAY_PLAN" in absent
    assert "Is a directory" in str(catch(launched_plan, {VARIABLE: str(tmp_path)}))
    other = str(catch(launched_plan, write(tmp_path / "plan.json", schema_version=2)))
    assert "written by another version of slipway; start again with `slipway launch`" in other


def test_a_run_keeps_what_was_asked_apart_from_what_was_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in write(tmp_path / "plan.json", num_processes=2, mixed_precision="bf16", num_workers=1).items():
        monkeypatch.setenv(name, value)
    arguments = ["--runs-dir", str(tmp_path), "--epochs", "2", "--micro-batch-size", "auto"]
    with started(2, tmp_path / "output", run, arguments, partial(send, signal.SIGTERM, 1, 0)) as group:
        assert group.exit_codes() == [75, 75], group.output()
    record = record_of(tmp_path)
    config, plan = record["config"], record["plan"]
    assert (config["num_workers"], config["micro_batch_size"], config["mixed_precision"]) == (None, "auto", "auto")
    assert (plan["num_workers"], plan["micro_batch_size"]) == (1, 7)
    assert record["recipe"]["resolution"]["mixed_precision"] == "bf16"
    # Elsewhere the precision of its start is kept, whatever is planned there.
    write(tmp_path / "plan.json", num_processes=1)
    with started(1, tmp_path / "output", run, [*arguments, "--resume", "auto"]) as group:
        assert group.exit_codes() == [0], group.output()
    assert record_of(tmp_path)["recipe"]["resolution"]["mixed_precision"] == "bf16"
    write(tmp_path / "plan.json", num_processes=3)
    with started(1, tmp_path / "output", run, arguments) as group:
        assert group.exit_codes() == [2]
        assert "the plan is 3 on cpu, but 1 on cpu were started" in group.output()

"""`slipway plan` and `slipway config` as a person and a script meet them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.launcher.common.paths import TRAIN_SCRIPT
from slipway.launcher.plan import config_command
from slipway.launcher.plan.accelerate import config as accelerate_config
from slipway.launcher.plan.make_plan import Intent, LaunchPlan, make_plan
from slipway.training.common.errors import UserError
from slipway.training.common.json_records import json_schema
from slipway.training.common.plan_file import PLAN_SCHEMA_VERSION
from tests.launcher.helpers import assert_one_line_error
from tests.launcher.machines import FOLDER, machines
from tests.launcher.plans import golden_plans


def of(name: str) -> list[str]:
    return ["--hardware", str(FOLDER / f"{name}.json")]


def test_the_plan_of_this_machine_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--json", "--device", "cpu"]) == 0
    plan = LaunchPlan.from_json(capsys.readouterr().out)
    assert (plan.schema_version, plan.device, plan.num_processes) == (2, "cpu", 1)
    assert plan.threads_per_process <= (os.cpu_count() or 1)


@pytest.mark.parametrize("name", golden_plans())
def test_a_plan_is_drawn_with_its_warnings_first(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *of(name)]) == 0
    lines = capsys.readouterr().out.splitlines()
    count = len(golden_plans()[name].warnings)
    assert all(line.startswith("warning: ") for line in lines[:count])
    assert lines[count].split() == ["choice", "value", "reason", "fact"]
    assert len(lines) < 30


def test_what_you_fixed_is_marked_and_explain_shows_where_each_value_came_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.main(["plan", *of("t4"), "--mixed-precision", "bf16"])
    shown = capsys.readouterr().out
    assert shown.startswith("warning: --mixed-precision bf16: Tesla T4 has no native bf16")
    assert "bf16 (you)" in shown
    assert "rdzv_backend" not in shown
    cli.main(["plan", *of("t4"), "--explain", "--mixed-precision", "bf16"])
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if not line.startswith("warning")}
    assert " flag " in rows["mixed_precision"]
    assert " default " in rows["rdzv_backend"]
    assert " detected " in rows["num_processes"]


def test_every_field_of_an_intent_has_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {
        "device": "cuda",
        "num_processes": "2",
        "num_machines": "2",
        "processes_per_host": "1",
        "machine_rank": "1",
        "main_process_ip": "10.0.0.1",
        "main_process_port": "1234",
        "rdzv_backend": "c10d",
        "mixed_precision": "fp16",
        "parameters": "1e6",
        "sharding": "zero2",
        "global_batch_size": "64",
        "micro_batch_size": "8",
        "share_weights": "3,1",
        "threads_per_process": "2",
        "num_workers": "1",
    }
    assert set(arguments) | {"compile", "gpu_ids", "gradient_accumulation"} == set(Intent.__dataclass_fields__)
    line = [part for name, value in arguments.items() for part in (f"--{name.replace('_', '-')}", value)]
    assert cli.main(["plan", "--json", "--compile", *of("8xh100"), *line]) == 0
    plan = LaunchPlan.from_json(capsys.readouterr().out)
    fixed = {choice.field for choice in plan.choices if choice.fixed}
    assert fixed == {choice.field for choice in plan.choices if choice.origin == "flag"} - {"OMP_NUM_THREADS"}
    assert fixed == {*arguments, "compile"} - {"parameters", "global_batch_size", "processes_per_host"}
    assert plan.share_weights == (3.0, 1.0)
    assert cli.main(["plan", "--json", *of("8xh100"), "--gradient-accumulation", "3"]) == 0
    assert LaunchPlan.from_json(capsys.readouterr().out).gradient_accumulation == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "--num-procesess", "2"], "(did you mean '--num-processes'?)"),
        (["plan", "--num-processes", "two"], "--num-processes: expected a whole number, got 'two'"),
        (["plan", "--parameters", "many"], "--parameters: 'many' is no number of parameters"),
        (["plan", "--share-weights", "1,x"], "--share-weights[1]: expected a number, got 'x'"),
        (["plan", "--mixed-precision", "bf8"], "'bf8' is none of "),
        (["plan", *of("2xrtx4090"), "--num-processes", "3"], "3 processes, but 2 cuda devices"),
        (["plan", "--hardware", "/nowhere.json"], "--hardware /nowhere.json: No such file or directory"),
        (["config", *of("t4"), "--out", "/proc/nowhere/c.yaml"], "/proc/nowhere/c.yaml: "),
    ],
)
def test_what_cannot_be_planned_costs_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line_error(arguments, message, capsys)


def test_config_writes_a_checked_file_and_prints_only_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["config", *of("2xrtx4090")]) == 0
    captured = capsys.readouterr()
    path = Path("accelerate_configs/cuda_2_processes.yaml")
    assert captured.out == (
        "OMP_NUM_THREADS=4 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True NCCL_P2P_DISABLE=1 "
        f"accelerate launch --config_file {path} {TRAIN_SCRIPT}\n"
    )
    assert path.read_text(encoding="utf-8") == accelerate_config.to_yaml(make_plan(machines()["2xrtx4090"]))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_config_that_exists_is_overwritten_only_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("mine\n", encoding="utf-8")
    assert cli.main(["config", *of("t4"), "--out", str(path)]) == 2
    assert f"{path} exists; --yes overwrites it" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "mine\n"
    monkeypatch.setattr(accelerate_config, "check_config", lambda path, plan: [])
    assert cli.main(["config", *of("t4"), "--out", str(path), "--yes"]) == 0
    assert "distributed_type: 'NO'" in path.read_text(encoding="utf-8")


def test_a_config_that_accelerate_reads_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yaml"
    monkeypatch.setattr(accelerate_config, "check_config", lambda path, plan: ["num_processes: 1, not 8"])
    with pytest.raises(UserError, match=r"c\.yaml: not written, .* num_processes: 1, not 8"):
        config_command.main([*of("8xh100"), "--out", str(path)])
    assert list(tmp_path.iterdir()) == []


def test_the_schema_of_a_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema", "plan"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema(LaunchPlan, PLAN_SCHEMA_VERSION)

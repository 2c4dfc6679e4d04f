"""The plan of a launch as a level of the settings: what it decides, where it is weaker, and what no plan is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway.training.common.errors import UserError
from slipway.training.common.plan_file import PLAN_VARIABLE
from slipway.training.config.launched_plan import LaunchedPlan, launched_plan
from slipway.training.config.settings import make_config, read_settings, settings_of, what_was_asked
from slipway.training.run.cli import main
from slipway.training.run.training_config import TrainingConfig
from tests.training.helpers import catch
from tests.training.launch_plans import write_plan

RESUME = [{"field": "resume", "origin": "detected", "fixed": False, "reason": "the run of this launch", "fact": ""}]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without settings of its own or above it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def plan_of(path: Path, **fixed: Any) -> LaunchedPlan:
    plan = launched_plan(write_plan(path / "plan.json", **fixed))
    assert plan is not None
    return plan


def config_of(*levels: dict[str, str], **flags: str) -> TrainingConfig:
    environment = {name: value for level in levels for name, value in level.items()}
    return make_config(TrainingConfig, read_settings(TrainingConfig, flags, None, environment))


def test_without_a_plan_nothing_is_promised() -> None:
    assert launched_plan({}) is None
    assert launched_plan({PLAN_VARIABLE: ""}) is None


def test_what_the_launcher_chose_is_weaker_than_any_file_and_what_was_fixed_stronger_than_all_but_own_flags(
    project: Path,
) -> None:
    (project / "slipway.yaml").write_text("train: {num_workers: 3, micro_batch_size: 5}\n", encoding="utf-8")
    chosen = write_plan(project / "plan.json")
    assert (config_of(chosen).num_workers, config_of(chosen).device) == (3, "cpu")
    fixed = write_plan(project / "plan.json", num_workers=1, gradient_accumulation=2)
    config = config_of(fixed, {"SLIPWAY_NUM_WORKERS": "4"})
    assert (config.num_workers, config.micro_batch_size, config.gradient_accumulation) == (1, "auto", 2)
    assert config.threads is None  # the environment has those that the launcher chose
    assert config_of(write_plan(project / "plan.json", threads_per_process=2)).threads == 2
    assert config_of(fixed, num_workers="0", micro_batch_size="7").num_workers == 0
    assert config_of(fixed, micro_batch_size="7").gradient_accumulation is None


def test_what_a_config_made_in_python_says_is_kept_and_the_rest_is_as_planned(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, mixed_precision="bf16", num_workers=2, micro_batch_size=7)
    own = TrainingConfig(num_workers=0, gradient_accumulation=3, seed=3)
    settings = settings_of(own, plan)
    config = make_config(TrainingConfig, settings)
    assert (config.num_workers, config.seed, config.mixed_precision) == (0, 3, "bf16")
    # The two set each other: who asked for one of them has chosen.
    assert (config.micro_batch_size, config.gradient_accumulation) == ("auto", 3)
    assert str(settings["mixed_precision"]) == "launch plan: fixed by you"
    assert make_config(TrainingConfig, settings_of(own, None)) == own


def test_what_the_launcher_chose_by_itself_was_not_asked_for(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, num_workers=2, global_batch_size=64, gradient_accumulation=4)
    settings = settings_of(TrainingConfig(), plan)
    config, asked = make_config(TrainingConfig, settings), make_config(TrainingConfig, what_was_asked(settings))
    assert (config.device, config.mixed_precision, config.sharding) == ("cpu", "no", "replicate")
    assert asked == TrainingConfig(num_workers=2, gradient_accumulation=4)
    assert "micro_batch_size" not in settings, "it follows, from the batch that the training knows itself"


def test_explain_names_the_plan_as_the_origin_of_what_it_decided(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in write_plan(project / "plan.json", num_workers=2, micro_batch_size=7).items():
        monkeypatch.setenv(name, value)
    assert main(["--explain", "--micro-batch-size", "3"]) == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in capsys.readouterr().out.splitlines()}
    assert rows["num_workers"] == "2 launch plan: fixed by you"
    assert rows["mixed_precision"] == "no launch plan: a CPU trains in full precision unless asked"
    assert rows["micro_batch_size"] == "3 flag"
    assert rows["epochs"] == "None default"


def test_rocm_is_what_torch_calls_cuda(tmp_path: Path) -> None:
    plan = launched_plan(write_plan(tmp_path / "plan.json", {"device": "rocm", "num_processes": 2}))
    assert plan is not None
    assert plan.levels()[0]["device"].value == "cuda"
    plan.check_world(2, "cuda")


@pytest.mark.parametrize(("size", "device"), [(1, "cpu"), (2, "cuda"), (4, "xpu")])
def test_a_world_that_is_not_the_planned_one_is_refused(tmp_path: Path, size: int, device: str) -> None:
    plan = plan_of(tmp_path, num_processes=2)
    plan.check_world(2, "cpu")
    message = str(catch(plan.check_world, size, device))
    assert f"the plan is 2 on cpu, but {size} on {device} were started" in message
    assert "start it with `slipway launch`, or unset SLIPWAY_PLAN" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixed_precision": "fp8"}, "--mixed-precision: 'fp8' is none of auto, no, fp16, bf16"),
        ({"sharding": "zero3"}, "--sharding: 'zero3' is none of auto, replicate, fsdp"),
    ],
)
def test_what_is_planned_for_another_training_is_refused_with_the_plan_named(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    environment = write_plan(tmp_path / "plan.json", changes)
    with pytest.raises(UserError) as caught:
        config_of(environment)
    assert str(caught.value).startswith(f"SLIPWAY_PLAN={tmp_path / 'plan.json'}: {message}")


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"schema_version": 2}', "\udcff", "[" * 100_000])
def test_a_file_that_is_no_plan_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    message = str(catch(launched_plan, {PLAN_VARIABLE: str(path)}))
    assert message.startswith(f"SLIPWAY_PLAN={path}: ")
    assert message.endswith("; start with `slipway launch`, or unset SLIPWAY_PLAN")
    assert "\n" not in message


def test_a_plan_that_cannot_be_read_or_is_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    absent = str(catch(launched_plan, {PLAN_VARIABLE: str(tmp_path / "absent")}))
    assert "No such file or directory; start with `slipway launch`, or unset SLIPWAY_PLAN" in absent
    assert "is a folder, not a file" in str(catch(launched_plan, {PLAN_VARIABLE: str(tmp_path)}))
    environment = write_plan(tmp_path / "plan.json", {"schema_version": 1})
    assert "schema_version is 1, this slipway reads 2" in str(catch(launched_plan, environment))


@pytest.mark.parametrize(
    ("asked", "name", "planned", "expected"),
    [
        (None, None, "/runs/mine", "/runs/mine"),
        ("auto", None, "/runs/mine", "/runs/mine"),
        ("auto", "mine", "/runs/mine-2", "/runs/mine-2"),
        ("runs/mine/checkpoints/000001-step-9", None, "/runs/mine", "/runs/mine"),
        ("mine", None, "/runs/mine", "/runs/mine"),
        ("runs/other/checkpoints/000001-step-9", None, "/runs/mine", "runs/other/checkpoints/000001-step-9"),
        (None, "fold-2", "/runs/fold-1", None),
        (None, "mine", "/runs/mine-too", None),
        (None, "fold-2", "auto", "auto"),
        ("runs/mine/checkpoints/000001-step-9", None, "auto", "runs/mine/checkpoints/000001-step-9"),
        ("auto", None, None, "auto"),
    ],
)
def test_a_launch_goes_on_with_its_run_in_place_of_auto_and_of_a_checkpoint_of_that_run(
    tmp_path: Path, asked: str | None, name: str | None, planned: str | None, expected: str | None
) -> None:
    environment = write_plan(tmp_path / "plan.json", {"resume": planned, "choices": RESUME})
    config = TrainingConfig(resume=asked, experiment_name=name)
    settings = settings_of(config, launched_plan(environment))
    assert make_config(TrainingConfig, settings).resume == expected
    if expected != asked:
        assert str(settings["resume"]) == "launch plan: the run of this launch"


@pytest.mark.parametrize("asked", [None, "auto", "{runs}/mine"])
def test_a_launch_goes_on_with_one_run_of_the_study_that_its_command_names(tmp_path: Path, asked: str | None) -> None:
    run = tmp_path / "mine" / "fold-2"
    run.mkdir(parents=True)
    environment = write_plan(tmp_path / "plan.json", {"resume": str(run), "choices": RESUME})
    resume = asked and asked.format(runs=tmp_path)
    config = TrainingConfig(resume=resume, experiment_name="mine", folds=5)
    assert make_config(TrainingConfig, settings_of(config, launched_plan(environment))).resume == resume
    (tmp_path / "mine" / "run.json").write_text("{}")
    assert make_config(TrainingConfig, settings_of(config, launched_plan(environment))).resume == str(run)


def test_a_plan_file_is_the_record_that_the_launcher_writes(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", num_workers=2)
    choices = json.loads((tmp_path / "plan.json").read_text())["choices"]
    by_field = {choice["field"]: choice for choice in choices}
    assert by_field["num_workers"]["fixed"] is True
    assert (by_field["mixed_precision"]["origin"], by_field["mixed_precision"]["fixed"]) == ("default", False)


def test_what_a_config_of_accelerate_asks_of_it_alone_is_refused_by_name(project: Path) -> None:
    environment = write_plan(project / "plan.json")
    path = Path(environment[PLAN_VARIABLE])
    plan = json.loads(path.read_text("utf-8"))
    plan["accelerate"] = {"fsdp_config": {"fsdp_offload_params": True, "fsdp_use_orig_params": True}}
    path.write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(UserError, match=r"fsdp_config\.fsdp_offload_params: true: nothing is offloaded: leave it out"):
        launched_plan(environment)
    plan["accelerate"]["fsdp_config"]["fsdp_offload_params"] = False
    path.write_text(json.dumps(plan), encoding="utf-8")
    assert launched_plan(environment) is not None

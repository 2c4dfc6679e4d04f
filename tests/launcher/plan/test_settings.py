"""What is fixed on several levels: which one counts, where each value comes from, and what a mistake costs."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.launcher.plan.make_plan import Intent, make_plan
from slipway.launcher.plan.records import MergedIntent
from slipway.launcher.plan.settings import read_intent
from slipway.training.common.errors import UserError
from slipway.training.common.settings import project_file, user_file
from slipway.training.run.cli import parse_config
from tests.conftest import ROOT
from tests.launcher.helpers import assert_one_line_error
from tests.launcher.machines import FOLDER, machines
from tests.limits import HANG_SECONDS

H100 = ["--hardware", str(FOLDER / "8xh100.json")]
CONFIGS = ROOT / "accelerate_configs"
LEVELS = ("user file", "project file", "environment", "--config", "flag")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a working folder in it, which is the current one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME")
    work = tmp_path / "project" / "deep"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def fix(home: Path, level: str, values: dict[str, str], told: dict[str, object]) -> None:
    """Fix values on a level; flags, variables and the file of --config are added to what `read` is told."""
    lines = "".join(f"  {name}: {value}\n" for name, value in values.items())
    if level == "user file":
        write(home / ".config/slipway/config.yaml", f"launch:\n{lines}")
    elif level == "project file":
        write(home / "project/slipway.yaml", f"launch:\n{lines}train: {{nothing here is read: 1}}\n")
    elif level == "environment":
        told["environment"] = {f"SLIPWAY_{name.upper()}": value for name, value in values.items()}
    elif level == "--config":
        told["config"] = str(write(home / "c.yaml", "".join(f"{name}: {value}\n" for name, value in values.items())))
    else:
        told["flags"] = values


def read(home: Path, told: dict[str, object]) -> MergedIntent:
    environment = {"HOME": str(home), **told.get("environment", {})}  # type: ignore[dict-item]
    return read_intent(told.get("flags", {}), told.get("config"), environment)  # type: ignore[arg-type]


def test_a_stronger_level_wins_and_the_others_keep_what_only_they_say(home: Path) -> None:
    told: dict[str, object] = {}
    for number, level in enumerate(LEVELS, start=1):
        fix(home, level, {"num_processes": str(number)}, told)
        intent = read(home, told)
        found = intent.setting("num_processes")
        assert (intent.num_processes, found and found.origin) == (number, level)
    only = ("num_workers", "compile", "share_weights", "parameters", "threads_per_process")
    texts = ("3", "true", "3,1", "7e9", "5")
    told = {}
    for level, name, text in zip(LEVELS, only, texts, strict=True):
        fix(home, level, {name: text}, told)
    assert read(home, told) == Intent(
        num_workers=3, compile=True, share_weights=(3.0, 1.0), parameters=7_000_000_000, threads_per_process=5
    )


@pytest.mark.parametrize("level", LEVELS[:-1])
@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("compile", "no", False),
        ("compile", "true", True),
        ("mixed_precision", "no", "no"),
        ("mixed_precision", "'no'", "no"),
        ("share_weights", "3,1", (3.0, 1.0)),
        ("share_weights", "[3, 1.5]", (3.0, 1.5)),
        ("parameters", "7e9", 7_000_000_000),
        ("parameters", "7.0e+9", 7_000_000_000),
        ("micro_batch_size", "auto", None),
        ("main_process_ip", "10.0.0.1", "10.0.0.1"),
        ("device", "cpu", "cpu"),
    ],
)
def test_a_value_means_the_same_on_every_level(home: Path, level: str, name: str, text: str, value: object) -> None:
    if level == "environment" and text[0] in "['":
        pytest.skip("a variable holds no YAML")
    told: dict[str, object] = {}
    fix(home, level, {name: text}, told)
    assert getattr(read(home, told), name) == value


def test_what_sets_each_other_is_dropped_by_the_stronger_level(home: Path) -> None:
    told: dict[str, object] = {}
    fix(home, "project file", {"micro_batch_size": "4", "num_workers": "1"}, told)
    fix(home, "flag", {"gradient_accumulation": "2"}, told)
    assert read(home, told) == Intent(gradient_accumulation=2, num_workers=1)
    fix(home, "environment", {"micro_batch_size": "8"}, told)
    del told["flags"]
    assert read(home, told) == Intent(micro_batch_size=8, num_workers=1)
    fix(home, "environment", {"micro_batch_size": "8", "gradient_accumulation": "2"}, told)
    with pytest.raises(UserError, match=r"^SLIPWAY_MICRO_BATCH_SIZE: --micro-batch-size and .* give one of them$"):
        read(home, told)


@pytest.mark.parametrize("text", ["auto", "null"])
def test_a_stronger_level_can_leave_a_choice_to_the_plan_again(home: Path, text: str) -> None:
    told: dict[str, object] = {}
    fix(home, "user file", {"device": "cpu", "mixed_precision": "bf16"}, told)
    fix(home, "project file", {"device": text, "mixed_precision": text}, told)
    assert read(home, told) == Intent()
    assert make_plan(machines()["8xh100"], read(home, told)).device == "cuda"


def test_auto_is_a_flag_too_and_an_empty_variable_is_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read(home, {"environment": {"SLIPWAY_DEVICE": "auto", "SLIPWAY_NUM_WORKERS": ""}}) == Intent()
    fix(home, "user file", {"device": "cpu"}, {})
    assert cli.main(["plan", *H100]) == 0
    assert "cpu (you)" in capsys.readouterr().out
    assert cli.main(["plan", *H100, "--device", "auto"]) == 0
    assert "cpu" not in capsys.readouterr().out.splitlines()[1]


def test_explain_names_the_level_and_the_place_of_every_value(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fix(home, "user file", {"num_workers": "3"}, {})
        write(home / "project/deep/slipway.yaml", "launch: {parameters: 1e6}\n")
        patch.setenv("SLIPWAY_THREADS_PER_PROCESS", "5")
        write(home / "project/deep/c.yaml", "mixed_precision: no\n")
        arguments = ["plan", *H100, "--explain", "--config", "c.yaml", "--num-processes", "2"]
        assert cli.main(arguments) == 0
    rows = {line.split()[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert rows["num_workers"].startswith("num_workers 3 (you) user file fixed by ~/.config/slipway/config.yaml")
    assert rows["parameters"] == "parameters 1000000 (you) project file fixed by slipway.yaml"
    assert rows["threads_per_process"].startswith(
        "threads_per_process 5 (you) environment fixed by SLIPWAY_THREADS_PER_PROCESS"
    )
    assert rows["OMP_NUM_THREADS"].endswith("fixed by SLIPWAY_THREADS_PER_PROCESS")
    assert rows["mixed_precision"].startswith("mixed_precision no (you) --config fixed by --config c.yaml")
    assert rows["num_processes"].startswith("num_processes 2 (you) flag fixed by you")
    assert " detected " in rows["device"]
    assert " default " in rows["compile"]


def test_a_value_that_was_changed_since_is_not_said_to_come_from_a_file(home: Path) -> None:
    told: dict[str, object] = {}
    fix(home, "project file", {"num_processes": "4", "num_workers": "1"}, told)
    changed = replace(read(home, told), num_processes=2)
    choices = {choice.field: choice for choice in make_plan(machines()["8xh100"], changed).choices}
    assert (choices["num_processes"].origin, choices["num_processes"].reason) == ("user", "fixed by you")
    assert (choices["num_workers"].origin, choices["num_workers"].reason) == (
        "project file",
        "fixed by ~/project/slipway.yaml",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("launch: {num_procesess: 2}", "unknown key 'launch.num_procesess' (did you mean 'num_processes'?)"),
        ("lunch: {num_processes: 2}", "unknown section 'lunch' (did you mean 'launch'?); there are launch and train"),
        ("num_processes: 2", "unknown section 'num_processes'; there are launch and train"),
        ("launch: {num_processes: two}", "launch.num_processes: expected a whole number, got 'two'"),
        ("launch: {num_processes: 2.5}", "launch.num_processes: expected a whole number, got 2.5"),
        ("launch: {num_processes: true}", "launch.num_processes: expected a whole number, got True"),
        ("launch: {compile: maybe}", "launch.compile: expected true or false, got 'maybe'"),
        ("launch: {device: cdua}", "launch.device: 'cdua' is none of auto, cpu, cuda"),
        ("launch: {share_weights: [3, x]}", "launch.share_weights[1]: expected a number, got 'x'"),
        ("launch: {main_process_ip: [10]}", "launch.main_process_ip: expected text, got [10]"),
        ("launch: 3", "launch: expected keys and values, got '3'"),
        ("[launch]", "expected keys and values, got"),
        ("launch: [1", "is not readable YAML (line 1"),
        (
            "launch: {micro_batch_size: 2, gradient_accumulation: 2}",
            "--micro-batch-size and --gradient-accumulation set",
        ),
        ("launch: {num_processes: 9}", "--num-processes 9: 9 processes, but 8 cuda devices"),
        ("launch: {num_processes: 0}", "--num-processes: must be at least 1, got 0"),
        ("launch: {share_weights: [1, 1]}", "--share-weights: 2 weights for 8 processes"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_file_and_key(
    home: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home / "project/slipway.yaml", text)
    assert_one_line_error(["plan", *H100], f"error: ~/project/slipway.yaml: {message}", capsys)


def test_a_warning_about_a_value_in_a_file_names_the_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home / "project/slipway.yaml", "launch: {mixed_precision: bf16}")
    assert cli.main(["plan", "--hardware", str(FOLDER / "t4.json")]) == 0
    assert capsys.readouterr().out.startswith("warning: ~/project/slipway.yaml: --mixed-precision bf16: Tesla T4")


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("SLIPWAY_NUM_PROCESSES", "two", "SLIPWAY_NUM_PROCESSES: expected a whole number, got 'two'"),
        ("SLIPWAY_DEVICE", "cdua", "SLIPWAY_DEVICE: 'cdua' is none of auto, cpu"),
        ("SLIPWAY_COMPILE", "maybe", "SLIPWAY_COMPILE: expected true or false, got 'maybe'"),
        ("SLIPWAY_SHARE_WEIGHTS", "3,x", "SLIPWAY_SHARE_WEIGHTS[1]: expected a number, got 'x'"),
        ("SLIPWAY_NUM_PROCESSES", "9", "SLIPWAY_NUM_PROCESSES: --num-processes 9: 9 processes, but 8 cuda devices"),
    ],
)
def test_a_wrong_variable_is_named(
    variable: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, text)
    assert_one_line_error(["plan", *H100], f"error: {message}", capsys)


def test_config_reads_flat_options_a_settings_file_or_an_accelerate_config(home: Path) -> None:
    for text in ("num_workers: 2\n", "launch: {num_workers: 2}\ntrain: {seed: 1}\n"):
        assert read(home, {"config": str(write(home / "c.yaml", text))}) == Intent(num_workers=2)
    assert read(home, {"config": str(write(home / "c.yaml", "train: {seed: 1}\n"))}) == Intent()
    intent = read(home, {"config": str(CONFIGS / "fsdp2.yaml")})
    assert (intent.sharding, intent.num_processes, intent.mixed_precision) == ("fsdp", 8, "bf16")
    plan = make_plan(machines()["8xh100"], intent)
    assert {choice.field for choice in plan.choices if choice.origin == "--config"} >= {"sharding", "num_processes"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_worker: 2", "unknown key 'num_worker' (did you mean 'num_workers'?)"),
        ("lanch: {}", "unknown key 'lanch' (did you mean 'launch'?)"),
        ("launch: {}\nnum_workers: 2", "unknown section 'num_workers'"),
        ("launch: {device: 3}", "launch.device: 3 is none of auto, cpu"),
        ("num_workers: -1", "--num-workers: must be at least 0, got -1"),
        ("distributed_type: 'NO'\nzz: 1", "unknown key 'zz'"),
        ("\0", "is not readable YAML"),
        (None, "No such file or directory"),
    ],
)
def test_a_mistake_in_the_file_of_config_names_it(
    home: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        write(home / "project/deep/c.yaml", text)
    assert_one_line_error(["plan", *H100, "--config", "c.yaml"], f"error: --config c.yaml: {message}", capsys)


def test_the_project_file_is_the_nearest_one_up_to_the_repository_and_below_home(home: Path) -> None:
    environment = {"HOME": str(home)}
    deep, top = home / "project/deep", home / "project"
    assert project_file(None, environment) is None
    write(home / "slipway.yaml", "")  # all of a home folder is no project
    assert project_file(deep, environment) is None
    assert project_file(home, environment) == home / "slipway.yaml"
    write(top / "slipway.yaml", "")
    assert project_file(None, environment) == project_file(top, environment) == top / "slipway.yaml"
    (deep / ".git").mkdir()
    assert project_file(deep, environment) is None
    write(deep / "slipway.yaml", "")
    assert project_file(deep, environment) == deep / "slipway.yaml"
    (deep / "slipway.yaml").unlink()
    (deep / ".git").rmdir()
    top.chmod(0o777)
    assert project_file(deep, environment) is None, "anybody may write there, as in /tmp"
    assert project_file(top, environment) == top / "slipway.yaml"


def test_the_user_file_follows_the_xdg_specification(home: Path) -> None:
    default = write(home / ".config/slipway/config.yaml", "")
    other = write(home / "xdg/slipway/config.yaml", "")
    assert user_file({"HOME": str(home)}) == default
    assert user_file({"HOME": str(home), "XDG_CONFIG_HOME": str(home / "xdg")}) == other
    assert user_file({"HOME": str(home), "XDG_CONFIG_HOME": ""}) == default
    assert user_file({"HOME": str(home), "XDG_CONFIG_HOME": "xdg"}) == default
    assert user_file({"HOME": str(home), "XDG_CONFIG_HOME": str(home / "none")}) is None
    assert user_file({}) is None


def test_the_file_of_the_documentation_does_what_it_says(home: Path) -> None:
    text = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/settings.md").read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    write(home / "project/slipway.yaml", text)
    assert read(home, {}) == Intent(num_processes=2, mixed_precision="no")
    config = parse_config([], {"HOME": str(home)})
    assert (config.batch_size, config.stages_config) == (64, "conservative")


def test_a_plan_without_settings_files_loads_no_yaml() -> None:
    code = (
        "import sys, slipway.launcher.cli\n"
        "assert slipway.launcher.cli.main(['plan', '--json', '--device', 'cpu']) == 0\n"
        "sys.exit('yaml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr

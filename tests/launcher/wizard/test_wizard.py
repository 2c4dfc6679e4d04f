"""The answers of the wizard, and what it does without a terminal, which is in test_wizard_terminal.py."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from slipway.launcher import cli
from slipway.launcher.common.paths import TRAIN_SCRIPT
from slipway.launcher.plan.accelerate import config as accelerate_config
from slipway.launcher.plan.make_plan import Intent, make_plan
from slipway.launcher.plan.options import add_intent, intent_of
from slipway.launcher.wizard.actions import WizardActions
from slipway.launcher.wizard.answers import Answers, read_answers, to_plan_options, to_yaml
from slipway.launcher.wizard.answers import given_answers as said
from slipway.launcher.wizard.conversation import converse
from slipway.launcher.wizard.destination import default_path
from slipway.launcher.wizard.dialogue import Dialogue, Quit
from slipway.training.common.parser import make_parser, parse
from tests.launcher.helpers import assert_one_line_error
from tests.launcher.machines import FOLDER, machines
from tests.launcher.plans import golden_plans

MACHINES = machines()
PLANS = golden_plans()


def of(name: str) -> list[str]:
    return ["--hardware", str(FOLDER / f"{name}.json")]


@pytest.fixture
def no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written without asking Accelerate, which costs seconds; test_plan_commands.py asks it."""
    monkeypatch.setattr(accelerate_config, "check_config", lambda path, plan: [])


INTENTS = (
    Intent(),
    Intent(device="cuda", num_processes=2, mixed_precision="no", compile=False, parameters=7_000_000_000),
    Intent(compile=True, share_weights=(1.0, 0.123456789), main_process_ip="10.0.0.1", num_workers=0),
)


@pytest.mark.parametrize("intent", INTENTS)
def test_the_flags_of_an_intent_say_the_same(intent: Intent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    parser = make_parser("plan", "")
    add_intent(parser)
    assert intent_of(parse(parser, to_plan_options(intent))) == intent


def test_an_auto_that_was_said_over_a_settings_file_stays_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "slipway.yaml").write_text("launch: {device: cpu, num_workers: 1}\n", encoding="utf-8")
    parser = make_parser("plan", "")
    add_intent(parser)
    intent = intent_of(parse(parser, ["--device", "auto"]))
    assert to_plan_options(intent) == ["--device", "auto", "--num-workers", "1"]


@pytest.mark.parametrize("intent", INTENTS)
def test_saved_answers_are_read_back_equal(intent: Intent, tmp_path: Path) -> None:
    answers = Answers(intent=intent, script="bin/train.py --name 'a b'", write=True, launch=False)
    path = tmp_path / "a.yaml"
    path.write_text(to_yaml(answers), encoding="utf-8")
    assert read_answers(str(path)) == said(answers)


def test_answers_mean_what_a_person_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("mixed_precision: no\nparameters: 7e9\nshare_weights: [3, 1]\ndevice: auto\nlaunch: no\n", "utf-8")
    assert read_answers(str(path)) == {
        "mixed_precision": "no",
        "parameters": 7_000_000_000,
        "share_weights": (3.0, 1.0),
        "launch": False,
    }
    path.write_text("# nothing\n", encoding="utf-8")
    assert read_answers(str(path)) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_procesess: 2", "unknown key 'num_procesess' (did you mean 'num_processes'?)"),
        ("selftest: yes", "unknown key 'selftest' (did you mean 'self_test'?)"),
        ("num_processes: two", "num_processes: expected a whole number, got 'two'"),
        ("num_processes: yes", "num_processes: expected a whole number, got 'yes'"),
        ("mixed_precision: bf8", "mixed_precision: 'bf8' is none of auto, no, fp16, bf16, fp8"),
        ("parameters: many", "parameters: 'many' is not a number"),
        ("launch: maybe", "launch: expected true or false, got 'maybe'"),
        ("- 1", "expected keys and values, got"),
        ("a: [", "not readable YAML"),
        ("num_processes: 3", "--num-processes 3: 3 processes, but 2 cuda devices"),
        ("micro_batch_size: 2\ngradient_accumulation: 2", "set each other"),
        ("script: a 'b", "no closing quotation"),
        ("launch: yes", "--hardware plans for another machine"),
        ("out: a.yaml/c.yaml", "a.yaml/c.yaml: "),
        ("out: c.json", "c.json: Accelerate reads it as JSON"),
    ],
)
def test_answers_that_cannot_work_cost_one_line_and_write_nothing(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert cli.main(["wizard", *of("2xrtx4090"), "--answers", "a.yaml"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("error: ")
    assert message in captured.err.splitlines()[-1]
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.usefixtures("no_check")
@pytest.mark.parametrize("out", [".", "..", "folder"])
def test_a_folder_is_no_place_for_a_config(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for line in (["wizard", "--yes"], ["config", "--yes"]):
        assert cli.main([*line, *of("t4"), "--out", out]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {out}: ")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_a_missing_file_of_answers_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_line_error(["wizard", "--answers", "/nowhere.yaml"], "--answers /nowhere.yaml: No such file", capsys)


@pytest.mark.usefixtures("no_check")
def test_answers_write_what_config_would_write_and_can_be_saved_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = {"num_processes": 1, "script": "mine.py --name 'a b'", "out": "c.yaml"}
    Path("a.yaml").write_text(yaml.safe_dump(answers), encoding="utf-8")
    line = ["wizard", *of("2xrtx4090"), "--mixed-precision", "fp16", "--answers", "a.yaml", "--save-answers", "b.yaml"]
    assert cli.main(line) == 0
    plan = make_plan(MACHINES["2xrtx4090"], Intent(num_processes=1, mixed_precision="fp16"))
    assert Path("c.yaml").read_text(encoding="utf-8") == accelerate_config.to_yaml(plan)
    command = capsys.readouterr().out
    assert command == f"{accelerate_config.launch_command(plan, 'c.yaml', ['mine.py', '--name', 'a b'])}\n"
    assert read_answers("b.yaml") == {**answers, "mixed_precision": "fp16"}
    assert cli.main(["wizard", *of("2xrtx4090"), "--answers", "b.yaml"]) == 0  # what is there is the same
    assert capsys.readouterr().out == command
    Path("c.yaml").write_text("mine\n", encoding="utf-8")
    assert cli.main(["wizard", *of("2xrtx4090"), "--answers", "b.yaml"]) == 2
    assert "c.yaml holds something else; --yes overwrites it" in capsys.readouterr().err
    assert Path("c.yaml").read_text(encoding="utf-8") == "mine\n"


@pytest.mark.usefixtures("no_check")
def test_yes_takes_every_recommendation_overwrites_and_does_not_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "slipway.launcher.launch.command", None)
    monkeypatch.setitem(sys.modules, "slipway.launcher.doctor.command", None)
    path = default_path(make_plan(MACHINES["t4"]))
    path.parent.mkdir()
    path.write_text("mine\n", encoding="utf-8")
    Path("bin").mkdir()
    Path("bin/train.py").touch()
    assert cli.main(["wizard", *of("t4"), "--yes"]) == 0
    assert path.read_text(encoding="utf-8") == accelerate_config.to_yaml(PLANS["t4"])
    assert capsys.readouterr().out.endswith(f"accelerate launch --config_file {path} {TRAIN_SCRIPT}\n")
    assert cli.main(["wizard", *of("t4"), "--yes", "--no-write", "--num-workers", "1"]) == 0
    assert capsys.readouterr().out == f"slipway launch --num-workers 1 {TRAIN_SCRIPT}\n"


@pytest.mark.usefixtures("no_check")
@pytest.mark.parametrize(("found", "code", "launched"), [(0, 42, True), (3, 3, False)])
def test_a_launch_follows_a_self_test_that_passes(
    found: int, code: int, launched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").touch()
    calls: list[tuple[str, list[str]]] = []

    def answer(name: str, value: int) -> Any:
        return lambda arguments: calls.append((name, arguments)) or value

    monkeypatch.setitem(sys.modules, "slipway.launcher.doctor.command", SimpleNamespace(main=answer("doctor", found)))
    monkeypatch.setitem(sys.modules, "slipway.launcher.launch.command", SimpleNamespace(main=answer("launch", 42)))
    line = ["wizard", "--yes", "--device", "cpu", "--num-processes", "2", "--script", "mine.py -n 1"]
    assert cli.main([*line, "--self-test", "--launch"]) == code
    flags = ["--device", "cpu", "--num-processes", "2"]
    assert calls == [("doctor", flags), ("launch", [*flags, "mine.py", "-n", "1"])][: 1 + launched]


@pytest.mark.usefixtures("no_check")
@pytest.mark.parametrize(
    ("last_replies", "found", "code", "launched"),
    [
        (["", "y"], 0, 42, True),
        (["", ""], 0, 0, False),
        (["maybe", "n", "yes"], 0, 42, True),
        (["", "y"], 3, 42, True),
        (["", ""], 3, 3, False),
        (["quit"], 0, 0, False),
        ([""], 3, 3, False),  # the input ends
        ([], 0, 0, False),
    ],
)
def test_after_the_file_nothing_is_launched_without_a_yes(
    last_replies: list[str],
    found: int,
    code: int,
    launched: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").touch()
    calls: list[str] = []
    monkeypatch.setitem(sys.modules, "slipway.launcher.doctor.command", SimpleNamespace(main=lambda flags: found))
    monkeypatch.setitem(
        sys.modules,
        "slipway.launcher.launch.command",
        SimpleNamespace(main=lambda flags: calls.append(flags[-1]) or 42),
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(["mine.py", *[""] * 6, *last_replies, ""])))
    run = WizardActions(
        dialogue=Dialogue(), for_another_machine=False, overwrite=False, answers_from=None, save_to="a.yaml"
    )
    assert converse(run, MACHINES["t4"], Answers()) == code
    assert run.outcome == "accelerate_configs/cuda.yaml is written"
    assert calls == ["mine.py"] * launched
    assert read_answers("a.yaml").get("launch", False) == launched
    assert ("The self-test failed. Launch mine.py now" in capsys.readouterr().err) == (found == 3)


def test_what_a_flag_brings_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("quit\n"))
    run = WizardActions(dialogue=Dialogue(), for_another_machine=True, overwrite=False, answers_from=None, save_to=None)
    with pytest.raises(Quit):
        converse(run, MACHINES["t4"], Answers(intent=Intent(mixed_precision="bf16", global_batch_size=9)))
    told = capsys.readouterr().err
    assert "warning: --mixed-precision bf16: Tesla T4 has no native bf16" in told
    assert "note: bin/train.py is started with --batch-size 9" in told
    assert "fixed by you: mixed_precision bf16, global_batch_size 9" in told


def test_what_cannot_be_launched_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["wizard", "--yes", "--launch", "--device", "cpu", "--script", "gone.py"]
    assert_one_line_error(line, "gone.py: no such file, so it cannot be launched", capsys)
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_the_flags_that_replace_it_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n" * 20))
    assert_one_line_error(["wizard"], "give --yes (take every recommendation) or --answers FILE", capsys)
    monkeypatch.setattr(sys, "stdin", None)
    assert_one_line_error(["wizard"], "or use `slipway config` with its flags", capsys)


def test_a_flag_counts_more_than_the_file_of_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("num_processes: 1\nwrite: no\nscript: theirs.py\n", encoding="utf-8")
    assert cli.main(["wizard", *of("8xh100"), "--answers", "a.yaml", "--num-processes", "4", "--script", "x.py"]) == 0
    assert capsys.readouterr().out == "slipway launch --num-processes 4 x.py\n"

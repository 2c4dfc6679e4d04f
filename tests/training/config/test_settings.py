"""Options on several levels: which one counts, where each comes from, and what a mistake in a file costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.training.common.errors import UserError
from slipway.training.run.cli import main, parse_config
from slipway.training.run.training_config import TrainingConfig
from tests.conftest import ROOT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a project folder in it, which is the current one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME")
    (tmp_path / ".config/slipway").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def user(home: Path, text: str) -> None:
    (home / ".config/slipway/config.yaml").write_text(text, encoding="utf-8")


def project(home: Path, text: str) -> None:
    (home / "project/slipway.yaml").write_text(text, encoding="utf-8")


def parse(home: Path, *arguments: str, **variables: str) -> TrainingConfig:
    return parse_config(arguments, {"HOME": str(home), **variables})


def test_user_file_project_file_environment_config_and_flags_in_this_order(home: Path) -> None:
    user(home, "train: {seed: 1, epochs: 1, batch_size: 1, patience: 1, max_steps: 1}\nlaunch: {not read: here}\n")
    project(home, "train: {epochs: 2, batch_size: 2, patience: 2, max_steps: 2}\n")
    (home / "c.yaml").write_text("patience: 4\nmax_steps: 4\n", encoding="utf-8")
    variables = {"SLIPWAY_BATCH_SIZE": "3", "SLIPWAY_PATIENCE": "3", "SLIPWAY_MAX_STEPS": "3"}
    config = parse(home, "--config", str(home / "c.yaml"), "--max-steps", "5", **variables)
    found = (config.model_blocks, config.seed, config.epochs, config.batch_size, config.patience, config.max_steps)
    assert found == (TrainingConfig().model_blocks, 1, 2, 3, 4, 5)


def test_what_sets_each_other_is_dropped_by_the_stronger_level(home: Path) -> None:
    project(home, "train: {micro_batch_size: 4, batch_rule: fixed}\n")
    config = parse(home, "--gradient-accumulation", "2", SLIPWAY_AUTO_ADJUST_BATCH_SIZE="yes")
    assert (config.micro_batch_size, config.gradient_accumulation) == ("auto", 2)
    assert (config.batch_rule, config.effective_batch_rule) == (None, "scale")
    project(home, "train: {micro_batch_size: 4, gradient_accumulation: 2}\n")
    with pytest.raises(
        UserError, match=r"^slipway\.yaml: --micro-batch-size and --gradient-accumulation set each other"
    ):
        parse(home, "--micro-batch-size", "1")


def test_none_in_a_stronger_level_takes_a_value_back(home: Path) -> None:
    user(home, "train: {epochs: 3, mixed_precision: bf16}\n")
    project(home, "train: {epochs: null, mixed_precision: no}\n")
    config = parse(home, SLIPWAY_SEED="")
    assert (config.epochs, config.mixed_precision, config.seed) == (None, "no", 0)


def test_a_settings_file_does_for_config_too(home: Path) -> None:
    project(home, "launch: {num_processes: 2}\ntrain: {seed: 7}\n")
    assert parse_config(["--config", "slipway.yaml"], {}, folder=home).seed == 7


def test_rocm_is_what_torch_calls_cuda(home: Path) -> None:
    assert parse(home, SLIPWAY_DEVICE="rocm").device == "cuda"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {batchsize: 16}", r"slipway\.yaml: unknown key 'train.batchsize' \(did you mean 'batch_size'\?\)"),
        ("trian: {}", r"slipway\.yaml: unknown section 'trian' \(did you mean 'train'\?\); there are launch and train"),
        ("train: {epochs: two}", r"slipway\.yaml: train\.epochs: expected a whole number, got 'two'"),
        ("train: {device: gpu}", r"slipway\.yaml: train\.device: 'gpu' is none of auto"),
        ("train: {epochs: 0}", r"slipway\.yaml: --epochs: must be at least 1, got 0"),
        ("train: 3", r"slipway\.yaml: train: expected keys and values, got '3'"),
        ("- train", r"slipway\.yaml: expected keys and values"),
        ("train: [1", r"slipway\.yaml: is not readable YAML \(line 1: "),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_file_and_key(home: Path, text: str, message: str) -> None:
    project(home, text)
    with pytest.raises(UserError) as caught:
        parse(home, "--epochs", "3")
    assert re.match(message, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_wrong_value_of_config_or_the_environment_names_its_place(home: Path) -> None:
    (home / "c.yaml").write_text("epochs: 0\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"c\.yaml: --epochs: must be at least 1"):
        parse(home, "--config", str(home / "c.yaml"))
    with pytest.raises(UserError, match=r"^SLIPWAY_EPOCHS: --epochs: must be at least 1"):
        parse(home, SLIPWAY_EPOCHS="0")
    with pytest.raises(UserError, match=r"^SLIPWAY_MIXED_PRECISION: 'fp8' is none of auto, no, fp16, bf16"):
        parse(home, SLIPWAY_MIXED_PRECISION="fp8")


def test_explain_prints_each_option_its_value_and_where_it_comes_from_and_trains_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user(home, "train: {epochs: 3}\n")
    project(home, "train: {share_weights: [3, 1]}\n")
    monkeypatch.setenv("SLIPWAY_QUICK_TEST", "yes")
    assert main(["--explain", "--seed", "4"]) == 0
    captured = capsys.readouterr()
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in captured.out.splitlines()}
    assert set(rows) == {"option", *TrainingConfig.__dataclass_fields__}
    assert rows["epochs"] == "3 user file ~/.config/slipway/config.yaml"
    assert rows["share_weights"] == "3,1 project file slipway.yaml"
    assert rows["quick_test"] == "yes environment SLIPWAY_QUICK_TEST"
    assert rows["seed"] == "4 flag"
    assert rows["patience"] == "None default"
    assert captured.err == ""
    assert [path.name for path in Path.cwd().iterdir()] == ["slipway.yaml"]


def test_a_reader_of_explain_that_has_seen_enough_is_no_error(home: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, str(ROOT / "bin" / "train.py"), "--explain"]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, b"")

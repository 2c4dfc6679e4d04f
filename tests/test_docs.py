"""What the documentation shows, runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pexpect
import pytest
import yaml

import slipway
from slipway.training.config.recipe import Stage
from slipway.training.config.stages import read_stage
from slipway.training.tasks.sign.options import SignStage
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS
from tests.training.helpers import make_recipe, make_trainer

READMES = ("README.md", "README.ko.md")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_examples_of_a_data_set_and_of_a_stream_run_as_they_stand(tmp_path: Path) -> None:
    data_set, _, stream, *_ = blocks("docs/tasks.md", "python")
    (tmp_path / "example.py").write_text(data_set + stream, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "'validation_r2'" in done.stdout
    assert "500 samples of the stream are written" in done.stderr


def test_the_task_of_the_documentation_learns_to_double_and_its_observer_watches() -> None:
    _, task_code, _, stages_code, _, observer_code = blocks("docs/tasks.md", "python")
    names: dict[str, Any] = {}
    exec(task_code.split("result = train")[0], names)
    exec(stages_code, names)
    exec(observer_code.split("result = train")[0], names)
    recipe = make_recipe(Stage(name="only", epochs=20, weight_decay=0.0), monitor="loss", learning_rate=0.05)
    trainer, _ = make_trainer(names["Doubling"](), recipe, observer=names["losses"])
    assert trainer.run()["test_loss"] < 1e-3
    assert len(names["losses"].losses) == 20


def test_the_readme_is_short_and_the_korean_one_shows_the_same_code() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
    for language in ("sh", "python"):
        shown, korean = ([without_comments(block) for block in blocks(name, language)] for name in READMES)
        assert shown == korean


@pytest.mark.parametrize("name", [*READMES, *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_of_the_documentation_lead_to_files(name: str) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []


def test_what_the_readme_says_of_installing_is_there() -> None:
    """`pip install .` is what `test_package` does with the same files, and its environment has the `slipway` command."""
    pip, clone = (block.splitlines() for block in commands("README.md")[:2])
    assert pip == ["pip install .", "slipway --version"]
    assert clone == ["make train", "make test", "source .venv/bin/activate", "slipway runs"]
    told = make("-n", "train", "test")
    assert ".venv/bin/python bin/train.py" in told
    assert ".venv/bin/python -m pytest" in told


def test_make_alone_lists_every_target() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert re.findall(r"^make (\w+) +\w", make(), flags=re.MULTILINE) == targets


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == slipway.__version__


def make(*arguments: str) -> str:
    """Return what `make` prints; what a `make` that runs the tests has set does not count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "VENV"}
    done = subprocess.run(["make", *arguments], cwd=ROOT, env=kept, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_the_ten_lines_and_every_command_of_the_readme_run_as_pasted(tmp_path: Path) -> None:
    (code,) = blocks("README.md", "python")
    assert len(code.splitlines()) <= 12
    (tmp_path / "first.py").write_text(code, encoding="utf-8")
    make_landmarks(tmp_path / "my-landmarks")
    environment = environment_with_commands(tmp_path / "commands")
    for command in "".join(commands("README.md")[2:]).splitlines():
        if command == "slipway wizard":
            leave_the_wizard(tmp_path, environment)
            continue
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if "first.py" in command and "config" not in command:
            assert float(re.findall(r"^test accuracy ([\d.]+)$", done.stdout, flags=re.MULTILINE)[0]) > 0.9
    assert {path.name for path in (tmp_path / "runs").iterdir()} >= {"tensors-minimal", "tensors-minimal-2"}


def commands(name: str) -> list[str]:
    return [without_comments(block) for block in blocks(name, "sh")]


def without_comments(block: str) -> str:
    return re.sub(r"[ ]*#.*", "", block)


def make_landmarks(folder: Path) -> None:
    """Write clips of two signs: a hand that stays and one that moves."""
    random = np.random.default_rng(0)
    for sign, speed in (("stay", 0.0), ("move", 0.2)):
        for clip in range(12):
            (folder / sign / str(clip)).mkdir(parents=True)
            hand = random.normal(size=63)
            for frame in range(6):
                np.save(folder / sign / str(clip) / f"{frame}.npy", hand + speed * frame)


def environment_with_commands(folder: Path) -> dict[str, str]:
    """Return an environment whose `python` and `slipway` are those of the running one."""
    folder.mkdir()
    for name, start in (("python", ""), ("slipway", " -P -m slipway")):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable}{start} "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    return {**kept, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def leave_the_wizard(folder: Path, environment: dict[str, str]) -> None:
    wizard = pexpect.spawn(
        "slipway", ["wizard"], cwd=str(folder), env=environment, timeout=HANG_SECONDS, dimensions=(40, 120)
    )
    wizard.expect_exact("? explains:")
    wizard.sendline("q")
    wizard.expect(pexpect.EOF)
    wizard.close()
    assert wizard.exitstatus == 1


def test_the_stages_file_of_the_documentation_is_one() -> None:
    entries = yaml.safe_load(blocks("docs/stages.md", "yaml")[0])
    stages = [read_stage(entry, SignStage, "docs") for entry in entries]
    assert [stage.name for stage in stages] == ["warm", "settle"]


@pytest.mark.parametrize("name", ["cpu.yaml", "cpu_two_processes.yaml"])
def test_the_reference_configs_pass_accelerates_own_loader(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "accelerate_configs" / name))
    assert config.use_cpu is True
    assert config.mixed_precision == "no"
    assert config.num_processes == (2 if "two" in name else 1)

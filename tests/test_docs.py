"""What the documentation shows, runs."""

from __future__ import annotations

import re

import pytest
import torch
import yaml

from slipway.training.config.recipe import Stage
from slipway.training.config.stages import read_stage
from slipway.training.tasks.sign_options import SignStage
from tests.conftest import ROOT
from tests.training.helpers import make_recipe, make_trainer


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_task_of_the_documentation_learns_to_double() -> None:
    code = blocks("docs/tasks.md", "python")[0]
    names: dict[str, object] = {}
    exec(code.split("result = train")[0], names)
    task = names["Doubling"]()  # type: ignore[operator]
    recipe = make_recipe(Stage(name="only", epochs=20, weight_decay=0.0), monitor="loss", learning_rate=0.05)
    trainer, _ = make_trainer(task, recipe)
    assert trainer.run()["test_loss"] < 1e-3


def test_the_task_of_the_readme_trains() -> None:
    code = blocks("README.md", "python")[0]
    splits = {name: (torch.randn(40, 64), torch.arange(40) % 10) for name in ("train", "validation", "test")}
    names: dict[str, object] = {}
    for line, split in (
        ("inputs, labels", "train"),
        ("more, their_labels", "validation"),
        ("others, other_labels", "test"),
    ):
        names.update(zip(line.split(", "), splits[split], strict=True))
    exec(code.split("result = train")[0], names)
    trainer, _ = make_trainer(names["task"], make_recipe(Stage(name="only", epochs=1)))  # type: ignore[arg-type]
    assert trainer.run()["steps"] == 3


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

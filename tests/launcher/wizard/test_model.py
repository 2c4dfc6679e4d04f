"""The model that a person names is asked for what it needs, in a process of its own, and nothing else is run."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway.launcher.wizard import conversation
from slipway.launcher.wizard.model import ModelNeeds, ask_model
from tests.launcher.wizard.talk import Talker, of

TASK = """
import torch
from slipway import TensorTask

print("made")


def make_task(width: int = 8):
    inputs = torch.zeros(16, 4)
    splits = {"train": (inputs, torch.zeros(16, dtype=torch.long))}
    return TensorTask(lambda: torch.nn.Linear(4, width), splits)
"""
MUTE = "import time, os\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parameters_and_operations_of_a_task_are_counted_and_a_pass_is_timed() -> None:
    Path("my.py").write_text(TASK, encoding="utf-8")
    needs = ask_model(["--task", "my.py", "--batch-size", "6"])
    assert (needs.problem, needs.parameters, needs.base_batch_size, needs.is_batch_scaled) == ("", 40, 6, True)
    assert needs.flops_per_sample == 2 * (2 * 4 * 8)  # forward, and the gradient of the weights
    assert needs.launches_per_pass
    assert needs.cpu_seconds
    assert needs.bytes_per_sample > 4 * (4 + 8)
    assert needs.bytes_per_pass > 4 * 40


def test_why_a_model_cannot_be_asked_is_one_line() -> None:
    Path("my.py").write_text("def make_task():\n    raise RuntimeError('no\\nsuch thing')\n", encoding="utf-8")
    needs = ask_model(["--task", "my.py"])
    assert needs == ModelNeeds(problem="RuntimeError: no such thing (my.py, line 2)")


def test_a_model_that_does_not_answer_is_not_waited_for_and_leaves_no_process() -> None:
    Path("my.py").write_text(MUTE, encoding="utf-8")
    needs = ask_model(["--task", "my.py"], seconds=2.0)
    assert needs == ModelNeeds(problem="it did not answer within 2 s")
    if Path("pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int(Path("pid").read_text()), 0)


def test_what_was_counted_is_shown_and_is_part_of_the_command(talk: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    found = SimpleNamespace(
        needs=ModelNeeds(
            parameters=7_000_000_000,
            base_batch_size=32,
            is_batch_scaled=True,
            flops_per_sample=4e13,
            launches_per_pass=5000,
            bytes_per_sample=2e10,
        )
    )
    monkeypatch.setattr(conversation, "ask_model", lambda words: asked.append(list(words)) or found.needs)
    done = talk(["5", "-", "", "", "2 4", "", "3"], "--task", "my.py", "--data", "d", *of("8xh100"), typed=True)
    assert asked == [["--task", "my.py", "--data", "d"]]
    assert "7B parameters (counted), spread by FSDP2; 13.0 of 79.1 GiB each" in done.said
    assert "256 samples (the training's own); about 1.6 to 9 s a step" in done.said
    assert "128 samples (the training's own)" in done.said
    assert "sums over processes come on top" in done.said
    assert "--num-processes 4 --parameters 7000000000" in done.told
    found.needs = ModelNeeds(problem="it did not answer within 60 s")
    mute = talk(["", "3"], "--task", "my.py", *of("8xh100"))
    assert "the model was not asked completely: it did not answer within 60 s" in mute.said
    assert "--parameters" not in mute.told


def test_a_script_of_somebody_else_is_never_run_to_count_its_model(
    talk: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "ask_model", lambda *arguments: pytest.fail("asked"))
    Path("mine.py").write_text("raise SystemExit(9)\n", encoding="utf-8")
    said = talk(
        ["4 count", "4 1B", "1 mine.py --task x.py", "", "3"], "--script", "mine.py", "--device", "cpu", typed=True
    )
    assert "only a task of Slipway's own training can be asked" in said.said
    assert talk(["", "3"], "--device", "cpu").code == 0


def test_the_model_of_slipways_own_training_is_counted_on_request(
    talk: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "ask_model", lambda *arguments: ModelNeeds(parameters=298_202))
    done = talk(["4 count", "", "3"], *of("t4"))
    assert "298,202 parameters (counted); 5 MiB of " in done.said
    assert "--parameters 298202" in done.told

"""`slipway.load`: the model of a run comes back, where its code can be found, and is refused in one sentence where not."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import slipway
from slipway import DatasetTask, TensorTask, TrainingConfig, UserError, train
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

INPUTS = torch.randn(48, 6, generator=torch.Generator().manual_seed(1))
LABELS = (INPUTS[:, 0] > 0).long()
SPLITS = {"train": (INPUTS[:32], LABELS[:32]), "validation": (INPUTS[32:], LABELS[32:])}


class Net(nn.Sequential):
    def __init__(self, width: int = 4, *, classes: int = 2) -> None:
        super().__init__(nn.Linear(6, width), nn.BatchNorm1d(width), nn.Linear(width, classes))

    @classmethod
    def small(cls) -> Net:
        return cls(2)


def make_net() -> nn.Module:
    return torch.compile(Net(3))  # type: ignore[return-value]


def trained(make_model: Callable[[], nn.Module], kind: Any = TensorTask, **options: Any) -> Any:
    task = kind(make_model, SPLITS) if kind is TensorTask else kind(make_model, SPLITS["train"], SPLITS["validation"])
    config = TrainingConfig(epochs=1, device="cpu", log_level="error", experiment_name="one", compile=False, **options)
    return train(config, task)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    yield tmp_path
    for name in ("own_task", "own_net"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("make_model", "kind", "options"),
    [
        (Net, TensorTask, {}),
        (functools.partial(Net, 5, classes=3), DatasetTask, {"precision": "float64"}),
        (functools.partial(functools.partial(Net), width=5), DatasetTask, {"ema_decay": 0.5}),
        (Net.small, TensorTask, {}),
        (make_net, TensorTask, {}),
    ],
)
def test_a_model_comes_back_plain_with_the_best_weights(
    make_model: Callable[[], nn.Module], kind: Any, options: dict[str, Any]
) -> None:
    result = trained(make_model, kind, **options)
    state = torch.random.get_rng_state()
    model = slipway.load(result.folder)
    assert torch.equal(state, torch.random.get_rng_state())
    assert type(model) is Net
    assert not model.training
    saved = load_file(result.folder / "best" / "model.safetensors")
    loaded = model.state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) and loaded[name].dtype == saved[name].dtype for name in saved)


def test_a_run_is_named_by_its_name_its_folder_or_that_of_the_weights(working_folder: Path) -> None:
    trained(Net)
    last = load_file("runs/one/last/model.safetensors")["0.weight"]
    for run in ("one", "runs/one", working_folder / "runs" / "one"):
        assert torch.equal(slipway.load(run, "last").state_dict()["0.weight"], last)
    assert torch.equal(slipway.load("runs/one/last").state_dict()["0.weight"], last)


def test_what_cannot_be_found_again_is_asked_for_and_loads_strictly_into_what_is_given() -> None:
    trained(lambda: Net(4))
    with pytest.raises(UserError, match=re.escape("that does, slipway.load('one', make_model=...)")):
        slipway.load("one")
    assert type(slipway.load("one", make_model=lambda: Net(4))) is Net
    with pytest.raises(UserError, match=r"runs/one/best: its weights are of another model.*size mismatch for 0.weight"):
        slipway.load("one", make_model=lambda: Net(5))
    with pytest.raises(UserError, match="make_model must return a new module, got NoneType"):
        slipway.load("one", make_model=lambda: None)  # type: ignore[arg-type, return-value]


def test_code_that_is_gone_or_changed_is_one_sentence(working_folder: Path) -> None:
    file = working_folder / "own_net.py"
    file.write_text("from torch import nn\n\ndef make():\n    return nn.Linear(6, 2)\n")
    script = "import sys; sys.path.insert(0, '.'); from own_net import make"
    names: dict[str, Any] = {}
    exec(script, names)
    trained(names["make"])
    del sys.modules["own_net"]
    assert type(slipway.load("one")) is nn.Linear
    del sys.modules["own_net"]
    file.write_text("from torch import nn\n\ndef make():\n    return nn.Linear(6, 2, bias=False)\n")
    with pytest.raises(UserError, match="its weights are of another model than what makes it now: Unexpected key"):
        slipway.load("one")
    del sys.modules["own_net"]
    file.write_text("")
    with pytest.raises(UserError, match="own_net: there is no 'make' in it; bring it back, or give the function"):
        slipway.load("one")
    file.unlink()
    sys.modules.pop("own_net", None)
    with pytest.raises(
        UserError, match=r"own_net\.py: no such file; bring it back, or give the function that makes the"
    ):
        slipway.load("one")


@pytest.mark.parametrize(
    ("run", "which", "message"),
    [
        ("oen", "best", "slipway.load: oen: no such run, here or in runs (did you mean 'one'?)"),
        ("one", "worst", "slipway.load: which='worst': give 'best' or 'last'"),
        ("two", "best", "slipway.load: runs/two has no best/ yet: it is written at the end of its first epoch"),
        ("study", "best", "slipway.load: runs/study holds several runs; name one of them, such as runs/study/seed-0"),
        ("other", "best", "slipway.load: runs/other: no run there, and no model.safetensors"),
        ("broken", "best", "runs/broken/best/model.safetensors: is no whole safetensors file ("),
    ],
)
def test_what_is_no_run_with_weights_is_one_sentence(run: str, which: Any, message: str) -> None:
    for name in (
        "one/run.json",
        "two/run.json",
        "study/run.json",
        "study/seed-0/run.json",
        "broken/best/model.safetensors",
    ):
        Path("runs", name).parent.mkdir(parents=True, exist_ok=True)
        Path("runs", name).write_text("{}")
    Path("runs/other").mkdir()
    with pytest.raises(UserError, match=re.escape(message)):
        slipway.load(run, which)


def test_sign_recognition_and_a_named_task_come_back(working_folder: Path) -> None:
    config = TrainingConfig(quick_test=True, max_steps=2, device="cpu", log_level="error", stages_config="minimal")
    result = train(config)
    assert weights_of(slipway.load(result.folder)).keys() == weights_of(result.model).keys()
    (working_folder / "own_task.py").write_text(TASK)
    Path("count.txt").write_text("32")
    config = TrainingConfig(
        task="own_task.py", task_options={"width": 5}, data="count.txt", max_steps=1, device="cpu", log_level="error"
    )
    result = train(config)
    os.chdir("runs")
    assert slipway.load(result.folder).weight.shape == (5, 6)  # type: ignore[union-attr]


TASK = """
from pathlib import Path
import torch
from torch import nn
from slipway import TensorTask


def make_task(data: Path, width: int = 3):
    inputs = torch.ones(int(data.read_text()), 6)
    return TensorTask(lambda: nn.Linear(6, width), {"train": (inputs, torch.zeros(len(inputs)).long())})
"""
SCRIPT = """
import os, signal, threading
import torch
from torch import nn
from slipway import DatasetTask, Observer, TrainingConfig, train

class Killed(Observer):
    def on_epoch_end(self, event):
        if event.epoch == 2:
            for thread in threading.enumerate():
                if thread.name == "weights":
                    thread.join()
            os.kill(os.getpid(), signal.SIGKILL)

inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
labels = (inputs[:, 0] > 0).long()
task = DatasetTask(lambda: nn.Linear(6, 2), (inputs, labels), (inputs, labels))
config = TrainingConfig(epochs=9, device="cpu", monitor="loss", log_level="error", experiment_name="one", save_every="never")
train(config, task, observers=[Killed()])
"""


def test_a_killed_run_has_the_best_weights_and_the_last_of_its_complete_epochs(working_folder: Path) -> None:
    (working_folder / "script.py").write_text(SCRIPT)
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "script.py"], env=variables, timeout=HANG_SECONDS, check=False)
    assert done.returncode == -signal.SIGKILL
    best, last = (slipway.load("one", which, make_model=lambda: nn.Linear(6, 2)) for which in ("best", "last"))
    assert torch.equal(best.state_dict()["weight"], last.state_dict()["weight"])  # each epoch was better
    logged = [json.loads(line) for line in Path("runs/one/events.jsonl").read_text().splitlines()]
    loss = [event for event in logged if event.get("event") == "epoch"][-1]["validation"]["loss"]
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    found = nn.functional.cross_entropy(best(inputs), (inputs[:, 0] > 0).long())
    assert found.item() == pytest.approx(loss, rel=1e-5)

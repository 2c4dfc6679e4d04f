"""A data set of one's own through `train`: killed and resumed, on another plan, in other processes; what comes back."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import random
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset

from slipway.training.common.errors import EXIT_BAD_INPUT, UserError
from slipway.training.observers.events import Observer, StepEnd
from slipway.training.run.result import RunResult
from slipway.training.run.train import train
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.dataset_task import DatasetTask
from slipway.training.tasks.tensors import TensorTask
from tests.limits import HANG_SECONDS, wait_until
from tests.training.helpers import catch
from tests.training.processes import is_running, run_group, started

STAGES = "- {name: only, epochs: 3, schedule: constant, warmup_epochs: 0, weight_decay: 0}\n"


class Jittered(Dataset[Any]):
    """Draws from all three generators."""

    def __init__(self, count: int, seen_by: Path | None = None) -> None:
        self.count, self.seen_by = count, seen_by

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if self.seen_by is not None:
            (self.seen_by / str(os.getpid())).touch()
        x = torch.randn(4, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
        noise = torch.randn(4, dtype=torch.float64) + np.random.rand() + random.random()
        return {"x": x + 0.1 * noise, "target": x.sum()[None]}


def r2(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 1 - (outputs - targets).square().sum() / (targets - targets.mean()).square().sum()


def make_net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def make_task(seen_by: Path | None = None, **options: Any) -> DatasetTask:
    values = {"loss": nn.MSELoss(), "metrics": {"r2": r2, "worst": ("min", lambda o, t: (o - t).abs().max())}}
    values["make_model"] = make_net
    return DatasetTask(train=Jittered(50, seen_by), val=Jittered(20), test=Jittered(17), **{**values, **options})


class Killer(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, event: StepEnd) -> None:
        if event.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, kill_at: int, name: str, **options: Any) -> int:
    stages = folder / f"stages-{os.environ.get('RANK', '0')}.yaml"
    stages.write_text(STAGES)
    values = {
        "stages_config": str(stages),
        "batch_size": 8,
        "batch_rule": "fixed",
        "precision": "float64",
        "runs_dir": str(folder),
        "experiment_name": name,
        "device": "cpu",
        "monitor": "r2",
        "save_every": "1step",
        "log_level": "error",
        "micro_batch_size": 3,
    }
    try:
        train(
            TrainingConfig(**{**values, **options}), make_task(folder / "readers"), [Killer(kill_at)] if kill_at else []
        )
    except UserError as error:
        print(error)
        return EXIT_BAD_INPUT
    return 0


def wait_for_the_end_of_readers(folder: Path) -> None:
    """Return when the processes that read samples have ended; some hosts keep the entries of ended ones a while."""
    wait_until(lambda: not any(is_running(one.name) for one in folder.iterdir()))


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([one.flatten() for _, one in sorted(load_file(folder / "last" / "model.safetensors").items())])


def test_samples_that_draw_are_the_same_after_a_kill_with_processes_on_any_plan(tmp_path: Path) -> None:
    (tmp_path / "readers").mkdir()
    assert run_group(1, tmp_path / "out", partial(run, num_workers=0), tmp_path, 0, "whole") == [0]
    for size, workers in ((1, 2), (2, 1)):
        name = f"killed-{size}"
        killed = partial(run, num_workers=workers)
        with started(size, tmp_path / f"out-{name}", killed, tmp_path, 9, name) as group:
            group.processes[0].join(HANG_SECONDS)
            assert group.processes[0].exitcode == -signal.SIGKILL
        wait_for_the_end_of_readers(tmp_path / "readers")
        resumed = partial(run, num_workers=0, resume=str(tmp_path / name))
        assert run_group(3 - size, tmp_path / f"again-{name}", resumed, tmp_path, 0, name) == [0] * (3 - size)
        expected = weights(tmp_path / "whole")
        assert (weights(tmp_path / name) - expected).abs().max() < 1e-10 * expected.abs().max()
    record = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert record["result"]["test_r2"] == pytest.approx(record["result"]["test_r2"])
    assert record["result"]["stages"][0]["validation_worst"] > 0


@pytest.fixture
def go(training_in_this_process: None, tmp_path: Path) -> Any:
    def start(task: Any, **options: Any) -> RunResult:
        values = {"epochs": 2, "stages_config": "minimal", "runs_dir": str(tmp_path), "device": "cpu"}
        return train(TrainingConfig(**{**values, "experiment_name": "own", **options}), task)

    return start


def test_the_result_has_the_folder_the_best_model_and_the_metrics(go: Any, tmp_path: Path) -> None:
    result = go(make_task(), monitor="r2")
    assert result.folder == tmp_path / "own"
    assert result["test_r2"] == result.metrics["test_r2"]
    assert set(result.metrics) == {
        f"{split}_{name}" for split in ("test", "validation") for name in ("loss", "r2", "worst")
    }
    assert not result.model.training
    saved = load_file(result.folder / "best" / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in result.model.state_dict().items())
    again = go(make_task(), monitor="r2", resume=str(result.folder))
    assert all(torch.equal(value, saved[name]) for name, value in again.model.state_dict().items())
    assert again == result


def test_own_metrics_stand_in_the_tables_in_place_of_those_of_classes(
    go: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    go(make_task(), monitor="worst:min")
    told = capfd.readouterr().out + capfd.readouterr().err
    table = told[told.index("by stage") :]
    assert " r2" in table
    assert " worst" in table
    assert "accuracy" not in table


def test_the_monitor_is_what_the_task_has_unless_one_is_named(go: Any, tmp_path: Path) -> None:
    def recipe() -> Any:
        return json.loads((tmp_path / "own" / "run.json").read_text())["recipe"]

    go(make_task())
    assert (recipe()["monitor"], recipe()["monitor_direction"]) == ("loss", "auto")
    go(make_task(), monitor="worst", overwrite=True)
    assert (recipe()["monitor"], recipe()["monitor_direction"]) == ("worst", "min")
    x, y = torch.randn(30, 4), torch.arange(30) % 3
    result = go(DatasetTask(lambda: nn.Linear(4, 3), (x, y), dev=(x, y)), overwrite=True)
    assert recipe()["monitor"] == "accuracy"
    assert set(result.metrics) == {"validation_loss", "validation_accuracy", "validation_macro_f1"}


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("r3", "--monitor: 'r3' is none of loss, r2, odd (did you mean 'r2'?)"),
        ("odd", "--monitor odd: say whether more or less of it is better, odd:max or odd:min"),
        ("r2:best", "--monitor: 'r2:best' is no metric"),
    ],
)
def test_a_monitor_that_cannot_be_followed_is_told(go: Any, tmp_path: Path, monitor: str, message: str) -> None:
    task = make_task(metrics={"r2": r2, "odd": lambda o, t: 0.5})
    assert message in str(catch(go, task, monitor=monitor))
    assert not (tmp_path / "own").exists()


def test_a_monitored_metric_that_is_no_number_is_told_once(go: Any, capfd: pytest.CaptureFixture[str]) -> None:
    go(make_task(metrics={"r2": lambda o, t: torch.tensor(float("nan"))}), monitor="r2")
    assert (
        capfd.readouterr().err.count("the validation's r2 is nan: an epoch in which it is not finite counts as the wo")
        == 1
    )


def test_first_weights_of_another_file_are_told_when_a_run_goes_on_from_its_own(
    go: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def with_weights(seed: int) -> DatasetTask:
        pretrained = torch.nn.Linear(4, 1)
        nn.init.normal_(pretrained.weight, generator=torch.Generator().manual_seed(seed))
        return make_task(make_model=lambda: copy.deepcopy(pretrained))

    go(with_weights(1))
    own = json.loads((tmp_path / "own" / "run.json").read_text())["recipe_hash"]
    go(with_weights(1), resume="auto")
    assert "other weights" not in capfd.readouterr().err
    go(with_weights(2), resume="auto")
    assert "own: the model starts from other weights than when the run began" in capfd.readouterr().err
    other = go(with_weights(2), experiment_name="other")
    assert json.loads((other.folder / "run.json").read_text())["recipe_hash"] != own


def test_a_model_may_draw_its_first_weights_from_numpy_and_random(go: Any) -> None:
    def make_model() -> nn.Module:
        model = nn.Linear(4, 1)
        nn.init.constant_(model.weight, np.random.rand() + random.random())
        return model

    first = go(make_task(make_model=make_model)).metrics
    assert go(make_task(make_model=make_model), experiment_name="again").metrics == first


def test_a_target_that_is_no_class_is_found_before_the_first_step_wherever_it_stands(go: Any) -> None:
    x, y = np.random.default_rng(0).normal(size=(300, 4)), (np.arange(300) % 3).astype(np.int32)
    late = y.copy()
    late[290] = 7
    error = catch(go, DatasetTask(lambda: nn.Linear(4, 3), (x, y), val=(x, late)))
    assert "the target of sample 290 of validation is 7, but the model scores 3 classes, 0 to 2" in str(error)


@pytest.mark.parametrize("is_array", [False, True])
def test_with_workers_validation_and_test_are_read_in_processes_to_the_same_numbers(
    go: Any, tmp_path: Path, is_array: bool
) -> None:
    class Watched(Jittered):
        def __getitem__(self, index: int) -> Any:
            (tmp_path / f"{len(self)}-{index}-{os.getpid()}").touch()
            return super().__getitem__(index)

    x = torch.randn(40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for workers in (0, 2):
        for one in tmp_path.glob("*-*-*"):
            one.unlink()
        held = {"val": Watched(33), "test": Watched(35)}
        train_split = {"x": x, "target": x.sum(1, keepdim=True)} if is_array else Jittered(40)
        task = DatasetTask(make_net, train_split, loss=nn.MSELoss(), metrics={"r2": r2}, **held)
        options = {"epochs": 2, "batch_size": 8, "micro_batch_size": 4, "overwrite": True, "precision": "float64"}
        results.append(go(task, num_workers=workers, **options).metrics)
        elsewhere = {one.name.rsplit("-", 1)[0] for one in tmp_path.glob("*-*-*") if not one.match(f"*-{os.getpid()}")}
        assert len(elsewhere) == (33 + 35 if workers else 0)
    assert results[0] == results[1]


def test_a_run_that_is_refused_leaves_no_process_that_reads_samples(go: Any) -> None:
    before = {child.pid for child in multiprocessing.active_children()}
    catch(go, make_task(loss=lambda outputs, targets: (outputs - targets).abs()), num_workers=2)
    assert {child.pid for child in multiprocessing.active_children()} == before


def test_what_a_sample_raises_in_another_process_is_raised_in_the_training(go: Any) -> None:
    class Broken(Jittered):
        def __getitem__(self, index: int) -> Any:
            if index >= 40:
                raise KeyError(f"no file {index}")
            return super().__getitem__(index)

    task = DatasetTask(lambda: nn.Linear(4, 1), Broken(40), loss=nn.MSELoss())
    task._sources()["train"].size = 50
    with pytest.raises(UserError, match=r"train: sample 4. fails: KeyError: 'no file 4.' \(test_own_data.py, line"):
        go(task, num_workers=2)


def test_tensor_task_takes_arrays_and_other_names_of_splits(go: Any) -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 4)), (np.arange(30) % 3).astype(np.int32)
    result = go(TensorTask(lambda: nn.Linear(4, 3), {"train": (x, y), "val": (x, y)}))
    assert "validation_accuracy" in result.metrics
    error = catch(TensorTask, lambda: nn.Linear(4, 3), {"train": (x, y), "tset": (x, y)})
    assert "unknown split 'tset' (did you mean 'test'?)" in str(error)

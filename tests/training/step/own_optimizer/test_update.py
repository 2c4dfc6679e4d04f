"""An optimizer of a user's: skipped updates leave it as it was, its state is saved and read back, nothing of it is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.own_exactness import OWN, BlobTask, Lion, Own, flatten, recipe_of, triangle
from slipway import TrainingConfig, train
from slipway.training.common.errors import UserError
from slipway.training.config.intervals import Interval
from slipway.training.config.methods import Methods
from slipway.training.config.recipe import Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.saver import CheckpointWriter, Saving
from slipway.training.loop.state import broadcast_checkpoint
from slipway.training.loop.trainer import Trainer
from slipway.training.observers.runtime import Runtime
from slipway.training.step.own_optimizer.update import TorchOptimizer, make_optimizer
from slipway.training.storage.checkpoint import newest_checkpoint
from tests.limits import HANG_SECONDS
from tests.training.helpers import PLAN, catch


class Prodigal(Lion):
    """Changes numbers of its group and its own at each step, as optimizers do that find their rate themselves."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["scale"] = 1.1 * group.get("scale", 1.0)
            group["sum"] = group.get("sum", torch.zeros(())) + 0.1
            self.count = getattr(self, "count", 0) + 1
            for parameter in group["params"]:
                parameter.grad.mul_(group["scale"] + group["sum"] + self.count)
        super().step()


FOREIGN = [name for name in OWN if name not in ("AdamW with betas", "SGD with momentum")]
ALL = {
    **{name: OWN[name] for name in FOREIGN},
    "Prodigal": Own(plain=OWN["Lion"].plain, options={}, methods=Methods(optimizer=Prodigal)),
}


def trainer_of(
    own: Own, folder: Path | None = None, stages: int = 1, kind: type[BlobTask] = BlobTask, **runtime: Any
) -> Trainer:
    recipe = recipe_of(own)
    recipe = replace(recipe, stages=tuple(replace(recipe.stages[0], name=f"s{number}") for number in range(stages)))
    return Trainer(
        task=kind(own.groups),
        recipe=recipe,
        plan=replace(PLAN, micro_batch_size=5),
        runtime=Runtime(ranks=Ranks.alone(), **runtime),
        saving=Saving(folder=folder, every=Interval.parse("5step", "save_every") if folder else None, keep=20),
        methods=own.methods,
    )


@pytest.fixture
def every_fifth_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save at every interval, however slow the disk."""
    monkeypatch.setattr(CheckpointWriter, "is_busy", False)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("every_fifth_step")
def test_a_resumed_run_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    whole = trainer_of(ALL[name], tmp_path, stages=2)
    whole.run()
    checkpoints = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.name[7:] for path in checkpoints] == [f"step-{step}" for step in (0, 5, 10, 15, 20, 25, 30)]
    for checkpoint in checkpoints[-1:0:-2]:
        for path in tmp_path.glob("checkpoints/*"):
            if path.name > checkpoint.name:
                path.rename(tmp_path / path.name)
        manifest, problems = newest_checkpoint(tmp_path)
        found = broadcast_checkpoint(manifest, Ranks.alone())
        assert found is not None
        assert not problems
        again = trainer_of(ALL[name], stages=2)
        again.restore(*found)
        again.run()
        assert torch.equal(flatten(again.model.parameters()), flatten(whole.model.parameters()))


@pytest.mark.usefixtures("every_fifth_step")
def test_the_state_stands_in_the_checkpoint_by_the_names_of_parameters(tmp_path: Path) -> None:
    trainer_of(ALL["Lion"], tmp_path).run()
    saved = load_file(sorted(tmp_path.glob("checkpoints/*/optimizer.safetensors"))[-1])
    assert saved["tensor/4.weight/moment"].shape == (4, 12)
    assert saved["number/4.bias/updates"].item() == 15
    trainer_of(ALL["Prodigal"], tmp_path / "other").run()
    saved = load_file(sorted(tmp_path.glob("other/checkpoints/*/optimizer.safetensors"))[-1])
    assert saved["number@group/0/scale"].item() == pytest.approx(1.1**15)
    assert saved["tensor@group/0/sum"].item() == pytest.approx(1.5)
    assert saved["number@optimizer/count"].item() == 15


@pytest.mark.parametrize("queues_steps", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_an_update_of_bad_numbers_leaves_weights_and_state_as_they_were(name: str, queues_steps: bool) -> None:
    trainer = trainer_of(ALL[name], queues_steps=queues_steps)
    stage = trainer.recipe.stages[0]
    trainer.begin_stage(0, stage)
    optimizer = trainer.state.optimizer
    assert isinstance(optimizer, TorchOptimizer)
    works = list(trainer.loop.sampler.epoch(0, 0))

    def step(number: int) -> None:
        for work, batches in trainer.loader.steps(iter([works[number]]), 0, stage):
            trainer.loop.queue_step(work, batches, stage)

    def kept() -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in optimizer.tensors().items()}

    step(0)
    before, weights = kept(), flatten(trainer.model.parameters())
    inputs, _ = trainer.task._splits["train"]  # type: ignore[attr-defined]
    inputs[works[1].global_batch[0]] = torch.nan
    step(1)
    after = kept()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[one], after[one]) for one in before)
    assert torch.equal(weights, flatten(trainer.model.parameters()))
    step(2)
    assert not torch.equal(weights, flatten(trainer.model.parameters()))


def test_an_overflow_of_fp16_leaves_weights_and_state_as_they_were() -> None:
    scaled, plain = trainer_of(ALL["Lion"]), trainer_of(ALL["Lion"])
    for trainer in (scaled, plain):
        trainer.begin_stage(0, trainer.recipe.stages[0])
    optimizer, scale = scaled.state.optimizer, scaled.state.loss_scale
    assert isinstance(optimizer, TorchOptimizer)
    scale.enabled = True
    first = flatten(scaled.model.parameters())

    def step(trainer: Trainer, number: int) -> None:
        stage = trainer.recipe.stages[0]
        work = list(trainer.loop.sampler.epoch(0, 0))[number]
        for one, batches in trainer.loader.steps(iter([work]), 0, stage):
            trainer.loop.queue_step(one, batches, stage)

    scale.scale.fill_(torch.inf)
    step(scaled, 0)
    assert optimizer.tensors() == {}
    assert torch.equal(flatten(scaled.model.parameters()), first)
    scale.scale.fill_(1024.0)
    step(scaled, 1)
    step(plain, 1)
    assert float(scale.scale) == 1024.0
    assert optimizer.tensors()["number/4.bias/updates"].item() == 1
    assert torch.allclose(flatten(scaled.model.parameters()), flatten(plain.model.parameters()), rtol=1e-12, atol=0)


class Noting(torch.optim.Optimizer):
    """Has a list of its own."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.history: list[float] = []

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.history.append(1.0)


class Replacing(Noting):
    """Puts new tensors in the place of the parameters."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            parameter.data = parameter.data - parameter.grad


class Listing(Noting):
    """Has a list in its state."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.state[self.param_groups[0]["params"][0]]["history"] = [1.0]


class Common(Noting):
    """Has state of no parameter."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.state["all"]["count"] = 1


class Drawing(Noting):
    """Draws random numbers."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        torch.rand(1)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Noting, "keeps 'history' outside of its state"),
        (Replacing, "change them in place"),
        (Listing, "its state 'history' is a list"),
        (Common, "which is no parameter"),
        (Drawing, "draws random numbers"),
    ],
)
def test_an_optimizer_that_could_not_be_resumed_is_refused_at_its_first_update(kind: Any, message: str) -> None:
    own = Own(plain=OWN["Lion"].plain, options={}, methods=Methods(optimizer=kind))
    assert message in str(catch(trainer_of(own).run))


def test_each_stage_has_a_new_optimizer_with_its_own_decay() -> None:
    own = OWN["NAdam, a class"]
    trainer = trainer_of(own, stages=2)
    trainer.recipe = replace(
        trainer.recipe, stages=(trainer.recipe.stages[0], replace(trainer.recipe.stages[1], weight_decay=0.7))
    )
    trainer.run()
    optimizer = trainer.state.optimizer
    assert isinstance(optimizer, TorchOptimizer)
    assert optimizer.optimizer.param_groups[0]["weight_decay"] == 0.7
    assert {int(one["step"]) for one in optimizer.optimizer.state.values()} == {16}


def test_sharded_parameters_are_refused() -> None:
    own = OWN["Lion"]
    parameters = trainer_of(own).parameters
    parameters.passes_are_collective = True  # type: ignore[misc]
    made = partial(make_optimizer, recipe_of(own), BlobTask(), trainer_of(own).model, parameters, own.methods)
    assert "use --sharding replicate" in str(catch(made))


class UnfreezingTask(BlobTask):
    """Trains its head, then all of it."""

    def begin_stage(self, model: Any, stage: Stage) -> None:
        model[0].requires_grad_(stage.name == "s1")


@pytest.mark.parametrize("name", ["Lion in layers", "NAdam, a class"])
def test_what_a_stage_freezes_is_left_alone_and_what_it_unfreezes_learns(name: str) -> None:
    trainer = trainer_of(OWN[name], stages=2, kind=UnfreezingTask)
    before = trainer.model[0].weight.detach().clone()  # type: ignore[index]
    ends = []
    trainer.runtime.observer.on_stage_end = lambda event: ends.append(trainer.model[0].weight.detach().clone())  # type: ignore[method-assign, index]
    trainer.run()
    assert torch.equal(ends[0], before)
    assert not torch.equal(ends[1], before)


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from slipway import Observer, TrainingConfig, train
from benchmarks.own_exactness import BlobTask, Lion, triangle

class Killed(Observer):
    def on_step(self, event):
        if event.step == 9:
            while not list(Path(sys.argv[1]).glob("run/checkpoints/[0-9]*-step-*")):  # they are written beside the training
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

config = TrainingConfig(
    monitor="loss", stages_config="minimal", epochs=5, batch_size=16, experiment_name="run", save_every="1step",
    runs_dir=sys.argv[1],
)
train(config, BlobTask(groups=True), [Killed()], optimizer=Lion, schedule=triangle)
"""


def test_a_killed_run_goes_on_and_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    killed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    def go_on(folder: Path, resume: str | None) -> dict[str, torch.Tensor]:
        config = TrainingConfig(
            monitor="loss",
            stages_config="minimal",
            epochs=5,
            batch_size=16,
            experiment_name="run",
            runs_dir=str(folder),
            save_every="1step",
            resume=resume,
        )
        train(config, BlobTask(groups=True), optimizer=Lion, schedule=triangle)
        return load_file(folder / "run" / "last" / "model.safetensors")

    resumed, whole = go_on(folder, "auto"), go_on(tmp_path / "whole", None)
    assert "goes on after step" in (folder / "run" / "events.jsonl").read_text()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    with pytest.raises(UserError, match="own_optimizer"):
        train(
            TrainingConfig(
                monitor="loss", stages_config="minimal", epochs=5, batch_size=16, resume=str(tmp_path / "whole" / "run")
            ),
            BlobTask(groups=True),
            optimizer=torch.optim.NAdam,
            schedule=triangle,
        )

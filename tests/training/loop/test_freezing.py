"""Stages that freeze and unfreeze parts of a model: what is frozen stays as it is to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from slipway import TrainingConfig, train
from slipway.training.common.errors import UserError
from slipway.training.config.intervals import Interval
from slipway.training.config.recipe import Recipe, Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.state import broadcast_checkpoint
from slipway.training.loop.trainer import Trainer
from slipway.training.storage.checkpoint import newest_checkpoint
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import make_recipe, make_task, make_trainer, stop_after
from tests.training.processes import run_group

TRAINED = {"head": ("2",), "body": ("0",), "all": ("0", "2")}


class Freezing(TensorTask):
    """Trains the parts that the stage's name says; the model is built with all of it frozen."""

    def build_model(self) -> nn.Module:
        model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        model[0].register_parameter("never", nn.Parameter(torch.ones(3)))
        return model.requires_grad_(False)

    def begin_stage(self, model: nn.Module, stage: Stage) -> None:
        for name, part in model.named_children():
            part.requires_grad_(name in TRAINED[stage.name])


def task() -> Freezing:
    made = Freezing.__new__(Freezing)
    made.__dict__.update(make_task().__dict__)
    return made


def recipe(*names: str, **options: Any) -> Recipe:
    stages = [Stage(name=name, epochs=2, weight_decay=0.2, patience=None) for name in names]
    return make_recipe(*stages, precision="float64", learning_rate=0.02, clip_norm=0.5, **options)


def flat(trainer: Trainer, part: str) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in trainer.model.get_submodule(part).parameters()]).clone()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("large", [False, True])
def test_what_a_stage_freezes_stays_and_the_rest_learns_as_if_it_were_frozen_from_the_start(
    optimizer: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("slipway.training.step.optimizer._DECAYED_APART_ELEMENTS", 1)
    trainer, recorder = make_trainer(task(), recipe("head", "body", optimizer=optimizer))
    frozen, moments = {}, {}
    begin, run = trainer.begin_stage, trainer._run_epoch

    def begun(number: int, stage: Stage) -> None:
        begin(number, stage)
        frozen[stage.name] = {part: flat(trainer, part) for part in ("0", "2")}

    def ran(*arguments: Any) -> None:
        run(*arguments)
        stage = arguments[1].name
        for part in {"0", "2"} - set(TRAINED[stage]):
            assert torch.equal(flat(trainer, part), frozen[stage][part])
        for part in TRAINED[stage]:
            assert not torch.equal(flat(trainer, part), frozen[stage][part])
        moments[stage] = sum(int((one != 0).sum()) for one in trainer.state.optimizer.moments.values())

    trainer.begin_stage, trainer._run_epoch = begun, ran  # type: ignore[method-assign]
    trainer.run()
    kinds = 2 if optimizer == "adamw" else 1
    assert moments["head"] <= kinds * (16 * 4 + 4)
    assert moments["body"] <= kinds * (8 * 16 + 16 + 3)

    class Built(Freezing):
        def begin_stage(self, model: nn.Module, stage: Stage) -> None:
            """Change nothing."""

        def build_model(self) -> nn.Module:
            model = super().build_model()
            model[2].requires_grad_(True)  # type: ignore[index]
            return model

    other = Built.__new__(Built)
    other.__dict__.update(make_task().__dict__)
    alone, watched = make_trainer(other, recipe("head", optimizer=optimizer))
    alone.run()
    first = [step.loss for step in recorder.steps[: len(watched.steps)]]
    assert first == pytest.approx([step.loss for step in watched.steps], rel=1e-12)


def test_a_run_that_is_resumed_in_a_stage_goes_on_with_what_it_freezes(tmp_path: Path) -> None:
    asked = recipe("head", "body", "all")
    whole, _ = make_trainer(task(), asked)
    whole.run()
    for steps in (3, 8, 11, 18):
        folder = tmp_path / str(steps)
        folder.mkdir()
        cut, _ = make_trainer(task(), asked, folder=folder, save_every=Interval.parse("9999step", "save_every"))
        stop_after(cut, steps)
        with pytest.raises(KeyboardInterrupt):
            cut.run()
        found = broadcast_checkpoint(newest_checkpoint(folder)[0], Ranks.alone())
        assert found is not None
        resumed, _ = make_trainer(task(), asked)
        resumed.restore(*found)
        assert resumed.progress.step == steps
        resumed.run()
        assert torch.equal(whole.parameters.values, resumed.parameters.values)


def test_what_cannot_be_frozen_or_trained_is_one_sentence() -> None:
    class Wrong(Freezing):
        def begin_stage(self, model: nn.Module, stage: Stage) -> None:
            model.requires_grad_(stage.name == "head")
            if stage.name == "body":
                model.append(nn.Linear(4, 4).double())  # type: ignore[operator]

    made = Wrong.__new__(Wrong)
    made.__dict__.update(make_task().__dict__)
    for name, message in (
        ("body", "3.weight trainable, which is new"),
        ("all", "stage all: it freezes every parameter"),
    ):
        trainer, _ = make_trainer(made, recipe("head", name))
        with pytest.raises(UserError, match=message):
            trainer.run()


def train_here(folder: Path, stages: Path, micro_batch: int, reduction: Any) -> None:
    config = TrainingConfig(
        stages_config=str(stages),
        batch_size=16,
        batch_rule="fixed",
        precision="float64",
        learning_rate=0.02,
        device="cpu",
        log_level="error",
        runs_dir=str(folder),
        experiment_name="run",
        micro_batch_size=micro_batch,
        reduction=reduction,
    )
    train(config, task())


def test_freezing_gives_the_same_weights_on_two_processes(tmp_path: Path) -> None:
    stages = tmp_path / "stages.yaml"
    stages.write_text("".join(f"- {{name: {name}, epochs: 2, weight_decay: 0.2}}\n" for name in TRAINED))
    weights = []
    for processes, micro_batch, reduction in ((1, 16, "auto"), (2, 3, "flat"), (2, 8, "overlap")):
        folder = tmp_path / f"{processes}-{micro_batch}"
        assert run_group(processes, folder, train_here, folder, stages, micro_batch, reduction) == [0] * processes
        plan = json.loads((folder / "run" / "run.json").read_text())["plan"]
        assert plan["world_size"] == processes
        state = load_file(folder / "run" / "last" / "model.safetensors")
        weights.append(torch.cat([one.flatten() for one in state.values()]))
    for other in weights[1:]:
        assert float((weights[0] - other).abs().max() / weights[0].abs().max()) < 1e-10

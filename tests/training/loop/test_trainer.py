"""Stages, early stopping, restoring, schedules: what the loop promises, in one process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from slipway.training.config.recipe import OptimizerSpec, Stage
from slipway.training.loop.best import Best, Score, Snapshot
from slipway.training.run.announce import announce_run
from slipway.training.tasks.task import Batch
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import PLAN, make_recipe, make_task, make_trainer


def test_a_short_last_batch_weighs_as_much_per_sample_as_any_other() -> None:
    trainer, recorder = make_trainer(make_task(50), make_recipe(Stage(name="only", epochs=2)))
    trainer.run()
    assert [sum(step.samples_per_rank) for step in recorder.steps] == [16, 16, 16, 2] * 2
    assert [epoch.samples_seen for epoch in recorder.epochs] == [50, 50]
    losses = [float(step.loss) * sum(step.samples_per_rank) for step in recorder.steps[:4]]
    assert recorder.epochs[0].train_loss == pytest.approx(sum(losses) / 50, rel=1e-5)


@pytest.mark.parametrize("micro_batch_size", [1, 3, 16])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_any_micro_batch_size_gives_the_same_weights(micro_batch_size: int, optimizer: str) -> None:
    recipe = make_recipe(Stage(name="only", epochs=3), precision="float64", optimizer=optimizer, learning_rate=0.01)
    whole, _ = make_trainer(make_task(), recipe)
    whole.run()
    cut, recorder = make_trainer(make_task(), recipe, plan=replace(PLAN, micro_batch_size=micro_batch_size))
    cut.run()
    assert recorder.steps[0].micro_batches == -(-16 // micro_batch_size)
    assert (whole.parameters.values - cut.parameters.values).abs().max() < 1e-12


class WeightedTask(TensorTask):
    """Counts a sample as often as its label plus one, as a sequence counts its tokens."""

    def weights(self, batch: Batch) -> torch.Tensor:
        return (batch.tensors["labels"] + 1).double()

    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Stage | None) -> torch.Tensor:
        return super().losses(outputs, batch, stage) * self.weights(batch)


def test_a_weighted_loss_is_divided_by_the_weights_of_the_global_batch() -> None:
    inputs, labels = torch.randn(10, 8, dtype=torch.float64), torch.arange(10) % 4
    task = WeightedTask(lambda: nn.Linear(8, 4), {"train": (inputs, labels)})
    recipe = make_recipe(Stage(name="only", epochs=1), precision="float64", clip_norm=0.0)
    trainer, recorder = make_trainer(task, recipe, plan=replace(PLAN, micro_batch_size=3))
    model = nn.Linear(8, 4).double()
    model.load_state_dict(trainer.model.state_dict())
    weights = (labels + 1).double()
    losses = nn.functional.cross_entropy(model(inputs), labels, reduction="none")
    expected = (losses * weights).sum() / weights.sum()
    expected.backward()
    trainer.run()
    assert float(recorder.steps[0].loss) == pytest.approx(expected.item(), rel=1e-12)
    norm = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()  # type: ignore[union-attr]
    assert float(recorder.steps[0].gradient_norm) == pytest.approx(float(norm), rel=1e-10)


def test_stages_carry_the_best_weights_on_and_leave_a_row_each(tmp_path: Path) -> None:
    recipe = make_recipe(Stage(name="one", epochs=3), Stage(name="two", epochs=2), learning_rate=0.01)
    trainer, recorder = make_trainer(make_task(), recipe, folder=tmp_path)
    result = trainer.run()
    assert [(row["stage"], row["epochs"], row["steps"]) for row in result["stages"]] == [("one", 3, 12), ("two", 2, 8)]
    assert [step.epoch for step in recorder.steps[::4]] == [0, 1, 2, 3, 4]
    assert result["steps"] == 20
    accuracies = [epoch.validation["accuracy"] for epoch in recorder.epochs]
    assert result["validation_accuracy"] == max(accuracies)
    best = load_file(tmp_path / "best" / "model.safetensors")
    assert torch.equal(best["0.weight"], trainer.model.state_dict()["0.weight"])
    assert trainer.evaluate("validation")["accuracy"] == max(accuracies)
    assert (tmp_path / "last" / "model.safetensors").is_file()


class ScriptedTask(TensorTask):
    """Reports validation accuracies from a list, whatever the model does."""

    def __init__(self, accuracies: list[float]) -> None:
        self.__dict__.update(make_task().__dict__)
        self.script = iter(accuracies)

    def metrics(self, rows: np.ndarray, split: str) -> dict[str, Any]:
        found = super().metrics(rows, split)
        return {**found, "accuracy": next(self.script)} if split == "validation" else found


def test_a_stage_stops_after_its_patience_and_restores_its_best_epoch() -> None:
    task = ScriptedTask([0.1, 0.5, 0.4, 0.4, 0.4, 0.9])
    trainer, recorder = make_trainer(task, make_recipe(Stage(name="only", epochs=10, patience=3)))
    seen: list[torch.Tensor] = []
    evaluate = trainer.evaluate
    trainer.evaluate = lambda split: (seen.append(trainer.parameters.values.clone()), evaluate(split))[1]  # type: ignore[method-assign]
    result = trainer.run()
    assert result["stages"][0]["epochs"] == 5
    assert result["stages"][0]["best_epoch"] == 2
    assert result["stages"][0]["stopped"] == "no gain for 3 epochs"
    assert [decision.kind for decision in recorder.decisions] == ["early_stop"]
    assert torch.equal(trainer.parameters.values, seen[1])
    assert not torch.equal(trainer.parameters.values, seen[4])


def test_gains_below_min_delta_do_not_reset_patience_but_are_kept() -> None:
    best = Best(min_delta=0.1)

    def offer(value: float) -> bool:
        return best.offer(Score(value=value, loss=1.0), lambda: Snapshot(torch.tensor([value]), ()), 0, {})

    improved = [offer(value) for value in (0.5, 0.55, 0.59, 0.65)]
    assert improved == [True, True, True, True]
    assert best.epochs_without_improvement == 0
    offer(0.7)
    assert best.snapshot is not None
    assert best.snapshot.values.item() == pytest.approx(0.7)
    assert best.epochs_without_improvement == 1


def test_equal_accuracy_goes_to_the_lower_loss_and_nothing_beats_by_being_nan() -> None:
    assert Score(value=0.5, loss=1.0).beats(Score(value=0.5, loss=2.0))
    assert not Score(value=0.5, loss=2.0).beats(Score(value=0.5, loss=2.0))
    broken = Score.of({"accuracy": 0.5, "loss": float("nan")}, "loss")
    assert not broken.beats(Score(value=-9.0, loss=9.0))
    assert Score.of({"accuracy": 0.1, "loss": 1.0}, "loss").beats(Score.of({"accuracy": 0.9, "loss": 2.0}, "loss"))


@pytest.mark.parametrize(("threshold", "stages"), [(-1.0, 3), (0.05, 2), (0.5, 2)])
def test_the_next_stage_starts_only_after_enough_improvement(threshold: float, stages: int) -> None:
    task = ScriptedTask([0.5, 0.52, 0.53])
    names = ("one", "two", "three")
    recipe = make_recipe(*(Stage(name=name, epochs=1, improvement_threshold=threshold) for name in names))
    trainer, recorder = make_trainer(task, recipe)
    assert len(trainer.run()["stages"]) == stages
    ended = [decision.kind for decision in recorder.decisions]
    assert ended == ([] if stages == 3 else ["stages_ended"])


def test_max_steps_ends_the_run_in_the_middle_of_an_epoch_with_the_schedule_done() -> None:
    stage = Stage(name="only", epochs=10, schedule="linear", final_fraction=0.0, warmup_epochs=0)
    trainer, recorder = make_trainer(make_task(), make_recipe(stage, max_steps=6, learning_rate=0.6))
    result = trainer.run()
    assert result["steps"] == 6
    assert result["stages"][0]["stopped"] == "max_steps"
    assert [step.learning_rate for step in recorder.steps] == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others() -> None:
    finals = []
    for seed in (0, 0, 1):
        trainer, _ = make_trainer(make_task(), make_recipe(Stage(name="only", epochs=2), seed=seed))
        trainer.run()
        finals.append(trainer.parameters.values)
    assert torch.equal(finals[0], finals[1])
    assert not torch.equal(finals[0], finals[2])


def test_workers_prepare_the_same_batches() -> None:
    recipe = make_recipe(Stage(name="only", epochs=3))
    finals = []
    for num_workers in (0, 3):
        plan = replace(PLAN, num_workers=num_workers, micro_batch_size=5)
        trainer, _ = make_trainer(make_task(), recipe, plan=plan)
        trainer.run()
        finals.append(trainer.parameters.values)
    assert torch.equal(finals[0], finals[1])


def test_a_model_with_its_own_dropout_is_repeatable() -> None:
    splits = {"train": (torch.randn(40, 8), torch.arange(40) % 4)}
    finals = []
    for _ in range(2):
        task = TensorTask(lambda: nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 4)), splits)
        trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=2)))
        torch.manual_seed(torch.seed())
        trainer.run()
        finals.append(trainer.parameters.values)
    assert torch.equal(finals[0], finals[1])


def test_a_model_with_batch_statistics_is_warned_of() -> None:
    splits = {"train": (torch.randn(40, 8), torch.arange(40) % 4)}
    task = TensorTask(lambda: nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4)), splits)
    trainer, recorder = make_trainer(task, make_recipe(Stage(name="only", epochs=1)))
    announce_run(trainer, "run")
    assert [(decision.kind, decision.warning) for decision in recorder.decisions] == [("batch_statistics", True)]


def test_the_best_epoch_is_restored_with_its_running_statistics() -> None:
    task = ScriptedTask([0.9, 0.1, 0.1])
    task.build_model = lambda: nn.Sequential(  # type: ignore[method-assign]
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4)
    )
    trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=3)))
    seen: list[torch.Tensor] = []
    evaluate = trainer.evaluate

    def watched(split: str) -> dict[str, Any]:
        seen.append(trainer.model.state_dict()["1.running_mean"].clone())
        return evaluate(split)

    trainer.evaluate = watched  # type: ignore[method-assign]
    trainer.run()
    assert torch.equal(trainer.model.state_dict()["1.running_mean"], seen[0])
    assert not torch.equal(seen[0], seen[2])


def test_the_average_is_what_is_evaluated_and_kept_as_best(tmp_path: Path) -> None:
    recipe = make_recipe(Stage(name="only", epochs=1), ema_decay=0.9, learning_rate=0.05)
    task = make_task(num_validation=20)
    trainer, _ = make_trainer(task, recipe, folder=tmp_path)
    weights, averages = [trainer.parameters.values.clone()], []
    step = trainer.step
    run = step.run

    def watched(*arguments: Any, **options: Any) -> Any:
        outcome = run(*arguments, **options)
        weights.append(trainer.parameters.values.clone())
        averages.append(trainer.state.average.clone())  # type: ignore[union-attr]
        return outcome

    step.run = watched  # type: ignore[method-assign]
    trainer.run()
    expected = weights[0]
    for step, values in enumerate(weights[1:]):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * values
    assert torch.allclose(averages[-1], expected, atol=1e-6)
    best, last = (load_file(tmp_path / kind / "model.safetensors")["0.weight"] for kind in ("best", "last"))
    assert torch.allclose(best.flatten(), averages[-1][: best.numel()])
    assert torch.equal(last.flatten(), weights[-1][: last.numel()])


def test_clipping_and_decay_are_those_of_torch() -> None:
    task = make_task(num_train=16)
    spec = OptimizerSpec(learning_rate=0.1, clip_norm=0.05)
    stage = Stage(name="only", epochs=4, schedule="constant", warmup_epochs=0, weight_decay=0.3)
    recipe = replace(make_recipe(stage, precision="float64"), optimizer=spec)
    trainer, recorder = make_trainer(task, recipe)
    model = task.build_model().double()
    model.load_state_dict(trainer.model.state_dict())
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.1, betas=(spec.beta1, spec.beta2), eps=spec.eps)
    inputs, labels = (tensor for tensor in task.fetch("train", torch.arange(16)).values())
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs.double()), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()
    trainer.run()
    for own, reference in zip(trainer.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(own, reference, atol=1e-12)
    assert float(recorder.steps[0].gradient_norm) > 0.05


def test_evaluation_counts_every_sample_once_for_any_micro_batch() -> None:
    task = make_task(num_validation=23)
    results = []
    for micro_batch_size in (1, 7, None):
        trainer, _ = make_trainer(task, make_recipe(), plan=replace(PLAN, micro_batch_size=micro_batch_size))
        results.append(trainer.evaluate("validation"))
    assert sum(map(sum, results[0]["confusion_matrix"])) == 23
    assert results[0]["confusion_matrix"] == results[1]["confusion_matrix"] == results[2]["confusion_matrix"]
    assert results[0]["loss"] == pytest.approx(results[2]["loss"], rel=1e-5)
    assert trainer.evaluate("nowhere") == {}


def test_a_loss_that_is_not_finite_is_warned_of() -> None:
    inputs = torch.randn(20, 8)
    inputs[3, 2] = float("inf")
    task = TensorTask(lambda: nn.Linear(8, 4), {"train": (inputs, torch.arange(20) % 4)})
    trainer, recorder = make_trainer(task, make_recipe(Stage(name="only", epochs=1)))
    trainer.run()
    assert [(decision.kind, decision.warning) for decision in recorder.decisions] == [("skipped_update", True)]
    assert "the loss of training sample 3 is not finite" in recorder.decisions[0].reason
    assert torch.isfinite(trainer.parameters.values).all()

"""On a GPU: issuing a step never waits for the device, outcomes are read a step late, and the weights are a CPU's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.gpu_waits import forbidding_waits
from slipway.training.config.recipe import Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.trainer import Trainer
from slipway.training.observers.runtime import Runtime
from slipway.training.step.train_step import PendingStep
from tests.training.helpers import PLAN, Recorder, make_recipe, make_task

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

DEVICE = torch.device("cuda")


def make(
    device: torch.device = DEVICE, *, mixed_precision: Any = "no", plan: dict[str, Any] | None = None, **options: Any
) -> tuple[Trainer, Recorder]:
    recorder = Recorder()
    trainer = Trainer(
        task=make_task(),
        recipe=make_recipe(Stage(name="only", epochs=2), **options).resolve(1, mixed_precision),
        plan=replace(PLAN, device=device.type, **{"micro_batch_size": 5, **(plan or {})}),
        runtime=Runtime(ranks=Ranks.alone(device), observer=recorder),
    )
    return trainer, recorder


def weights(trainer: Trainer) -> torch.Tensor:
    trainer.run()
    return trainer.parameters.values.cpu()


def difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max() / second.abs().max())


@pytest.mark.parametrize("mixed_precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "sgd"},
        {"ema_decay": 0.9},
        {"plan": {"num_workers": 2}},
        {"plan": {"compile_backend": "inductor"}},
    ],
    ids=["adamw", "sgd", "moving average", "workers", "compiled"],
)
def test_issuing_a_step_never_waits_for_the_device(mixed_precision: str, options: dict[str, Any]) -> None:
    trainer, recorder = make(mixed_precision=mixed_precision, **options)
    issue = trainer.loop.queue_step
    issued = 0

    def guarded(*arguments: Any) -> Any:
        nonlocal issued
        issued += 1
        # What is compiled for a size is compiled by the end of the first epoch.
        with forbidding_waits(DEVICE if issued > 4 else torch.device("cpu")):
            return issue(*arguments)

    trainer.loop.queue_step = guarded  # type: ignore[method-assign]
    trainer.run()
    assert issued == 8
    assert len(recorder.steps) == 8


def test_torch_finds_a_wait_where_there_is_one() -> None:
    values = torch.ones(3, device=DEVICE)
    with pytest.raises(RuntimeError, match="synchronizing"), forbidding_waits(DEVICE):
        values.sum().item()
    assert values.sum().item() == 3.0


def test_the_next_step_is_issued_before_an_outcome_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = make()
    issue, read = trainer.loop.queue_step, PendingStep.read
    order: list[str] = []

    def noted_issue(*arguments: Any) -> Any:
        order.append("issue")
        return issue(*arguments)

    def noted_read(pending: PendingStep) -> Any:
        order.append("read")
        return read(pending)

    trainer.loop.queue_step = noted_issue  # type: ignore[method-assign]
    monkeypatch.setattr(PendingStep, "read", noted_read)
    trainer.run()
    epoch = ["issue", *["issue", "read"] * 3, "read"]
    assert order == 2 * epoch


@pytest.mark.parametrize(
    "plan",
    [{}, {"micro_batch_size": 16}, {"num_workers": 2}, {"compile_backend": "inductor"}],
    ids=["micro-batches", "whole batches", "workers", "compiled"],
)
def test_the_weights_are_those_that_a_cpu_reaches(plan: dict[str, Any]) -> None:
    options: dict[str, Any] = {"precision": "float64", "learning_rate": 0.01}
    on_cpu = weights(make(torch.device("cpu"), plan={"micro_batch_size": 16}, **options)[0])
    found = weights(make(plan=plan, **options)[0])
    assert difference(found, on_cpu) <= 1e-10


@pytest.mark.parametrize("mixed_precision", ["bf16", "fp16"])
def test_mixed_precision_learns_as_full_precision_does(mixed_precision: str) -> None:
    losses = {}
    for precision in ("no", mixed_precision):
        trainer, recorder = make(mixed_precision=precision, learning_rate=0.01)
        trainer.run()
        losses[precision] = [step.loss for step in recorder.steps]
    assert losses[mixed_precision] == pytest.approx(losses["no"], rel=0.05)
    assert losses[mixed_precision] != losses["no"]

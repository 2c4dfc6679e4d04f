"""What models return: the class scores are found where they are named, and asked for where they are not."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from slipway.training.common.errors import UserError
from slipway.training.config.recipe import Stage
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import catch, make_recipe, make_trainer

INPUTS = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
SPLITS = {"train": (INPUTS, torch.arange(12) % 3)}


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor


Pair = namedtuple("Pair", "scores hidden")


class Returning(nn.Module):
    def __init__(self, wrap: Callable[[torch.Tensor, torch.Tensor], Any], classes: int = 3) -> None:
        super().__init__()
        self.wrap, self.body, self.head = wrap, nn.Linear(5, 4), nn.Linear(4, classes)

    def forward(self, inputs: torch.Tensor) -> Any:
        hidden = self.body(inputs).tanh()
        return self.wrap(self.head(hidden), hidden)


def run(model: Any) -> list[torch.Tensor]:
    """Train and return the weights."""
    trainer, _ = make_trainer(TensorTask(model, SPLITS), make_recipe(Stage(name="only", epochs=1)))
    trainer.run()
    return [value.clone() for value in trainer.model.state_dict().values()]


def scores_alone() -> nn.Module:
    return Returning(lambda scores, hidden: scores)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda scores, hidden: {"hidden": hidden, "logits": scores},
        lambda scores, hidden: Output(scores, hidden),
        lambda scores, hidden: Pair(scores, hidden),
        lambda scores, hidden: (scores,),
        lambda scores, hidden: {"out": scores, "attentions": None},
    ],
)
def test_scores_that_are_named_or_alone_are_taken(wrap: Callable[..., Any]) -> None:
    assert all(map(torch.equal, run(lambda: Returning(wrap)), run(scores_alone)))


def test_scores_of_transformers_are_taken() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    found = run(
        lambda: Returning(
            lambda scores, hidden: outputs.SequenceClassifierOutput(logits=scores, hidden_states=(hidden,))
        )
    )
    assert all(map(torch.equal, found, run(scores_alone)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: Returning(lambda scores, hidden: (scores, hidden)),
            r"a tuple \(0: float32 \[12, 3\], 1: float32 \[12, 4\]\)",
        ),
        (
            lambda: Returning(lambda scores, hidden: {"a": scores, "b": hidden}),
            "does not say what the class scores are",
        ),
        (lambda: Returning(lambda scores, hidden: None), "a NoneType"),
        (lambda: Returning(lambda scores, hidden: scores, classes=2), r"float32 \[12, 2\] where class scores are due"),
        (lambda: Returning(lambda scores, hidden: scores[:, 0]), r"float32 \[12\] where class scores are due"),
        (lambda: Returning(lambda scores, hidden: scores.argmax(1)), r"int64 \[12\] where"),
        (nn.Linear(5, 3), "make_model must be a function that returns a new torch module, got Linear"),
        (lambda: None, "got NoneType"),
    ],
)
def test_what_is_no_score_is_one_sentence(model: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        (lambda scores: scores.mean(), r"a tensor of \[\]"),
        (lambda scores: scores[:, :1], r"a tensor of \[12, 1\]"),
        (lambda scores: (scores[:, 0], None), "a tuple"),
        (lambda scores: float(scores.mean().detach()), "a float"),
    ],
)
def test_losses_that_are_not_one_for_each_sample_are_one_sentence(losses: Callable[..., Any], found: str) -> None:
    task = TensorTask(lambda: nn.Linear(5, 3), SPLITS)
    task.losses = lambda outputs, batch, stage: losses(outputs)  # type: ignore[method-assign]
    trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=1)))
    assert "Task.losses" in str(catch(trainer.run))
    with pytest.raises(UserError, match=found):
        trainer.run()

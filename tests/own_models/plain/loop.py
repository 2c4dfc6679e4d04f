"""What the plain loops share: the order of the samples, first weights, rates, and what is kept of each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from slipway.training.batches.order import Order
from slipway.training.common.keyed_random import fold
from slipway.training.loop.trainer import MODEL_STREAM

SEED = 0
State = dict[str, torch.Tensor]


def first_model(make_model: Callable[[], nn.Module]) -> nn.Module:
    """Return a model with the first weights that follow from the seed, in float64."""
    torch.manual_seed(fold(SEED, MODEL_STREAM) % 2**63)
    return make_model().double()


def batches(num_samples: int, batch_size: int, epoch: int) -> Iterator[list[int]]:
    """Yield the samples of each step of an epoch, in the order that follows from the seed; the last may be fewer."""
    order = Order(seed=SEED, num_samples=num_samples)
    for step in range(order.num_steps(batch_size)):
        yield order.batch(epoch, step, batch_size).tolist()


def adamw(model: nn.Module, rate: float, decay: float = 0.05) -> torch.optim.Optimizer:
    """Return AdamW as it is where nothing is said: only matrices decay."""
    matrices = [one for one in model.parameters() if one.ndim >= 2]
    vectors = [one for one in model.parameters() if one.ndim < 2]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), eps=1e-6)


def cosine(step: int, num_steps: int, epochs: int) -> float:
    """Return the factor of the rate where nothing is said: an epoch of warm-up, then a cosine down to 0.01."""
    warm = round(num_steps / epochs)
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step + 1 - warm) / (num_steps - warm)))


@dataclass(kw_only=True)
class Ended:
    """What a loop leaves: the weights after the last epoch, those after the best one, and the metrics of the latter."""

    monitor: str = "accuracy"
    last: State = field(default_factory=dict)
    best: State = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    table: list[tuple[int, float, float]] = field(default_factory=list)
    """Epoch, training loss and validation loss, where the program keeps such a table."""
    moved: float = 0.0
    """max|last - first| / max|last| of the parameters, to see that something was learned."""

    def epoch(self, model: nn.Module, metrics: Mapping[str, float]) -> None:
        """Keep an epoch: the best are those of the highest monitored metric, and of the lowest loss where it is equal."""
        self.last = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        if not self.best or self._rank(metrics) > self._rank(self.metrics):
            self.best, self.metrics = self.last, dict(metrics)

    def _rank(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        value = metrics[self.monitor]
        return (-value if self.monitor == "loss" else value), -float(f"{metrics['loss']:.6g}")


class Loop:
    """A training by hand: batches, one backward pass, clipping, rate, update; then the validation."""

    def __init__(
        self,
        make_model: Callable[[], nn.Module],
        *,
        epochs: int,
        batch_size: int,
        num_samples: int,
        schedule: Callable[[int, int], float] | None = None,
        clip: float = 1.0,
        monitor: str = "accuracy",
    ) -> None:
        self.model = first_model(make_model)
        self.epochs, self.batch_size, self.num_samples, self.clip = epochs, batch_size, num_samples, clip
        self.num_steps = epochs * -(-num_samples // batch_size)
        self.schedule = schedule or (lambda step, num_steps: cosine(step, num_steps, epochs))
        self.ended = Ended(monitor=monitor)
        self.epoch = self.step = 0
        self.first = nn.utils.parameters_to_vector(self.model.parameters()).detach()

    def parts(self, indices: list[int], num_ranks: int) -> Iterator[list[int]]:
        """Yield the part of a batch that each rank has, with what the rank draws from, and its running statistics.

        Rank 0 is the last, so that its running statistics stay, as with torch's DDP.
        """
        kept = [buffer.clone() for buffer in self.model.buffers()]
        for rank in reversed(range(num_ranks)):
            torch.manual_seed(fold(SEED, self.step, rank) % 2**63)
            for buffer, before in zip(self.model.buffers(), kept, strict=True):
                buffer.copy_(before)
            yield indices[rank::num_ranks]

    def run(
        self,
        optimizer: torch.optim.Optimizer,
        backward: Callable[[list[int]], None],
        validate: Callable[[], Mapping[str, float]],
    ) -> Ended:
        """Train a stage; `backward` computes the gradients of the mean loss of a batch, `validate` all metrics."""
        rates = [group["lr"] for group in optimizer.param_groups]
        before = self.step
        for _ in range(self.epochs):
            self.model.train()
            for indices in batches(self.num_samples, self.batch_size, self.epoch):
                optimizer.zero_grad()
                backward(indices)
                if self.clip:
                    nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * self.schedule(self.step - before, self.num_steps)
                optimizer.step()
                self.step += 1
            self.model.eval()
            with torch.no_grad():
                self.ended.epoch(self.model, validate())
            self.epoch += 1
        last = nn.utils.parameters_to_vector(self.model.parameters()).detach()
        self.ended.moved = float((last - self.first).abs().max() / last.abs().max())
        return self.ended


Arrays = tuple[torch.Tensor, torch.Tensor]


def classify(
    make_model: Callable[[], nn.Module],
    training: Arrays,
    validation: Arrays,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    epochs: int = 4,
    batch_size: int = 16,
    schedule: Callable[[int, int], float] | None = None,
) -> Ended:
    """Train a model of one input to score classes."""
    (inputs, classes), (val_inputs, val_classes) = training, validation
    inputs, val_inputs = inputs.double(), val_inputs.double()
    loop = Loop(make_model, epochs=epochs, batch_size=batch_size, num_samples=len(inputs), schedule=schedule)
    model = loop.model

    def backward(indices: list[int]) -> None:
        nn.functional.cross_entropy(model(inputs[indices]), classes[indices]).backward()

    return loop.run(optimizer(model), backward, lambda: class_metrics(model(val_inputs), val_classes))


def class_metrics(scores: torch.Tensor, classes: torch.Tensor) -> dict[str, float]:
    """Return loss, accuracy and macro-F1."""
    from sklearn.metrics import f1_score

    predicted = scores.argmax(dim=1)
    return {
        "loss": float(nn.functional.cross_entropy(scores, classes)),
        "accuracy": float((predicted == classes).double().mean()),
        "macro_f1": float(f1_score(classes, predicted, average="macro")),
    }

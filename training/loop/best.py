"""Keep the best weights: the monitored metric decides, the loss between equals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ..common.conversion import finite_number, plain_values, whole_number
from ..common.errors import UserError
from ..config.recipe import Ending, MonitorDirection

_LOSS_DIGITS = 6
"""Digits to which losses are compared: below, plans differ by the order of their sums."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A validation result that can be compared: higher is better."""

    value: float
    """The monitored metric, negated where lower is better."""
    loss: float

    @classmethod
    def of(cls, validation: Mapping[str, Any], monitor: str, direction: MonitorDirection = "auto") -> Score:
        """Return the score of an evaluation; a metric that is not finite is worse than any other.

        Raises `UserError` if the evaluation lacks the monitored metric or the loss.
        """
        for name in (monitor, "loss"):
            if name not in validation:
                what = f"--monitor {monitor}: the task" if name == monitor else "the task"
                found = ", ".join(validation) or "nothing"
                raise UserError(f"{what} has no metric {name!r}, only {found}; its `metrics` must return it")
        sign = -1.0 if direction == "min" or (direction == "auto" and monitor == "loss") else 1.0
        value = sign * float(validation[monitor])
        loss = round(float(validation["loss"]), _LOSS_DIGITS)
        return cls(
            value=round(value, _LOSS_DIGITS) if math.isfinite(value) else -math.inf,
            loss=loss if math.isfinite(loss) else math.inf,
        )

    def beats(self, other: Score | None) -> bool:
        """Return whether this score is better: in the metric, or equal in it with a lower loss."""
        return other is None or (self.value, -self.loss) > (other.value, -other.loss)


class Snapshot(NamedTuple):
    """A copy of a model's weights and buffers."""

    values: torch.Tensor
    """All trainable parameters, flat."""
    buffers: tuple[torch.Tensor, ...]
    """The model's buffers, such as running statistics, in the order of `module.buffers()`."""


class Best:
    """The best weights so far, and the number of epochs without improvement."""

    def __init__(self, min_delta: float = 0.0) -> None:
        self.score: Score | None = None
        self.snapshot: Snapshot | None = None
        self.epoch: int | None = None
        self.validation: Mapping[str, Any] = {}
        self.epochs_without_improvement = 0
        self.improved = False
        """Whether the score that was offered last is the best; where the last weights are kept, by more than `min_delta`."""
        self._min_delta = min_delta
        self._reference = -math.inf

    def offer(
        self,
        score: Score,
        take: Callable[[], Snapshot],
        epoch: int,
        validation: Mapping[str, Any],
        end_with: Ending = "best",
    ) -> bool:
        """Keep a snapshot of the weights, made by `take`, if their score is better or the last is kept; return whether."""
        # Patience counts from the last gain of more than min_delta; many small gains may add up to it.
        gained = score.value > self._reference + self._min_delta
        self.epochs_without_improvement = 0 if gained else self.epochs_without_improvement + 1
        if gained:
            self._reference = score.value
        kept = end_with == "last" or score.beats(self.score)
        self.improved = gained if end_with == "last" else kept
        if not kept:
            return False
        self.score, self.snapshot, self.epoch, self.validation = score, take(), epoch, validation
        return True

    def state(self) -> dict[str, Any]:
        """Return all but the snapshot as plain values; `None` for what is not finite."""
        score = None if self.score is None else plain_values([self.score.value, self.score.loss], "", [])
        return {
            "score": score,
            "epoch": self.epoch,
            "validation": plain_values(dict(self.validation), "", []),
            "epochs_without_improvement": self.epochs_without_improvement,
            "min_delta": self._min_delta,
            "reference": plain_values(self._reference, "", []),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set all but the snapshot from what `state` returned."""
        if state["score"] is not None:
            value, loss = state["score"]
            self.score = Score(
                value=-math.inf if value is None else finite_number({"score": value}, "score"),
                loss=math.inf if loss is None else finite_number({"score": loss}, "score"),
            )
        self.epoch = None if state["epoch"] is None else whole_number(state, "epoch")
        self.validation = {name: math.nan if value is None else value for name, value in state["validation"].items()}
        self.epochs_without_improvement = whole_number(state, "epochs_without_improvement")
        self._min_delta = finite_number(state, "min_delta")
        self._reference = -math.inf if state["reference"] is None else finite_number(state, "reference")

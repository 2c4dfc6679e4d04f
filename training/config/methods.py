"""What a user may bring beside a task: groups of parameters, an optimizer, a schedule of the learning rate."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any

from ..common.errors import UserError, flag_of
from ..common.program.places import words_of
from .recipe import OwnSchedule, Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

Groups = list[dict[str, Any]]
"""Groups of parameters as `torch.optim` takes them: `params`, `lr`, ..."""

_NUM_STEPS, _EVERY = 1000, 50
"""Of the stage for which a schedule is recorded: its steps, and at which of them it is asked."""

_LEAST_PEAK = 0.05
"""A schedule whose factors stay below it returns rates instead."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with a learning rate and a weight decay of their own, relative to the recipe's."""

    parameters: nn.Module | Iterable[nn.Parameter]
    _: KW_ONLY
    name: str = ""
    learning_rate_factor: float = 1.0
    weight_decay_factor: float | None = None
    """None: as without groups, where AdamW and SGD of Slipway decay matrices only, and other optimizers all parameters."""


@dataclass(frozen=True, kw_only=True)
class Methods:
    """What the caller of a training gives it beside the config and the task, instead of what they say."""

    optimizer: Callable[..., torch.optim.Optimizer] | None = None
    """A class of optimizers, or a function from `Groups` to an optimizer."""
    schedule: Callable[..., float] | None = None
    """A function of the step, or of the step and the number of steps; its value times the peak is the learning rate."""


def name_of(made: Any) -> str:
    """Return the module and name of a class or function."""
    made = getattr(made, "func", made)  # of functools.partial
    name = getattr(made, "__qualname__", type(made).__qualname__)
    return f"{getattr(made, '__module__', type(made).__module__)}.{name}"


class OwnRate:
    """The factor of the peak learning rate at each step, by a function of the user's."""

    def __init__(self, function: Callable[..., float]) -> None:
        """Raise `UserError` for what is no such function."""
        if not callable(function):
            found = repr(function) if isinstance(function, str) else type(function).__name__
            raise UserError(
                f"schedule: expected a function of the step that returns a factor of the peak learning rate, got {found}; one "
                "of the named schedules is given as TrainingConfig(schedule=...)"
            )
        self._function, self.name = function, name_of(function)
        needed = [
            one
            for one in inspect.signature(function).parameters.values()
            if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty
        ]
        if isinstance(function, type) or len(needed) not in (1, 2):
            raise UserError(
                f"schedule: {self.name} must be a function of the step, or of the step and the number of steps of the "
                "stage, which returns a factor of the peak learning rate"
            )
        self._takes_num_steps = len(needed) == 2

    def __call__(self, step: int, num_steps: int) -> float:
        """Return the factor of a step of a stage. Raises `UserError` for what is no factor."""
        try:
            value = self._function(step, num_steps) if self._takes_num_steps else self._function(step)
        except LookupError:
            raise  # a table has an end
        except Exception as error:
            raise UserError(f"schedule: {self.name} fails at step {step} of {num_steps}: {words_of(error)}") from error
        with suppress(AttributeError, RuntimeError, ValueError):
            value = value.item()  # type: ignore[attr-defined]  # of NumPy and torch
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise UserError(
                f"schedule: {self.name} returned {str(value)[:60]} at step {step} of {num_steps}; a factor of the peak "
                "learning rate is a number from 0 up"
            )
        return float(value)

    def record(self) -> OwnSchedule:
        """Return what the recipe says of the function. Raises `UserError` if it is not one of the step alone."""
        factors, again = self._sample(), self._sample()
        if factors != again:
            raise UserError(
                f"schedule: {self.name} returned different factors for the same step; it must be a function of the step "
                "alone, so that a resumed run has the same rates"
            )
        largest = max(factors)
        if largest < _LEAST_PEAK and (factors[-1] < largest or factors[0] == largest):
            raise UserError(
                f"schedule: the largest factor of {self.name} is {largest:g}, which looks like a learning rate; return "
                "a factor of the peak, which is 1 at the peak"
            )
        return OwnSchedule(function=self.name, factors=hashlib.sha256(repr(factors).encode()).hexdigest()[:16])

    def _sample(self) -> list[float]:
        """Return factors of a stage, as far as a table in the function has them."""
        factors: list[float] = []
        for step in range(0, _NUM_STEPS, _EVERY):
            try:
                factors.append(self(step, _NUM_STEPS))
            except LookupError:
                if not factors:
                    raise
                break
        return factors


def settle_schedule(recipe: Recipe, rate: OwnRate | None, named: str | None, warmup_epochs: float | None) -> Recipe:
    """Return the recipe with what it has to say of a schedule of the user's, if there is one.

    `named` and `warmup_epochs` are what the options give for every stage. Raises `UserError` if they contradict it.
    """
    if rate is None:
        return recipe
    for option, value in (("schedule", named), ("warmup_epochs", warmup_epochs)):
        if value is not None:
            raise UserError(
                f"{flag_of(option)} {value} contradicts the schedule {rate.name}, which says every factor: leave one of them "
                "out",
                option=option,
            )
    return replace(recipe, own_schedule=rate.record())


def own_rate(methods: Methods, of_task: Callable[..., float] | None) -> OwnRate | None:
    """Return the schedule of the caller or of the task; None where neither has one. Raises `UserError`."""
    function = methods.schedule if methods.schedule is not None else of_task
    return None if function is None else OwnRate(function)

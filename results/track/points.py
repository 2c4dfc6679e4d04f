"""The points of a journal: numbers with names, each at a step. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_OF_A_STEP = ("loss", "learning_rate", "gradient_norm")
_TEST = "test_"


class Point(NamedTuple):
    """Numbers at a step."""

    step: int
    values: dict[str, float]
    """By name: `train/loss`, `validation/accuracy`, `test/accuracy`."""


class Points:
    """Turns the events of a journal into points, each once.

    What a resumed run computes again has the same numbers, so it makes no points. After numbers went bad, or the recipe was
    changed, it does.
    """

    def __init__(self) -> None:
        self._step = 0
        self._done = {"step": 0, "epoch": 0, "run_end": 0}

    def take(self, event: Mapping[str, Any]) -> Iterator[Point]:
        """Yield the points of the next event: one or none."""
        kind = event["event"]
        if kind == "rewind" or (kind == "resume" and event.get("recipe_changes")):
            self._done = {name: min(step, event["step"]) for name, step in self._done.items()}
        if kind in ("rewind", "resume"):
            self._step = event["step"]
        if kind == "step":
            self._step = event["step"]
        if kind not in self._done or self._step <= self._done[kind]:
            return
        self._done[kind] = self._step
        values = {name: float(value) for name, value in _numbers_of(event) if _is_number(value)}
        if values:
            yield Point(self._step, values)


def settings_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return recipe and plan of a `run` event as one level of names with plain values: `recipe.optimizer.name`."""
    return dict(_flat({"recipe": event["recipe"], "plan": event["plan"], "parameters": event["num_parameters"]}, ""))


def _numbers_of(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if event["event"] == "step":
        yield from ((f"train/{name}", event[name]) for name in _OF_A_STEP)
    elif event["event"] == "epoch":
        yield "epoch/number", event["epoch"]
        yield "epoch/train_loss", event["train_loss"]
        yield "epoch/seconds", event["seconds"]
        yield from ((f"validation/{name}", value) for name, value in event["validation"].items())
    else:
        result = event["result"]
        yield from (
            (f"test/{name.removeprefix(_TEST)}", value) for name, value in result.items() if name.startswith(_TEST)
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        items = ((str(key), one) for key, one in value.items())
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        items = ((str(key), one) for key, one in enumerate(value))
    else:
        yield name, value if isinstance(value, bool | int | float | str) else str(value)
        return
    for key, one in items:
        yield from _flat(one, f"{name}.{key}" if name else key)

"""The function that `--task` names: what it takes, how its options are read, what it has to return."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from torch import nn

from slipway import Task, UserError
from slipway.training.tasks.origin.factory import Factory, find_factory
from tests.training.helpers import make_task as blobs

HERE = __name__


def typed(
    width: int = 8,
    rate: float = 0.1,
    *,
    name: str = "x",
    depth: int | None = 2,
    kind: Literal["a", "b"] = "a",
    sizes: list[int] = [1],  # noqa: B006 - never changed
    pair: tuple[int, float] = (1, 2.0),
    either: str | int = "x",
    place: Path = Path("here"),
    deep: Annotated[bool, "yes or no"] = False,
    untyped=3,
    loose=None,
    hook: Callable[[], int] | None = None,
) -> Task:
    return blobs()


def needing(data: Path, seed: int, /, *, more: int) -> Task: ...


def of_data(data: Path, seed: int, number: int, text) -> Task:
    return blobs()


def anything(**options: Any) -> Task: ...


def a_module() -> nn.Module:
    return nn.Linear(1, 1)


def a_pair() -> Any:
    return blobs(), []


def a_class() -> Any:
    return type(blobs())


@dataclass
class Unmade(Task):  # type: ignore[misc]
    width: int = 3


ready = blobs()


def factory(function: str) -> Factory:
    return find_factory(f"{HERE}:{function}")


def bound(function: str, options: dict[str, Any], data: str | None = None) -> dict[str, Any]:
    return factory(function).bind(options, data=data, seed=7)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("width", "64", 64),
        ("width", 64, 64),
        ("rate", "1e-3", 1e-3),
        ("name", "1e3", "1e3"),
        ("name", "no", "no"),
        ("depth", "none", None),
        ("depth", None, None),
        ("depth", "3", 3),
        ("kind", "b", "b"),
        ("sizes", "3,4", [3, 4]),
        ("sizes", [3, "4"], [3, 4]),
        ("pair", "3,4", (3, 4.0)),
        ("either", "3", 3),
        ("either", "y", "y"),
        ("place", "there", Path("there")),
        ("deep", "yes", True),
        ("untyped", "4", 4),
        ("loose", "[1, 1e-3]", [1, 1e-3]),
        ("loose", "1e-3", 1e-3),
    ],
)
def test_an_option_becomes_what_its_annotation_says(name: str, text: Any, value: Any) -> None:
    found = bound("typed", {name: text})
    assert found == {name: value}
    assert type(found[name]) is type(value)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("typed", {"widht": "3"}, "--task-options widht: typed has no such option (did you mean 'width'?)"),
        (
            "typed",
            {"zzz": "3"},
            "--task-options zzz: typed has no such option; it takes width, rate, name, depth, kind",
        ),
        ("typed", {"width": "3.5"}, "--task-options width: expected a whole number, got '3.5'"),
        ("typed", {"kind": "c"}, "--task-options kind: 'c' is none of a, b"),
        ("typed", {"sizes": "1,x"}, "--task-options sizes[1]: expected a whole number, got 'x'"),
        ("typed", {"seed": "3"}, "--task-options seed: it has an option of its own, --seed"),
        ("of_data", {}, "of_data needs data: give --data PATH"),
        ("needing", {"more": 3}, "needing needs data, seed: they need a name, or a default"),
        ("ready", {"width": 3}, "--task-options width: ready has no such option; it takes none"),
        ("Unmade", {}, "the class Unmade lacks the methods build_model, fetch, forward, losses, measure"),
    ],
)
def test_a_wrong_option_is_one_sentence_before_anything_starts(
    function: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        bound(function, options)


def test_data_and_seed_are_given_to_a_function_that_has_them() -> None:
    assert bound("of_data", {"number": "1", "text": "a"}, "x") == {
        "number": 1,
        "text": "a",
        "data": Path("x"),
        "seed": 7,
    }
    with pytest.raises(UserError, match="of_data needs number, text: give --task-options number=VALUE text=VALUE"):
        bound("of_data", {}, "x")
    with pytest.raises(UserError, match=f"--data: typed of --task {HERE}:typed has no parameter `data`; leave it out"):
        bound("typed", {}, "x")


def test_a_function_with_any_options_gets_them_as_yaml_reads_them() -> None:
    assert bound("anything", {"a": "1", "b": "x", "c": "[1, 2]"}) == {"a": 1, "b": "x", "c": [1, 2]}


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("a_module", "a module"),
        ("a_pair", "a value of type tuple"),
        ("a_class", "the class TensorTask"),
        ("anything", "nothing"),
    ],
)
def test_what_is_no_task_is_named(function: str, what: str) -> None:
    with pytest.raises(UserError, match=f"{function} returns {what}, not a task; return a Task, such as DatasetTask"):
        factory(function).make({})


def test_the_plain_values_of_a_call_stand_in_the_recipe_defaults_too() -> None:
    origin = factory("typed").make({"width": 3, "place": Path("there")}).origin
    assert origin is not None
    assert origin.options == {
        "width": 3,
        "rate": 0.1,
        "name": "x",
        "depth": 2,
        "kind": "a",
        "sizes": [1],
        "pair": (1, 2.0),
        "either": "x",
        "place": "there",
        "deep": False,
        "untyped": 3,
        "loose": None,
        "hook": None,
    }


def test_a_task_itself_may_be_named() -> None:
    assert factory("ready").make(bound("ready", {})) is sys.modules[HERE].ready

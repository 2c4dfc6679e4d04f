"""A size that was measured once is remembered for the user, for what it holds for, and only there."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slipway.training.config.recipe import Recipe, Stage
from slipway.training.loop.trainer import Trainer
from slipway.training.step.micro_batch import search as size_search
from slipway.training.step.micro_batch.cache import SizeCache, key_of
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import PLAN, make_recipe, make_task, make_trainer

ENTRY = {"size": 8, "bytes_per_sample": 1000, "is_limited": False}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SizeCache:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return SizeCache.of_user()


def test_what_is_put_is_found_by_the_next_process(cache: SizeCache, tmp_path: Path) -> None:
    assert cache.get("model") is None
    cache.put("model", ENTRY)
    cache.put("other", {**ENTRY, "size": 3, "bytes_per_sample": None, "is_limited": True})
    assert SizeCache(tmp_path / "slipway" / "micro_batches.json").get("model") == ENTRY
    assert cache.get("other") == {"size": 3, "bytes_per_sample": None, "is_limited": True}
    cache.put("model", {**ENTRY, "size": 4})
    assert cache.get("model") == {**ENTRY, "size": 4}


def test_the_oldest_go_when_there_are_many(cache: SizeCache) -> None:
    for number in range(210):
        cache.put(str(number), {**ENTRY, "size": number + 1})
    kept = [number for number in range(210) if cache.get(str(number))]
    assert kept == list(range(10, 210))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"model": 3}',
        '{"model": {}}',
        '{"model": {"size": "8"}}',
        '{"model": {"size": 0}}',
        '{"model": {"size": -2}}',
        "\xff\xfe",
    ],
)
def test_a_file_that_is_not_understood_is_as_good_as_empty(cache: SizeCache, tmp_path: Path, content: str) -> None:
    file = tmp_path / "slipway" / "micro_batches.json"
    file.parent.mkdir()
    file.write_bytes(content.encode("latin-1"))
    assert cache.get("model") is None
    cache.put("model", ENTRY)
    assert cache.get("model") == ENTRY


def test_odd_facts_of_an_entry_are_left_out(cache: SizeCache, tmp_path: Path) -> None:
    file = tmp_path / "slipway" / "micro_batches.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"model": {"size": 4, "bytes_per_sample": 0, "is_limited": "yes"}}))
    assert cache.get("model") == {"size": 4, "bytes_per_sample": None, "is_limited": False}


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    cache = SizeCache(tmp_path / "file" / "micro_batches.json")
    cache.put("model", ENTRY)
    assert cache.get("model") is None
    # A user without a home, as in some containers.
    monkeypatch.delenv("XDG_CACHE_HOME")

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    cache = SizeCache.of_user()
    cache.put("model", ENTRY)
    assert cache.get("model") is None
    assert not Path("~").exists()


def test_a_relative_cache_folder_is_ignored_as_the_standard_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    SizeCache.of_user().put("model", ENTRY)
    assert (tmp_path / ".cache" / "slipway" / "micro_batches.json").is_file()
    assert not os.path.exists("cache")


def test_a_key_is_of_its_facts() -> None:
    assert key_of(a=1, b=[2.0, "x"]) == key_of(b=[2.0, "x"], a=1)
    assert key_of(a=1) != key_of(a=2)


def key(task: TensorTask | None = None, recipe: Recipe | None = None, **plan: Any) -> str:
    trainer, _ = make_trainer(task or make_task(), recipe or make_recipe(), plan=replace(PLAN, **plan))
    return trainer.state.limit.key


def task_with(layers: list[nn.Module], shape: tuple[int, ...] = (8,)) -> TensorTask:
    inputs, labels = torch.zeros(50, *shape), torch.arange(50) % 4
    return TensorTask(lambda: nn.Sequential(*layers), {"train": (inputs, labels)})


def test_what_the_best_size_depends_on_has_an_entry_of_its_own() -> None:
    own = key()
    assert own == key()
    image = task_with([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)], (3, 8, 8))
    larger = task_with([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)], (3, 64, 64))
    others = [
        key(task_with([nn.Linear(8, 4)])),
        key(task_with([nn.Linear(8, 4), nn.Tanh()])),
        key(image),
        key(larger),  # the same parameters, larger activations
        key(recipe=make_recipe(precision="float64")),
        key(recipe=make_recipe(batch_size=32)),
        key(device_name="another"),
        key(threads_per_process=3),
        key(gradient_checkpointing=False, micro_batch_size=8),
    ]
    assert len({own, *others}) == len(others) + 1
    # What is computed of a batch does not depend on how it is learned from.
    assert key(recipe=make_recipe(learning_rate=0.5, seed=3, epochs=9)) == own


def run_each(monkeypatch: pytest.MonkeyPatch, free: list[int | None]) -> tuple[list[Trainer], list[int]]:
    """Train a run for each amount of memory that is free; return them, and which of them measured, from 1."""
    measured: list[int] = []
    whole = size_search.largest_that_fits

    def measure(*arguments: Any, **options: Any) -> tuple[int, int | None]:
        measured.append(len(trainers))
        whole(*arguments, **options)
        return arguments[1], 1 << 20

    monkeypatch.setattr(size_search, "largest_that_fits", measure)
    trainers: list[Trainer] = []
    for bytes_free in free:
        monkeypatch.setattr(size_search, "free_bytes", lambda device, told=bytes_free: told)
        trainer, _ = make_trainer(make_task(), make_recipe(Stage(name="only", epochs=1)), plan=PLAN)
        trainers.append(trainer)
        trainer.run()
    return trainers, measured


def test_a_second_run_takes_the_size_of_the_first_without_measuring(
    cache: SizeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second), measured = run_each(monkeypatch, [1 << 40, 1 << 40])
    assert measured == [1]
    assert first.state.limit.limit == second.state.limit.limit == second.state.limit.ceiling
    assert second.state.limit.bytes_per_sample == 1 << 20
    assert torch.equal(first.parameters.values, second.parameters.values)


def test_a_size_that_does_not_fit_any_more_is_measured_again(cache: SizeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    _, measured = run_each(monkeypatch, [1 << 40, 1 << 20])
    assert measured == [1, 2]


def test_a_size_that_was_due_to_a_lack_of_memory_is_measured_again_when_there_is_more(
    cache: SizeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put(key(), {"size": 2, "bytes_per_sample": 1 << 20, "is_limited": True})
    trainers, measured = run_each(monkeypatch, [6 << 20, 1 << 40])
    assert measured == [2]
    assert trainers[0].state.limit.limit == 2
    assert trainers[1].state.limit.ceiling > 2


def test_where_a_device_does_not_tell_its_memory_the_size_is_taken_as_it_is(
    cache: SizeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put(key(), {"size": 2, "bytes_per_sample": None, "is_limited": True})
    trainers, measured = run_each(monkeypatch, [None])
    assert measured == []
    assert trainers[0].state.limit.limit == 2

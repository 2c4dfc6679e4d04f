"""Memory that really runs out, by a limit on a process: the weights are those of a run that had enough."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slipway.training.batches.order import Order
from slipway.training.common.keyed_random import sample_keys
from slipway.training.loop import evaluate
from slipway.training.tasks.task import Batch
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import PLAN, catch, make_recipe, make_task, make_trainer
from tests.training.misbehaviour import difference, events_of, weights_of
from tests.training.processes import run_group, started
from tests.training.starved import BATCH_SIZE, Case, read_found, run_cases, run_command, update_under_limits

ORDER = Order(seed=0, num_samples=50)


def sample_of_step(step: int) -> int:
    """Return a sample that is first trained on in a step of the first epoch, counted from 1."""
    return int(ORDER.batch(0, step - 1, BATCH_SIZE)[0])


STAYS: dict[str, Any] = {"from_step": 1}
PASSES: dict[str, Any] = {"from_step": 1, "to_step": 4}


def cases_for(rank: int, reduction: str = "flat") -> list[Case]:
    """Return trainings in which this rank runs out of memory, each in another place."""
    return [
        Case(name="enough", forward_mib=128),
        Case(name="forward", forward_mib=128, margin_mib=800, rank=rank, reduction=reduction, **STAYS),
        Case(name="forward, for a while", forward_mib=128, margin_mib=800, rank=rank, reduction=reduction, **PASSES),
        Case(name="backward", backward_mib=128, margin_mib=800, rank=rank, reduction=reduction, **STAYS),
        Case(name="evaluation", evaluation_mib=256, margin_mib=1000, rank=rank, reduction=reduction, **STAYS),
        Case(
            name="long sample",
            forward_mib=32,
            long_sample=sample_of_step(2),
            margin_mib=1400,
            rank=0,  # which takes the longest
            reduction=reduction,
        ),
    ]


@pytest.mark.parametrize(("size", "reduction"), [(1, "flat"), (3, "flat"), (3, "overlap")])
def test_a_rank_that_runs_out_of_memory_changes_nothing_but_the_micro_batches(
    tmp_path: Path, size: int, reduction: str
) -> None:
    starved = size - 1 if size == 1 else 1
    cases = cases_for(starved, reduction)
    assert run_group(size, tmp_path / "output", run_cases, tmp_path, cases) == [0] * size
    enough = read_found(tmp_path, "enough")
    share = -(-BATCH_SIZE // size)
    for case in cases:
        ranks = [read_found(tmp_path, case.name, rank) for rank in range(size)]
        for rank, found in enumerate(ranks):
            assert found["error"] is None, case.name
            assert found["steps"] == [1, 2, 3, 4, 5, 6], case.name
            difference = (found["values"] - enough["values"]).abs().max() / enough["values"].abs().max()
            assert difference <= 1e-10, (case.name, rank, float(difference))
            assert found["test_loss"] == pytest.approx(enough["test_loss"], rel=1e-10), case.name
            assert found["process"] == read_found(tmp_path, "enough", rank)["process"]
            failures = found["out_of_memory"]
            if case.name in ("enough", "evaluation"):
                assert "micro_batch_size" not in str(failures)
                continue
            assert 1 <= len(failures) <= math.log2(share), (case.name, failures)
            assert {failure["rank"] for failure in failures} == {case.rank}, case.name
            assert {failure["step"] for failure in failures} == {2}, case.name
            assert "can't allocate memory: you tried to allocate" in found["reasons"][0]
            # All ranks cut their shares as finely as the one that has little memory must.
            assert max(found["micro_batches"]) >= 2 ** len(failures)
        if case.name == "evaluation":
            fitted = [found["evaluation_batch_size"] for found in ranks]
            assert fitted[starved] < 4
            assert set(fitted[:starved] + fitted[starved + 1 :]) <= {BATCH_SIZE}
        if case.name == "backward" and reduction == "overlap":
            overlapped = ranks[0]["overlapped"]
            # Step 1 shows that the share fits, step 2 begins with a bucket and fails, and is done again with a vote.
            assert overlapped[:3] == [False, True, False]
            assert any(overlapped[3:])
            assert ranks[starved]["launched_early"][1] >= 1


def test_an_update_in_little_memory_is_the_same_update(tmp_path: Path) -> None:
    assert run_group(1, tmp_path / "output", update_under_limits, tmp_path) == [0]
    found = read_found_updates(tmp_path)
    weights, failures = found
    # The kernel allocates nothing, so nothing fails; in chunks it does, and what was half done is undone and done again.
    assert failures == {"fused": 0, "fused, starved": 0, "chunked": 0, "chunked, starved": 3}, failures
    assert torch.equal(weights["fused, starved"], weights["fused"])
    assert torch.equal(weights["chunked, starved"], weights["chunked"])
    assert (weights["chunked"] - weights["fused"]).abs().max() < 1e-12


def read_found_updates(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """Return the weights of each way to update, and how often memory ran out."""
    failures = json.loads((folder / "failures.json").read_text())
    found = read_found(folder, "updates")
    return {name: found[name] for name in failures}, failures


def test_the_journal_of_a_run_tells_that_memory_ran_out(tmp_path: Path) -> None:
    enough = Case(name="enough", forward_mib=128)
    starved = replace(enough, name="starved", rank=0, margin_mib=1200)
    for case in (enough, starved):
        assert run_group(1, tmp_path / "output", run_command, tmp_path, case, []) == [0]
    events = [event for event in events_of(tmp_path, "starved") if event["event"] == "out_of_memory"]
    assert [event["micro_batch_size"] for event in events] == [12, 6]
    for event in events:
        assert event["warning"]
        assert event["step"] == 1
        assert "can't allocate memory: you tried to allocate" in event["reason"]
    assert difference(weights_of(tmp_path, "starved"), weights_of(tmp_path, "enough")) < 1e-5


@pytest.mark.parametrize("size", [1, 2])
def test_a_sample_that_does_not_fit_ends_the_run_on_all_ranks_with_a_line_that_names_it(
    tmp_path: Path, size: int
) -> None:
    sample = sample_of_step(2)
    case = Case(name="too-long", forward_mib=128, long_sample=sample, rank=0, margin_mib=2000)
    batch = ["--batch-rule", "fixed", "--micro-batch-size", "8"]
    with started(size, tmp_path / "output", run_command, tmp_path, case, batch) as group:
        assert group.exit_codes() == [2] * size
        lines = [line for line in group.output().splitlines() if line.startswith("error:")]
    assert lines == [
        f"error: sample {sample} of the training split (length 32) does not fit in memory by itself on rank 0 "
        "(DefaultCPUAllocator: can't allocate memory: you tried to allocate 4294967296 bytes. Error code 12 (Cannot allocate "
        "memory)): try --gradient-checkpointing, shorter or cropped samples, a smaller model, or a device with more memory"
    ]
    steps = [event for event in events_of(tmp_path, "too-long") if event["event"] == "step"]
    assert [step["step"] for step in steps] == [1]


class RepeatsDoNotFit(TensorTask):
    """Runs out of memory with a sample that the epoch draws again."""

    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Any) -> torch.Tensor:
        if batch.keys is not None and not torch.equal(batch.keys, sample_keys(0, 0, batch.indices.numpy())):
            raise torch.OutOfMemoryError("too much")
        return super().losses(outputs, batch, stage)


def test_a_sample_that_is_drawn_again_is_named_by_its_index() -> None:
    labels = torch.tensor([0] * 19 + [1])
    task = RepeatsDoNotFit(lambda: nn.Linear(3, 2), {"train": (torch.randn(20, 3), labels)})
    trainer, _ = make_trainer(task, make_recipe(sampling="balanced"), plan=replace(PLAN, micro_batch_size=1))
    assert str(catch(trainer.run)).startswith("sample 19 of the training split (length 1) does not fit in memory")


def test_a_sample_that_cannot_be_evaluated_is_named_on_all_ranks(tmp_path: Path) -> None:
    case = Case(name="too large", evaluation_mib=4096, rank=1, margin_mib=2000)
    assert run_group(2, tmp_path / "output", run_cases, tmp_path, [case]) == [0, 0]
    errors = {read_found(tmp_path, "too large", rank)["error"] for rank in range(2)}
    assert len(errors) == 1
    words = errors.pop()
    assert words.startswith("sample ")
    assert "of the validation split does not fit in memory by itself on rank 1 (DefaultCPUAllocator: " in words
    assert "you tried to allocate 4294967296 bytes" in words


class HungryEvaluation(TensorTask):
    """Four blobs of which so many may be evaluated at a time."""

    def __init__(self, most: int, num_validation: int = 20) -> None:
        self.__dict__.update(make_task(num_validation=num_validation).__dict__)
        self._most = most
        self.sizes: list[int] = []

    def measure(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        self.sizes.append(len(batch.indices))
        if len(batch.indices) > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().measure(outputs, batch)


def test_an_evaluation_that_ran_out_of_memory_is_told_and_its_results_are_the_same() -> None:
    found = []
    for most in (256, 6):
        task = HungryEvaluation(most)
        trainer, told = make_trainer(task, make_recipe())
        found.append(trainer.evaluate("validation"))
    assert found[0] == found[1]
    assert task.sizes == [16, 8, 4, 4, 4, 4, 4]
    (event,) = told.decisions
    assert event.kind == "out_of_memory"
    assert event.fields == {"split": "validation", "failures": 2, "evaluation_batch_size": 4}


def test_the_next_evaluation_starts_with_what_fitted_also_after_a_resume() -> None:
    trainers = []
    for _ in range(2):
        task = HungryEvaluation(6)
        trainer, told = make_trainer(task, make_recipe())
        trainers.append((task, trainer, told))
    task, trainer, told = trainers[0]
    trainer.evaluate("validation")
    task.sizes.clear()
    trainer.evaluate("validation")
    assert task.sizes == [4, 4, 4, 4, 4]
    assert len(told.decisions) == 1
    resumed_task, resumed, _ = trainers[1]
    resumed.state.limit.restore(trainer.state.limit.state())
    resumed.evaluate("validation")
    assert resumed_task.sizes == [4, 4, 4, 4, 4]
    older = {name: value for name, value in trainer.state.limit.state().items() if name != "evaluation"}
    resumed.state.limit.restore(older)
    assert resumed.state.limit.evaluation is None


def first_evaluation(monkeypatch: pytest.MonkeyPatch, *, free_samples: int | None, limit: int, ceiling: int) -> int:
    """Return the batch size of the first evaluation of 300 samples, after a size was measured for training."""
    monkeypatch.setattr(evaluate, "free_bytes", lambda device: None if free_samples is None else free_samples << 20)
    monkeypatch.setattr(evaluate, "usable_bytes", lambda available, device: available)
    task = HungryEvaluation(256, num_validation=300)
    trainer, _ = make_trainer(task, make_recipe(batch_size=50), plan=PLAN)
    trainer.state.limit.choose(ceiling, 1 << 20)
    trainer.state.limit.limit = limit
    trainer.evaluate("validation")
    return task.sizes[0]


@pytest.mark.parametrize(
    ("free_samples", "limit", "expected"),
    [
        (10_000, 8, 256),  # memory for many: a large batch is fast
        (None, 8, 256),
        (100, 8, 100),  # as many as would fit in training
        (3, 8, 8),  # no fewer than are trained at a time
        (10_000, 4, 4),  # training ran out of memory since
    ],
)
def test_the_first_evaluation_takes_as_many_samples_as_memory_should_allow(
    monkeypatch: pytest.MonkeyPatch, free_samples: int | None, limit: int, expected: int
) -> None:
    assert first_evaluation(monkeypatch, free_samples=free_samples, limit=limit, ceiling=8) == expected

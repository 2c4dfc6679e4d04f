"""Arrays that hold what cannot be meant are told of, once for each array."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

from slipway import DatasetTask, TensorTask
from slipway.training.tasks.samples import numbers
from slipway.training.tasks.samples.numbers import warn_of_numbers

NAN, INFINITE = float("nan"), float("inf")


def warnings_of(leaves: list[torch.Tensor], caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="slipway"):
        warn_of_numbers(leaves, "mine: train")
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_samples_with_numbers_that_are_not_finite_are_named(
    value: float, dtype: torch.dtype, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "_CHUNK_ELEMENTS", 12)  # of 3 samples
    inputs = torch.arange(32, dtype=dtype).reshape(8, 4)
    inputs[5, 2] = inputs[7, 0] = value
    (told,) = warnings_of([inputs], caplog)
    assert told.startswith("mine: train: 2 of 8 samples hold NaN or infinite numbers (sample 5, 7): ")
    assert told.endswith("repair them or leave them out")


def test_numbers_whose_sum_is_too_large_are_good(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of([torch.tensor([[3e38], [3e38], [1.0]])], caplog) == []
    assert warnings_of([torch.tensor([[6e4], [6e4], [1.0]], dtype=torch.float16)], caplog) == []


def test_inputs_that_are_all_the_same_are_told_and_targets_are_not(caplog: pytest.LogCaptureFixture) -> None:
    (told,) = warnings_of([torch.zeros(6, 3), torch.zeros(6)], caplog)
    assert told == "mine: train: all 6 inputs are the same: nothing can be told apart by them"
    assert warnings_of([torch.zeros(1, 3)], caplog) == []
    assert warnings_of([torch.zeros(0, 3)], caplog) == []
    assert warnings_of([torch.eye(6)[:, :1]], caplog) == []


def test_tasks_of_arrays_tell_it_with_the_name_of_the_split(caplog: pytest.LogCaptureFixture) -> None:
    inputs, labels = torch.randn(8, 3), torch.arange(8) % 2
    inputs[4] = NAN
    targets = np.arange(8, dtype=np.float32).reshape(8, 1)
    targets[2] = NAN
    with caplog.at_level(logging.WARNING, logger="slipway"):
        TensorTask(lambda: nn.Linear(3, 2), {"train": (inputs, labels), "val": (torch.randn(8, 3), labels)})
        DatasetTask(lambda: nn.Linear(3, 1), (torch.randn(8, 3), targets), loss=nn.MSELoss())
    told = [record.getMessage().split(": a step")[0] for record in caplog.records]
    assert told == [
        "tensors: train: 1 of 8 samples hold NaN or infinite numbers (sample 4)",
        "dataset: train: 1 of 8 samples hold NaN or infinite numbers (sample 2)",
    ]

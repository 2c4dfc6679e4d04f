"""Classes of a data set for `--sampling balanced` and `--class-weights`: where they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from slipway import DatasetTask, TrainingConfig, UserError, train
from slipway.training.tasks.classes import automatic_monitor, find_majority

X = torch.randn(90, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.cat([torch.zeros(70), torch.ones(12), torch.full((8,), 2)]).long()[
    torch.randperm(90, generator=torch.Generator())
]


class Pictures(Dataset[Any]):
    """As data sets of torchvision are, and counts what is read."""

    def __init__(self, **beside: Any) -> None:
        self.reads = 0
        self.__dict__.update(beside)

    def __len__(self) -> int:
        return len(Y)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.reads += 1
        return X[index], int(Y[index])


def hugging_face() -> Any:
    from datasets import Dataset as Table

    return Table.from_dict({"x": X.tolist(), "label": Y.tolist()})


KINDS: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X.numpy(), Y.numpy().astype(np.int32)),
    "targets": lambda: Pictures(targets=Y.tolist()),
    "labels": lambda: Pictures(labels=Y.numpy()),
    "a column": hugging_face,
    "a subset": lambda: Subset(Pictures(targets=Y), list(range(len(Y)))),
    "read": Pictures,
    "other targets than those of the samples": lambda: Pictures(targets=(2 - Y).tolist()),
}


def make_task(data: Any, **options: Any) -> DatasetTask:
    return DatasetTask(lambda: nn.Linear(4, 3), data, val=(X, Y), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_data_set_tells_the_class_of_each_sample(kind: str) -> None:
    pytest.importorskip("datasets") if kind == "a column" else None
    labels = make_task(KINDS[kind]()).labels("train")
    assert labels is not None
    assert labels.tolist() == Y.tolist()


def test_no_sample_is_read_for_classes_that_stand_beside_them() -> None:
    data = Pictures(targets=Y)
    task = make_task(data)
    before = data.reads
    assert find_majority(task) is not None
    task.labels("train")
    assert data.reads - before <= 16
    assert automatic_monitor(task) == "macro_f1"
    assert find_majority(make_task(Pictures())) is None


def weights(data: Any, **config: Any) -> torch.Tensor:
    values = {"epochs": 2, "batch_size": 16, "precision": "float64", "device": "cpu", "num_workers": 0, **config}
    torch.manual_seed(0)
    model = train(TrainingConfig(**values), make_task(data)).model
    return torch.cat([one.detach().flatten() for one in model.parameters()])


@pytest.mark.parametrize("options", [{"sampling": "balanced"}, {"class_weights": "balanced", "micro_batch_size": 5}])
def test_balanced_training_is_the_same_wherever_the_classes_come_from(
    options: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    natural, expected = weights(KINDS["arrays"]()), weights(KINDS["arrays"](), **options)
    assert (natural - expected).abs().max() > 1e-3
    for kind in ("targets", "read"):
        assert (weights(KINDS[kind](), **options) - expected).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            make_task((X, X), loss=nn.MSELoss()),
            "--class-weights balanced: the task 'dataset' has no classes; leave the option out, or give targets that are",
        ),
        (
            make_task((X, Y), loss=lambda outputs, targets: nn.functional.cross_entropy(outputs, targets)),
            "--class-weights balanced: the loss returns one number for several samples",
        ),
        (
            make_task(Pictures(targets=torch.where(torch.arange(90) == 89, 1 - Y.clamp(max=1), Y))),
            "the target of sample 89 of train is",
        ),
    ],
)
def test_classes_that_cannot_be_balanced_are_refused(
    task: DatasetTask, message: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        train(TrainingConfig(epochs=1, class_weights="balanced", device="cpu", num_workers=0), task)
    assert message in str(caught.value)

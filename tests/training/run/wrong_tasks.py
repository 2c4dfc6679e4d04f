"""What people get wrong in a task of their own, by a name for each; one call of `train` or of a constructor ends in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from slipway import DatasetTask, Observer, ParameterGroup, Task, TensorTask, TrainingConfig, train

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3
R = X.sum(1, keepdim=True)


def net() -> nn.Module:
    return nn.Linear(4, 3)


def regressor() -> nn.Module:
    return nn.Linear(4, 1)


class Items(Dataset[Any]):
    """A data set of a function."""

    def __init__(self, get: Callable[[int], Any], count: Any = 40) -> None:
        self.get, self.count = get, count

    def __len__(self) -> Any:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.get(index)


class NoLength(Dataset[Any]):
    """Can be indexed, but has no length."""

    def __getitem__(self, index: int) -> Any:
        return X[index], 0


class Endless(IterableDataset[Any]):
    """A stream."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield X[0], 0


def parsed(index: int) -> Any:
    """Read a sample of which one is broken."""
    text = "1.5" if index != 17 else "n/a"
    return X[index] * float(text), 0


def lone(index: int) -> Any:
    """Read a sample of which one is of another shape."""
    return (X[index] if index != 17 else X[index, :3]), 0


def broken_collate(samples: list[Any]) -> Any:
    return torch.stack([sample["image"] for sample in samples])


class ReturnsNothing(nn.Linear):
    def forward(self, x: torch.Tensor) -> Any:
        super().forward(x)


class ReturnsTwo(nn.Linear):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x), super().forward(x)


class OtherWidth(nn.Linear):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x[:, :3])


class Steps(Observer):
    """Counts the steps that are done."""

    done = 0

    def on_step(self, event: Any) -> None:
        Steps.done += 1


def fit(
    task: Task | None = None, *, observers: Any = None, optimizer: Any = None, schedule: Any = None, **config: Any
) -> Any:
    """Train a task, or one that is right."""
    task = DatasetTask(net, (X, Y), val=(X, Y)) if task is None else task
    values = {"epochs": 1, "batch_size": 8, "num_workers": 0, "device": "cpu", **config}
    observers = [Steps()] if observers is None else observers
    return train(TrainingConfig(**values), task, observers, optimizer=optimizer, schedule=schedule)


def classes(train: Any = (X, Y), make: Any = net, **arguments: Any) -> DatasetTask:
    return DatasetTask(make, train, **{"val": (X, Y), **arguments})


def numbers(train: Any = (X, R), make: Any = regressor, loss: Any = nn.MSELoss(), **arguments: Any) -> DatasetTask:  # noqa: B008
    return DatasetTask(make, train, loss=loss, **{"val": (X, R), **arguments})


def grouped(groups: Callable[[nn.Module], Any]) -> DatasetTask:
    task = classes()
    task.parameter_groups = groups  # type: ignore[method-assign]
    return task


class Plain(torch.optim.Optimizer):
    """An optimizer whose step fails."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        raise KeyError("momentum")


class OldTask(TensorTask):
    def losses(self, outputs: torch.Tensor, batch: Any, stage: Any) -> torch.Tensor:
        return F.cross_entropy(outputs, batch.tensors["labels"])


class ColumnTask(TensorTask):
    def losses(self, outputs: torch.Tensor, batch: Any, stage: Any) -> torch.Tensor:
        return F.cross_entropy(outputs, batch.tensors["labels"], reduction="none")[:, None]


@dataclasses.dataclass
class Sample:
    picture: torch.Tensor
    kind: int


WRONG: dict[str, Callable[[], Any]] = {
    # the model
    "model.module": lambda: classes(make=net()),
    "model.class_instance_of_other": lambda: classes(make="resnet18"),
    "model.tuple": lambda: fit(classes(make=lambda: (net(), 3))),
    "model.none": lambda: fit(classes(make=lambda: None)),
    "model.raises": lambda: fit(classes(make=lambda: nn.Linear("4", 3))),  # type: ignore[arg-type]
    "model.needs_argument": lambda: fit(classes(make=nn.Linear)),
    "model.no_parameters": lambda: fit(classes(make=nn.Identity)),
    "model.all_frozen": lambda: fit(classes(make=lambda: net().requires_grad_(False))),
    "model.returns_none": lambda: fit(classes(make=lambda: ReturnsNothing(4, 3))),
    "model.returns_two": lambda: fit(classes(make=lambda: ReturnsTwo(4, 3))),
    "model.other_width": lambda: fit(classes(make=lambda: OtherWidth(4, 3))),
    "model.few_classes": lambda: fit(classes(make=lambda: nn.Linear(4, 2))),
    "model.one_column": lambda: fit(classes(make=regressor)),
    "model.without_train_of_tensor_task": lambda: fit(TensorTask(net(), {"train": (X, Y)})),  # type: ignore[arg-type]
    "model.integer_inputs": lambda: fit(classes((X.long(), Y))),
    # the loss
    "loss.class": lambda: classes(loss=nn.CrossEntropyLoss),
    "loss.name": lambda: classes(loss="cross_entropy"),
    "loss.sum": lambda: classes(loss=nn.CrossEntropyLoss(reduction="sum")),
    "loss.column": lambda: fit(numbers(loss=lambda o, t: (o - t).abs())),
    "loss.matrix": lambda: fit(numbers(loss=lambda o, t: (o - t.T).abs())),
    "loss.int": lambda: fit(classes(loss=lambda o, t: 3)),
    "loss.none": lambda: fit(classes(loss=lambda o, t: None)),
    "loss.item": lambda: fit(classes(loss=lambda o, t: F.cross_entropy(o, t).item())),
    "loss.detached": lambda: fit(classes(loss=lambda o, t: F.cross_entropy(o, t).detach())),
    "loss.dict": lambda: fit(classes(loss=lambda o, t: {"loss": F.cross_entropy(o, t)})),
    "loss.three": lambda: fit(classes(loss=lambda o, t: (F.cross_entropy(o, t), 1, 2))),
    "loss.weights_of_samples": lambda: fit(classes(loss=lambda o, t: (F.cross_entropy(o, t), torch.ones(len(t))))),
    "loss.negative_weight": lambda: fit(classes(loss=lambda o, t: (F.cross_entropy(o, t), -1))),
    "loss.one_argument": lambda: fit(classes(loss=lambda o: o.mean())),
    "loss.raises": lambda: fit(classes(loss=lambda o, t: o.logits.mean())),
    "loss.nan": lambda: fit(classes(loss=lambda o, t: F.cross_entropy(o, t) * float("nan"))),
    "loss.of_model_without": lambda: fit(classes(loss=None)),
    "loss.with_parameters": lambda: classes(loss=nn.Linear(3, 3)),
    "loss.integers": lambda: fit(classes(loss=lambda o, t: o.argmax(1))),
    "loss.class_weights": lambda: fit(classes(loss=nn.CrossEntropyLoss(weight=torch.ones(5)))),
    "loss.tensor_task_mean": lambda: fit(OldTask(net, {"train": (X, Y), "val": (X, Y)})),
    "loss.tensor_task_column": lambda: fit(ColumnTask(net, {"train": (X, Y), "val": (X, Y)})),
    # targets
    "target.broadcast": lambda: fit(numbers((X, R[:, 0]))),
    "target.floats_for_classes": lambda: fit(classes((X, Y.double()))),
    "target.too_large": lambda: fit(classes((X, torch.where(torch.arange(40) == 17, 9, Y)))),
    "target.negative": lambda: fit(classes((X, Y - 1))),
    "target.too_large_in_a_data_set": lambda: fit(classes(Items(lambda i: (X[i], 9 if i == 17 else 0)))),
    "target.text": lambda: fit(classes(Items(lambda i: (X[i], "cat")))),
    "target.none": lambda: fit(classes([(x,) for x in X])),
    "target.none_in_one": lambda: fit(classes(Items(lambda i: (X[i], None if i == 17 else 0)))),
    "target.column": lambda: fit(classes((X, Y[:, None]))),
    "target.integers_for_regression": lambda: fit(numbers((X, Y[:, None]), loss=nn.BCEWithLogitsLoss())),
    "target.one_hot_integers": lambda: fit(classes((X, F.one_hot(Y)))),
    # data
    "data.none": lambda: DatasetTask(net, val=(X, Y)),
    "data.empty": lambda: fit(classes([])),
    "data.empty_arrays": lambda: fit(classes((X[:0], Y[:0]))),
    "data.empty_validation": lambda: fit(classes(val=[])),
    "data.lengths": lambda: classes((X, Y[:5])),
    "data.array_alone": lambda: classes(X),
    "data.splits_in_one": lambda: classes({"train": [(X[0], 0)], "test": [(X[0], 0)]}),
    "data.loader": lambda: classes(DataLoader(TensorDataset(X, Y))),
    "data.class": lambda: classes(NoLength),
    "data.no_length": lambda: classes(NoLength()),
    "data.length_is_a_float": lambda: classes(Items(lambda i: (X[i], 0), 40.0)),
    "data.path": lambda: classes("data/train"),
    "data.too_long": lambda: fit(classes(Items(lambda i: (X[:20][i], 0)))),
    "data.sample_raises": lambda: fit(classes(Items(parsed))),
    "data.sample_raises_in_a_worker": lambda: fit(classes(Items(parsed)), num_workers=1),
    "data.sample_of_another_shape": lambda: fit(classes(Items(lone))),
    "data.sample_is_none": lambda: fit(classes(Items(lambda i: None))),
    "data.sample_is_text": lambda: fit(classes(["a", "b"])),
    "data.objects": lambda: classes((np.array([None] * 40, dtype=object), Y)),
    "data.ragged": lambda: fit(classes(Items(lambda i: (X[i, : 1 + i % 2], 0)))),
    "data.unknown_split": lambda: classes(validaton=(X, Y)),
    "data.split_of_other_tools": lambda: classes(training_set=(X, Y)),
    "data.split_twice": lambda: classes(dev=(X, Y)),
    "data.unknown_argument": lambda: classes(collate=list),
    "data.loaders_argument": lambda: classes(batch_size=8),
    "data.names": lambda: fit(
        classes({"picture": X, "scale": R, "label": Y}, make=lambda: nn.Bilinear(4, 4, 3), val=None)
    ),
    "data.records": lambda: fit(classes([Sample(x, 0) for x in X], val=None)),
    "data.split_of_tensor_task": lambda: TensorTask(net, {"train": (X, Y), "tset": (X, Y)}),
    "data.tensor_task_without_targets": lambda: TensorTask(net, {"train": X}),
    # collate_fn
    "collate.raises": lambda: fit(classes([(x, 0) for x in X], collate_fn=broken_collate)),
    "collate.no_tensors": lambda: fit(
        classes([1, 2, 3], collate_fn=lambda samples: {"text": [str(s) for s in samples]})
    ),
    "collate.none": lambda: fit(classes([(x, 0) for x in X], collate_fn=lambda samples: None)),
    "collate.no_function": lambda: fit(classes([(x, 0) for x in X], collate_fn="pad")),
    "collate.drops_samples": lambda: fit(
        classes(
            [(x, 0) for x in X],
            collate_fn=lambda s: (torch.stack([x for x, _ in s[:7]]), torch.zeros(min(7, len(s))).long()),
            val=None,
        )
    ),
    # metrics
    "metrics.text": lambda: classes(metrics={"r2": "r2"}),
    "metrics.list": lambda: classes(metrics=["accuracy"]),
    "metrics.function": lambda: classes(metrics=lambda o, t: 0.5),
    "metrics.class": lambda: classes(metrics={"r2": nn.L1Loss}),
    "metrics.direction": lambda: classes(metrics={"odd": ("higher", lambda o, t: 1.0)}),
    "metrics.name": lambda: classes(metrics={"top 5": lambda o, t: 1.0}),
    "metrics.loss": lambda: classes(metrics={"loss": lambda o, t: 1.0}),
    "metrics.vector": lambda: fit(classes(metrics={"f1": lambda o, t: o.mean(0)})),
    "metrics.none": lambda: fit(classes(metrics={"f1": lambda o, t: None})),
    "metrics.word": lambda: fit(classes(metrics={"f1": lambda o, t: "good"})),
    "metrics.raises": lambda: fit(classes(metrics={"f1": lambda o, t: o.logits})),
    "metrics.complex": lambda: fit(classes(metrics={"f1": lambda o, t: 1j})),
    # the monitor
    "monitor.unknown": lambda: fit(classes(metrics={"r2": lambda o, t: 0.5}), monitor="r3"),
    "monitor.no_direction": lambda: fit(classes(metrics={"odd": lambda o, t: 0.5}), monitor="odd"),
    "monitor.wrong_direction": lambda: fit(classes(metrics={"r2": lambda o, t: 0.5}), monitor="r2:best"),
    "monitor.of_another_tool": lambda: fit(monitor="val_acc"),
    # optimizer, schedule, groups
    "optimizer.instance": lambda: fit(optimizer=torch.optim.AdamW(net().parameters())),
    "optimizer.name": lambda: fit(optimizer="adamw"),
    "optimizer.unknown_name": lambda: fit(TensorTask(net, {"train": (X, Y)}), batch_size=8, optimizer_options=("x",)),
    "optimizer.no_optimizer": lambda: fit(optimizer=lambda groups: 3),
    "optimizer.forgets_groups": lambda: fit(optimizer=lambda groups: torch.optim.SGD(net().parameters(), lr=0.1)),
    "optimizer.lbfgs": lambda: fit(optimizer=torch.optim.LBFGS),
    "optimizer.raises": lambda: fit(optimizer=lambda groups: torch.optim.SGD(groups, rate=0.1)),  # type: ignore[call-arg]
    "optimizer.unknown_option": lambda: fit(optimizer=torch.optim.SGD, optimizer_options=("nesterof=true",)),
    "optimizer.step_raises": lambda: fit(optimizer=Plain),
    "optimizer.own_rate": lambda: fit(optimizer=lambda groups: torch.optim.SGD(groups[0]["params"], lr=0.5)),
    "schedule.tensor": lambda: fit(schedule=lambda step: torch.tensor([1.0, 2.0])),
    "schedule.nan": lambda: fit(schedule=lambda step: float("nan")),
    "schedule.negative": lambda: fit(schedule=lambda step: -1.0),
    "schedule.none": lambda: fit(schedule=lambda step: None),
    "schedule.raises": lambda: fit(schedule=lambda step: 1 / step),
    "schedule.no_function": lambda: fit(schedule="cosine"),
    "schedule.no_argument": lambda: fit(schedule=lambda: 1.0),
    "schedule.of_torch": lambda: fit(
        schedule=torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD(net().parameters(), lr=0.1), lambda step: 1.0)
    ),
    "schedule.draws": lambda: fit(schedule=lambda step: float(torch.rand(()))),
    "groups.twice": lambda: fit(grouped(lambda m: [ParameterGroup(m), ParameterGroup(m)])),
    "groups.of_another_model": lambda: fit(grouped(lambda m: [ParameterGroup(net())])),
    "groups.torchs": lambda: fit(grouped(lambda m: [{"params": m.parameters()}])),
    "groups.one": lambda: fit(grouped(lambda m: ParameterGroup(m))),
    # observers
    "observers.class": lambda: fit(observers=[Observer]),
    "observers.function": lambda: fit(observers=[print]),
    "observers.one": lambda: fit(observers=Observer()),
    "observers.misnamed": lambda: fit(observers=[type("Mine", (Observer,), {"on_step_end": print})()]),
    # the config
    "config.unknown": lambda: fit(lr=0.1),
    "config.device": lambda: fit(device="gpu"),
    "config.epochs": lambda: fit(epochs=0),
    "config.epochs_float": lambda: fit(epochs=1.5),
    "config.precision": lambda: fit(mixed_precision="float16"),
    "config.class_instead": lambda: train(TrainingConfig, classes()),  # type: ignore[arg-type]
    "config.task_class": lambda: train(TrainingConfig(epochs=1), DatasetTask),  # type: ignore[arg-type]
    "config.task_is_a_module": lambda: train(TrainingConfig(epochs=1), net()),  # type: ignore[arg-type]
    "config.swapped": lambda: train(classes(), TrainingConfig(epochs=1)),  # type: ignore[arg-type]
}

"""`DatasetTask`: the weights of a plain loop, whatever data set, loss and plan; wrong ones are told in one sentence."""

from __future__ import annotations

import random
from collections import UserDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from slipway.training.batches.order import Order
from slipway.training.common.errors import UserError
from slipway.training.common.keyed_random import sample_keys
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Stage
from slipway.training.loop.trainer import build_model
from slipway.training.run.announce import announce_run
from slipway.training.tasks.dataset_task import DatasetTask
from tests.training.helpers import make_recipe, make_trainer

GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(37, 6, generator=GENERATOR, dtype=torch.float64)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
R = (X @ torch.arange(6.0, dtype=torch.float64))[:, None]
STAGE = Stage(name="only", epochs=3, schedule="constant", warmup_epochs=0, weight_decay=0.0)
PLAN = Plan.alone()


@dataclass
class Record:
    x: torch.Tensor
    y: torch.Tensor


Pair = namedtuple("Pair", "features wanted")


class Items(Dataset[Any]):
    """Samples made by a function of their number."""

    def __init__(self, make: Callable[[int], Any], count: int = len(X)) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


class Endless(Dataset[Any]):
    """Has no `__len__`."""

    def __getitem__(self, index: int) -> Any:
        return X[0], Y[0]


class Many(Items):
    """Has `__getitems__`, as data sets that read many samples at once."""

    calls: list[int]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.calls = [*getattr(self, "calls", []), len(indices)]
        return [self.make(index) for index in indices]


def make_net(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs))


def trained(task: DatasetTask, micro_batch_size: int = 5, num_workers: int = 0, **options: Any) -> nn.Module:
    values = {"batch_size": 10, "optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 0.0, "precision": "float64"}
    recipe = make_recipe(STAGE, **{**values, **options})
    plan = replace(PLAN, micro_batch_size=micro_batch_size, num_workers=num_workers)
    trainer, _ = make_trainer(task, recipe, plan=plan)
    trainer.run()
    return trainer.model


def plain(task: DatasetTask, loss: Callable[[nn.Module, list[int]], torch.Tensor]) -> nn.Module:
    """Train as a plain loop does; `loss` is that of a complete batch."""
    recipe = make_recipe(STAGE, precision="float64")
    model = build_model(task, recipe)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    order = Order(num_samples=len(X), seed=recipe.seed)
    for epoch in range(STAGE.epochs):
        for first in range(0, len(X), 10):
            indices = order.indices(epoch, first, min(first + 10, len(X))).tolist()
            optimizer.zero_grad()
            loss(model, indices).backward()
            optimizer.step()
    return model


def gap(model: nn.Module, other: nn.Module) -> float:
    first, second = (nn.utils.parameters_to_vector(one.parameters()).detach() for one in (model, other))
    return float((first - second).abs().max() / second.abs().max())


def cross_entropy(model: nn.Module, indices: list[int]) -> torch.Tensor:
    return F.cross_entropy(model(X[indices]), Y[indices])


DATA: dict[str, Callable[[], Any]] = {
    "tensors": lambda: (X, Y),
    "arrays": lambda: (X.numpy(), Y.numpy()),
    "dictionary of arrays": lambda: {"input": X.numpy(), "label": Y},
    "TensorDataset": lambda: TensorDataset(X, Y),
    "data set": lambda: Items(lambda index: (X[index], int(Y[index]))),
    "many at once": lambda: Many(lambda index: (X[index], Y[index])),
    "subset": lambda: Subset(Items(lambda index: (X[index], Y[index])), range(len(X))),
    "list": lambda: [(X[index], Y[index]) for index in range(len(X))],
    "numpy samples": lambda: Items(lambda index: (X[index].numpy(), np.int64(Y[index]))),
    "dictionaries": lambda: Items(lambda index: {"x": X[index], "label": Y[index], "text": "hello"}),
    "dataclasses": lambda: Items(lambda index: Record(X[index], Y[index])),
    "named tuples": lambda: Items(lambda index: Pair(X[index], Y[index])),
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_kind_of_data_gives_the_weights_of_a_plain_loop(kind: str, num_workers: int) -> None:
    if num_workers and kind not in ("tensors", "data set", "dictionaries"):
        pytest.skip("as the others")
    task = DatasetTask(make_net, DATA[kind]())
    assert gap(trained(task, num_workers=num_workers), plain(task, cross_entropy)) < 1e-12


def test_a_hugging_face_data_set_gives_the_weights_of_a_plain_loop() -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()})
    task = DatasetTask(make_net, data.with_format("numpy"))
    assert gap(trained(task), plain(task, cross_entropy)) < 1e-6  # its numbers are float32
    lists = DatasetTask(make_net, data)
    assert [list(tensor.shape) for tensor in lists.fetch("train", torch.arange(4)).values()] == [[4, 6], [4]]


def test_many_samples_are_read_at_once_where_the_data_set_can() -> None:
    data = Many(lambda index: (X[index], Y[index]))
    task = DatasetTask(make_net, data)
    data.calls.clear()
    task.fetch("train", torch.arange(7))
    assert data.calls == [7]


class ByName(nn.Module):
    """Takes three inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_net()

    def forward(self, first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.net(torch.cat([first, second], dim=1)) * scale[:, None]


@pytest.mark.parametrize(
    "data",
    [
        {"scale": X[:, 5], "second": X[:, 3:], "labels": Y, "first": X[:, :3]},
        ((X[:, :3], X[:, 3:], X[:, 5]), Y),
        (X[:, :3], X[:, 3:], X[:, 5], Y),
        ({"scale": X[:, 5], "second": X[:, 3:], "first": X[:, :3]}, Y),
    ],
)
def test_several_inputs_go_by_name_or_by_position(data: Any) -> None:
    task = DatasetTask(ByName, data)
    assert (
        gap(
            trained(task),
            plain(task, lambda m, i: F.cross_entropy(m(X[i, :3], X[i, 3:], X[i, 5]), Y[i])),
        )
        < 1e-12
    )


def test_forward_replaces_the_call_and_gets_the_batch_as_it_was_collated() -> None:
    def collate(samples: list[Any]) -> Any:
        return UserDict(
            both=[torch.stack([x for x, _ in samples]), [0.5] * len(samples)], y=torch.stack([y for _, y in samples])
        )

    task = DatasetTask(
        make_net,
        [(X[i], Y[i]) for i in range(len(X))],
        collate_fn=collate,
        forward=lambda model, batch: model(batch["both"][0] * batch["both"][1][:, None]),
    )
    assert gap(trained(task), plain(task, lambda m, i: F.cross_entropy(m(X[i] / 2), Y[i]))) < 1e-12


WEIGHT = torch.tensor([1.0, 5.0, 0.2], dtype=torch.float64)
IGNORED = Y.clone()
IGNORED[::4] = -100
TOKENS = torch.stack([Y, IGNORED], dim=1)

LOSSES: dict[str, tuple[Any, torch.Tensor, Callable[[torch.Tensor, torch.Tensor], torch.Tensor], int]] = {
    "weighted": (
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1),
        Y,
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1),
        3,
    ),
    "ignored": (nn.CrossEntropyLoss(), IGNORED, F.cross_entropy, 3),
    "partial of torch": (partial(F.cross_entropy, weight=WEIGHT), Y, partial(F.cross_entropy, weight=WEIGHT), 3),
    "mean squares": (nn.MSELoss(), torch.cat([R, R], dim=1) / 9, F.mse_loss, 2),
    "function of torch": (F.smooth_l1_loss, R / 9, F.smooth_l1_loss, 1),
    "binary": (
        nn.BCEWithLogitsLoss(pos_weight=WEIGHT),
        F.one_hot(Y).double(),
        nn.BCEWithLogitsLoss(pos_weight=WEIGHT),
        3,
    ),
    "divergence": (
        nn.KLDivLoss(reduction="batchmean"),
        X[:, :3].softmax(1),
        nn.KLDivLoss(reduction="batchmean"),
        3,
    ),
    "a number each": (lambda o, t: (o - t).abs()[:, 0], R / 9, F.l1_loss, 1),
    "a sum and a weight": (lambda o, t: ((o - t).square().sum(), t.numel()), R / 9, F.mse_loss, 1),
    "a mean": (lambda o, t: (o - t).square().mean(), R / 9, F.mse_loss, 1),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("micro_batch_size", [3, 10])
def test_any_loss_in_any_micro_batches_is_the_mean_over_the_global_batch(kind: str, micro_batch_size: int) -> None:
    loss, targets, reference, outputs = LOSSES[kind]
    task = DatasetTask(lambda: make_net(outputs), (X, targets), loss=loss, metrics={})
    expected = plain(task, lambda m, i: reference(m(X[i]), targets[i]))
    assert gap(trained(task, micro_batch_size), expected) < 1e-11


class PerToken(nn.Module):
    """Scores of two tokens, [samples, classes, tokens]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_net(6)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"hidden": x, "logits": self.net(x).reshape(-1, 3, 2)}


def test_tokens_that_are_ignored_do_not_count_wherever_they_are() -> None:
    task = DatasetTask(PerToken, (X, TOKENS), {"val": (X, TOKENS)}["val"], loss=nn.CrossEntropyLoss(WEIGHT))
    expected = plain(task, lambda m, i: nn.CrossEntropyLoss(WEIGHT)(m(X[i])["logits"], TOKENS[i]))
    trainer, _ = make_trainer(task, make_recipe(STAGE, monitor="loss", precision="float64", batch_size=10))
    with torch.no_grad():
        trainer.model.load_state_dict(expected.state_dict())
        whole = nn.CrossEntropyLoss(WEIGHT)(expected(X)["logits"], TOKENS)
    assert trainer.evaluate("validation") == {"loss": pytest.approx(float(whole), rel=1e-12)}
    assert gap(trained(task, 3, monitor="loss"), expected) < 1e-11


def r2(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 1 - (outputs - targets).square().sum() / (targets - targets.mean()).square().sum()


def test_metrics_get_the_complete_split_in_its_order_and_its_types() -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def look(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        seen.append((outputs, targets))
        return 0.5

    task = DatasetTask(
        lambda: make_net(1), (X, R), eval=(X, R), loss=nn.MSELoss(), metrics={"r2": r2, "own": ("max", look)}
    )
    trainer, _ = make_trainer(
        task, make_recipe(STAGE, monitor="loss", precision="float64"), plan=replace(PLAN, micro_batch_size=7)
    )
    found = trainer.evaluate("validation")
    with torch.no_grad():
        outputs = trainer.model(X)
    assert found == {
        "loss": pytest.approx(float(F.mse_loss(outputs, R))),
        "r2": pytest.approx(float(r2(outputs, R))),
        "own": 0.5,
    }
    assert torch.allclose(seen[0][0], outputs)
    assert torch.equal(seen[0][1], R)


class Jittered(Dataset[Any]):
    """Draws from all three generators."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        noise = torch.randn(6, dtype=torch.float64) + np.random.rand() + random.random()
        return X[index] + 0.1 * noise, Y[index]


def test_samples_that_draw_are_the_same_for_any_number_of_processes_and_in_any_micro_batches() -> None:
    models = [
        trained(DatasetTask(make_net, Jittered(), (X, Y)), size, num_workers=workers)
        for size, workers in ((10, 0), (3, 0), (5, 1), (4, 3))
    ]
    assert max(gap(model, models[0]) for model in models[1:]) < 1e-12
    assert gap(models[0], trained(DatasetTask(make_net, Jittered(), (X, Y)), seed=1)) > 1e-3


def test_a_sample_draws_anew_in_each_epoch_and_leaves_the_generators_of_the_model_alone() -> None:
    task = DatasetTask(make_net, Jittered())
    index = np.array([4, 9])
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    first, again, other = (
        task.fetch_training(torch.from_numpy(index), sample_keys(0, epoch, index))["0"] for epoch in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).any()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[2] == random.getstate()
    assert (before[1] == np.random.get_state()[1]).all()  # type: ignore[index]


def broken(samples: list[Any]) -> Any:
    return {"text": [str(sample) for sample in samples]}


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "module": (lambda: DatasetTask(make_net(), (X, Y)), "make_model is a module; give a function"),
    "no module": (lambda: DatasetTask(lambda: 3, (X, Y)).build_model(), "must return a module, but returned int"),  # type: ignore[arg-type,return-value]
    "split": (lambda: DatasetTask(make_net, (X, Y), validaton=(X, Y)), r"'validaton' \(did you mean 'validation'\?\)"),
    "twice": (lambda: DatasetTask(make_net, (X, Y), validation=(X, Y), dev=(X, Y)), "two data sets for validation"),
    "lengths": (lambda: DatasetTask(make_net, (X, Y[:5])), "arrays of 5 and 37 samples"),
    "loader": (lambda: DatasetTask(make_net, DataLoader(TensorDataset(X, Y))), "give its dataset"),
    "no length": (lambda: DatasetTask(make_net, Endless()), "cannot be asked for a sample by its number"),
    "class": (lambda: DatasetTask(make_net, Jittered), "Jittered is a class"),
    "no target": (lambda: trained(DatasetTask(make_net, [(x,) for x in X])), "needs a target, and the batch has none"),
    "no tensor": (lambda: DatasetTask(make_net, [1, 2], collate_fn=broken), "has no tensor"),
    "ragged": (lambda: trained(DatasetTask(make_net, Items(lambda i: (X[i, : 1 + i % 2], Y[i])))), "give a collate_fn"),
    "broadcast": (lambda: trained(DatasetTask(lambda: make_net(1), (X, R[:, 0]), loss=nn.MSELoss())), "broadcast"),
    "vector": (
        lambda: trained(DatasetTask(lambda: make_net(1), (X, R), loss=lambda o, t: (o - t).abs())),
        r"<lambda> returned \[5, 1\] float64 for 5 samples",
    ),
    "matrix": (
        lambda: trained(DatasetTask(lambda: make_net(1), (X, R), loss=lambda o, t: (o - t.T).abs())),
        r"returned \[5, 5\] float64 for 5 samples",
    ),
    "number": (lambda: trained(DatasetTask(make_net, (X, Y), loss=lambda o, t: 3.0)), "returned float; expected one"),
    "detached": (
        lambda: trained(DatasetTask(make_net, (X, Y), loss=lambda o, t: o.detach().sum(dim=1))),
        "does not depend on the model's weights",
    ),
    "sum": (lambda: DatasetTask(make_net, (X, Y), loss=nn.CrossEntropyLoss(reduction="sum")), "grows with the batch"),
    "class of a loss": (lambda: DatasetTask(make_net, (X, Y), loss=nn.CrossEntropyLoss), "is a class"),
    "range": (
        lambda: trained(DatasetTask(lambda: make_net(2), (X, Y))),
        "the target of sample 1 of train is 2, but the model scores 2 classes",
    ),
    "type": (lambda: trained(DatasetTask(make_net, (X, Y.double()))), "cannot take outputs"),
    "inputs": (lambda: trained(DatasetTask(ByName, {"a": X, "scale": R, "label": Y})), "needs first, second, but the"),
    "returned": (
        lambda: trained(DatasetTask(make_net, (X, Y), forward=lambda m, b: (m(b[0]), m(b[0])))),
        "no tensor is named logits",
    ),
    "metric": (lambda: DatasetTask(make_net, (X, Y), metrics={"r2": "r2"}), "'r2' must be a function"),
    "lazy": (
        lambda: trained(DatasetTask(lambda: nn.LazyLinear(3), (X, Y))),
        "parameter weight has no size before a first batch: call the model once",
    ),
    "own loss": (lambda: trained(DatasetTask(make_net, (X, Y), loss=None)), "loss=None takes the loss"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_told_in_one_sentence(kind: str) -> None:
    act, message = WRONG[kind]
    with pytest.raises(UserError, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 420


def test_what_is_left_out_and_how_one_number_is_taken_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    data = Items(lambda index: {"x": X[index], "label": Y[index], "name": f"sample {index}"})
    with caplog.at_level("INFO", logger="slipway"):
        trained(DatasetTask(make_net, data, loss=lambda outputs, targets: F.cross_entropy(outputs, targets)))
    told = [record.getMessage() for record in caplog.records]
    assert sum("no tensors, so the model does not get them: name (text)" in one for one in told) == 1
    assert sum("returns one number, taken as the mean over the samples of a micro-batch" in one for one in told) == 1


@pytest.mark.parametrize("loss", [None, nn.CrossEntropyLoss()])
def test_a_model_of_transformers_trains_on_padded_batches(loss: nn.Module | None) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3
    )

    def collate(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids = nn.utils.rnn.pad_sequence([one["input_ids"] for one in samples], batch_first=True)
        return {
            "input_ids": ids,
            "attention_mask": (ids > 0).long(),
            "labels": torch.tensor([one["y"] for one in samples]),
        }

    data = Items(lambda index: {"input_ids": torch.arange(1, 3 + index % 5), "y": index % 3})
    task = DatasetTask(
        lambda: transformers.BertForSequenceClassification(config), data, dev=data, collate_fn=collate, loss=loss
    )
    trainer, recorder = make_trainer(task, make_recipe(STAGE, batch_size=10, monitor="loss"))
    trainer.rehearse()
    trainer.run()
    assert set(recorder.epochs[-1].validation) == set(task.metric_names)
    assert len(task.metric_names) == (1 if loss is None else 3)


def test_classes_notes_and_options_are_told_and_stand_beside_the_weights() -> None:
    task = DatasetTask(
        make_net, (X, Y), class_names=["a", "b", "c"], about="37 numbers", notes=["2 left out"], options={"width": 8}
    )
    described = task.describe()
    assert (described["classes"], described["class_names"]) == (3, ["a", "b", "c"])
    assert (described["about"], described["notes"]) == ("37 numbers", ["2 left out"])
    assert task.prediction_spec() == {"class_names": ["a", "b", "c"], "options": {"width": 8}}
    recipe = make_recipe(STAGE)
    trainer, recorder = make_trainer(task, recipe)
    announce_run(trainer, "trial")
    assert ("data_note", "2 left out") in [(one.kind, one.reason) for one in recorder.decisions]
    wrong = DatasetTask(make_net, Items(lambda index: (X[index], Y[index])), class_names=["a", "b"])
    with pytest.raises(UserError, match="2 class_names, but the model scores 3 classes; give as many"):
        trained(wrong)


def test_batches_are_sorted_by_lengths_that_are_given_and_fewer_than_samples_are_refused() -> None:
    assert DatasetTask(make_net, (X, Y), lengths={"train": range(37)}).costs("train").tolist() == [*range(37)]
    assert DatasetTask(make_net, (X, Y)).costs("train") is None
    with pytest.raises(UserError, match="lengths of train: 2 for 37 samples"):
        DatasetTask(make_net, (X, Y), lengths={"train": [1, 2]})
    with pytest.raises(UserError, match="lengths 'trian'"):
        DatasetTask(make_net, (X, Y), lengths={"trian": [1, 2]})

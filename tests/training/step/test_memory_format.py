"""Channels-last images: another layout, the same numbers, and checkpoints and weights that know nothing of it."""

from __future__ import annotations

import os
import signal
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import slipway.training.run.train
from slipway.training.config.plan import MemoryFormat
from slipway.training.devices.ranks import Ranks
from slipway.training.run.cli import main
from slipway.training.run.planning import planned_memory_format
from slipway.training.step.flat import FlatParameters
from slipway.training.step.memory_format import _reason_against, lay_out_model, settle_memory_format
from slipway.training.storage.checkpoint import read_tensors, write_checkpoint
from slipway.training.storage.host_copy import HostCopy
from slipway.training.tasks.task import Batch, Task
from tests.training.helpers import PLAN, catch, make_recipe, make_task, make_trainer
from tests.training.misbehaviour import SMALL, Act, ActingTask, difference, record_of, run, send, steps_of, weights_of
from tests.training.processes import run_group

CHANNELS_LAST, CONTIGUOUS = ("--memory-format", "channels_last"), ("--memory-format", "contiguous")
SAME = ("--batch-rule", "fixed", "--precision", "float64", "--ema-decay", "0.5", "--clip-norm", "0.5")


class SmallNet(nn.Module):
    """Convolutions of every kind: strided, for each channel by itself, 1x1, transposed, one that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1).requires_grad_(False)
        self.layers = nn.Sequential(
            nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False),
            nn.GroupNorm(2, 8),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.Conv2d(8, 6, 1),
            nn.Tanh(),
            nn.ConvTranspose2d(6, 4, 2, stride=2),
        )
        self.position = nn.Parameter(torch.zeros(1, 4, 6, 6))
        self.head = nn.Linear(4 * 6 * 6, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head((self.layers(self.stem(images)) + self.position).flatten(1))


class Viewing(SmallNet):
    """Wants its activations contiguous."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        activations = self.layers(self.stem(images))
        return self.head(activations.view(len(images), -1))


class InMemory(SmallNet):
    """Computes with what lies in memory, whatever the strides say."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        activations = self.layers(self.stem(images))
        return self.head(activations.as_strided((len(images), 144), (144, 1)))


class ImageTask(ActingTask):
    """Four noisy patterns as images of 6x6; keeps whether the batches it was given have their channels last."""

    def __init__(self, act: Act | None = None, kind: type[nn.Module] = SmallNet) -> None:
        super().__init__(act)
        generator = torch.Generator().manual_seed(3)
        patterns = torch.randn(4, 3, 6, 6, generator=generator)
        self._make_model = kind
        for split, (_, labels) in self._splits.items():
            noise = torch.randn(len(labels), 3, 6, 6, generator=generator)
            self._splits[split] = (patterns[labels] + noise, labels)
        self.seen: set[tuple[bool, bool]] = set()

    def forward(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        images = batch.tensors["inputs"]
        self.seen.add((model.training, images.is_contiguous(memory_format=torch.channels_last)))
        return super().forward(model, batch)


def run_images(arguments: list[str], act: Act | None = None) -> int:
    """Run the command line of a training with images; return its exit code."""
    whole = slipway.training.run.train.train
    slipway.training.run.train.train = partial(whole, task=ImageTask(act))  # type: ignore[assignment]
    try:
        return main([*SMALL, *arguments])
    finally:
        slipway.training.run.train.train = whole


def arguments(runs_dir: Path, *options: str) -> list[str]:
    return [*SAME, "--runs-dir", str(runs_dir), *options]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a training in one process, contiguous."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_group(1, folder / "output", run_images, arguments(folder, *CONTIGUOUS)) == [0]
    return folder


def check_same(runs_dir: Path, whole: Path) -> None:
    for kind in ("best", "last"):
        assert difference(weights_of(runs_dir, kind=kind), weights_of(whole, kind=kind)) < 1e-10


def are_channels_last(tensor: torch.Tensor) -> bool:
    """Return whether the channels of [outputs, inputs, height, width] vary fastest, also where there is one of them."""
    _, inputs, height, width = tensor.shape
    return tensor.stride() == (inputs * height * width, 1, inputs * width, inputs)


def make_net() -> SmallNet:
    torch.manual_seed(0)
    return SmallNet().double()


def check_strides(flat: FlatParameters) -> None:
    """Check that each parameter and its gradient lies as it should, in the buffers."""
    flat.check_attached()
    assert sum(one.ndim == 4 for one in flat.tensors) == 5
    for one, start in zip(flat.tensors, flat.starts, strict=True):
        assert one.grad is not None
        for tensor, buffer in ((one, flat.values), (one.grad, flat.all_gradients)):
            assert tensor.data_ptr() == buffer[start:].data_ptr()
            assert are_channels_last(tensor) if one.ndim == 4 else tensor.is_contiguous()


def test_gradients_are_summed_in_place_where_channels_come_last() -> None:
    plain, model = make_net(), make_net()
    contiguous, flat = FlatParameters(plain, 2), FlatParameters(model, 2, channels_last=True)
    check_strides(flat)
    images = torch.randn(5, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for part in images.split(2):
            plain(part).square().sum().backward()
            model(part.contiguous(memory_format=torch.channels_last)).square().sum().backward()
    check_strides(flat)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-12, atol=1e-12)
    flat.values.mul_(2.0)
    assert torch.equal(model.layers[0].weight, 2.0 * plain.layers[0].weight)
    assert contiguous.num_parameters == flat.num_parameters


def test_a_vector_leaves_and_comes_back_in_the_order_of_contiguous_parameters() -> None:
    plain, model = make_net(), make_net()
    contiguous, flat = FlatParameters(plain, 2), FlatParameters(model, 2, channels_last=True)
    before = flat.values.clone()
    assert not torch.equal(flat.values, contiguous.values)
    assert torch.equal(flat.to_checkpoint(flat.values), contiguous.values)
    assert torch.equal(flat.values, before)
    assert torch.equal(flat.from_checkpoint(contiguous.values), flat.values)
    assert contiguous.to_checkpoint(contiguous.values) is contiguous.values
    changed = {name: tensor + 1.0 for name, tensor in plain.state_dict().items()}
    for one, of in ((flat, model), (contiguous, plain)):
        one.load_state_dict(of, changed)
    check_strides(flat)
    assert torch.equal(flat.to_checkpoint(flat.values), contiguous.values)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (1, ()),
        (1, ("--micro-batch-size", "3", "--optimizer", "sgd")),
        (2, ("--reduction", "flat", "--micro-batch-size", "3")),
        (2, ("--reduction", "overlap", "--share-weights", "3,1")),
    ],
)
def test_both_layouts_learn_the_same(tmp_path: Path, whole: Path, size: int, options: tuple[str, ...]) -> None:
    other = whole
    if "sgd" in options:
        other = tmp_path / "contiguous"
        assert run_group(1, other / "output", run_images, arguments(other, *CONTIGUOUS, *options)) == [0]
    told = arguments(tmp_path, *CHANNELS_LAST, *options)
    assert run_group(size, tmp_path / "output", run_images, told) == [0] * size
    check_same(tmp_path, other)
    record, expected = record_of(tmp_path), record_of(other)
    assert record["plan"]["memory_format"] == "channels_last"
    for name in ("base_recipe_hash", *(["recipe_hash"] if size == 1 else [])):
        assert record[name] == expected[name]
    assert record["result"]["test_loss"] == pytest.approx(expected["result"]["test_loss"], rel=1e-9)


@pytest.mark.parametrize(("before", "after"), [(CHANNELS_LAST, CONTIGUOUS), (CONTIGUOUS, CHANNELS_LAST)])
def test_a_run_goes_on_in_the_other_layout(
    tmp_path: Path, whole: Path, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    stop = partial(send, signal.SIGTERM, 6, 0)  # in the second epoch
    assert run_group(1, tmp_path / "output", run_images, arguments(tmp_path, *before), stop) == [75]
    assert run_group(2, tmp_path / "output", run_images, arguments(tmp_path, *after, "--resume", "auto")) == [0, 0]
    assert steps_of(tmp_path) == list(range(1, 13))
    check_same(tmp_path, whole)


def trained(memory_format: MemoryFormat, task: Task, **options: Any) -> Any:
    """Return a trainer that has trained two epochs of a task."""
    recipe = make_recipe(max_steps=6, stages_config="minimal", **options)
    plan = replace(PLAN, micro_batch_size=16, memory_format=memory_format)
    trainer, _ = make_trainer(task, recipe, plan=plan)
    trainer.run()
    return trainer


def checkpoint_of(trainer: Any, folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return the tensors of a checkpoint of a trainer as it stands."""
    return read_tensors(write_checkpoint(folder, HostCopy().take(trainer.capture()), 1))


def test_a_checkpoint_does_not_tell_the_layout(tmp_path: Path) -> None:
    trainers = [
        trained(one, ImageTask(), precision="float64", ema_decay=0.9) for one in ("channels_last", "contiguous")
    ]
    found, expected = (checkpoint_of(one, tmp_path / one.plan.memory_format) for one in trainers)
    assert {"exp_avg", "exp_avg_sq"} <= expected["optimizer"].keys()
    assert "values" in expected["best"]
    for group, tensors in expected.items():
        for name, tensor in tensors.items():
            torch.testing.assert_close(found[group][name], tensor, rtol=0.0, atol=1e-10)


def test_parameters_gradients_and_batches_have_their_channels_last_all_the_way() -> None:
    task = ImageTask()
    trainer = trained("channels_last", task, precision="float64", ema_decay=0.9)
    check_strides(trainer.parameters)
    assert are_channels_last(trainer.model.stem.weight)
    assert task.seen == {(True, True), (False, True)}
    content = trainer.capture()
    trainer.restore(content.state, content.tensors)
    check_strides(trainer.parameters)
    task = ImageTask()
    assert trained("contiguous", task).model.layers[0].weight.is_contiguous()
    assert task.seen == {(True, False), (False, False)}


@pytest.fixture
def with_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)


def reason_of(trainer: Any) -> str:
    return str(dict(trainer.plan.reasons)["memory_format"])


def test_auto_lays_channels_last_where_there_are_convolutions(with_onednn: None) -> None:
    task = ImageTask()
    trainer = trained("auto", task)
    assert trainer.plan.memory_format == "channels_last"
    assert "2-D convolutions" in reason_of(trainer)
    assert (True, False) not in task.seen
    check_strides(trainer.parameters)


def test_auto_leaves_a_model_without_convolutions_as_it_was() -> None:
    trainer, before = trained("auto", make_task()), trained("contiguous", make_task())
    assert (trainer.plan.memory_format, reason_of(trainer)) == ("contiguous", "the model has no 2-D convolution")
    assert torch.equal(trainer.parameters.values, before.parameters.values)
    assert trainer.parameters.to_checkpoint(trainer.parameters.values) is trainer.parameters.values


@pytest.mark.parametrize(("kind", "reason"), [(Viewing, "view size is not compatible"), (InMemory, "other numbers")])
def test_auto_is_contiguous_where_a_model_computes_in_nothing_else(
    with_onednn: None, kind: type[nn.Module], reason: str
) -> None:
    trainer = trained("auto", ImageTask(kind=kind))
    assert trainer.plan.memory_format == "contiguous"
    assert reason in reason_of(trainer)
    assert all(one.is_contiguous() for one in trainer.model.parameters())
    plain = trained("contiguous", ImageTask(kind=kind))
    assert torch.equal(trainer.parameters.values, plain.parameters.values)


def test_auto_is_contiguous_where_nothing_is_gained(monkeypatch: pytest.MonkeyPatch, with_onednn: None) -> None:
    task, model, cpu = ImageTask(), SmallNet(), torch.device("cpu")
    assert _reason_against(task, model, cpu, mixed=False) is None
    assert "float32 only" in str(_reason_against(task, model, cpu, mixed=True))
    assert "float64" in str(_reason_against(task, make_net(), cpu, mixed=False))
    assert "mps" in str(_reason_against(task, model, torch.device("mps"), mixed=True))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.delenv("PYTORCH_MIOPEN_SUGGEST_NHWC", raising=False)
    assert "MIOPEN" in str(_reason_against(task, model, torch.device("cuda"), mixed=True))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert "oneDNN" in str(_reason_against(task, model, cpu, mixed=False))


class Outvoted(Ranks):
    """Another rank has the smallest value that there is."""

    def minimum(self, value: int) -> int:
        return 0


def test_all_ranks_take_the_same_layout() -> None:
    ranks = Outvoted(rank=0, size=2, local_rank=0, device=torch.device("cpu"))
    plan = replace(PLAN, memory_format="channels_last", reasons=(("sharding", "so"),))
    settled = settle_memory_format(plan, ImageTask(), make_net(), make_recipe(), ranks)
    assert settled.memory_format == "contiguous"
    assert dict(settled.reasons) == {
        "sharding": "so",
        "memory_format": "not every rank can compute otherwise, and all need the same",
    }
    assert settle_memory_format(PLAN, ImageTask(), make_net(), make_recipe(), ranks) == PLAN


def test_only_images_are_laid_out() -> None:
    tensors = {
        "inputs": torch.randn(2, 3, 4, 5),
        "mask": torch.zeros(2, 3, 4, 5, dtype=torch.bool),
        "frames": torch.randn(2, 3, 4),
    }
    laid_out = Batch(torch.arange(2), None, dict(tensors)).channels_last().tensors
    assert are_channels_last(laid_out["inputs"])
    assert torch.equal(laid_out["inputs"], tensors["inputs"])
    assert laid_out["mask"] is tensors["mask"]
    assert laid_out["frames"] is tensors["frames"]
    model = SmallNet()
    lay_out_model(model, "channels_last")
    assert are_channels_last(model.layers[0].weight)
    lay_out_model(model, "contiguous")
    assert model.layers[0].weight.is_contiguous()


def test_another_layout_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--memory-format", "nhwc"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --memory-format: 'nhwc'")
    assert told.count("\n") == 1


def run_sharded(runs_dir: Path) -> int:
    return run(arguments(runs_dir, "--sharding", "fsdp", *CHANNELS_LAST))


def test_sharded_parameters_stay_contiguous(tmp_path: Path) -> None:
    assert run_group(2, tmp_path / "output", run_sharded, tmp_path / "runs") == [2, 2]
    told = (tmp_path / "output" / "rank_0.txt").read_text()
    assert told.startswith("error: --memory-format channels_last: torch's FSDP2 shards contiguous parameters only")
    assert told.count("\n") == 1
    assert not os.path.exists(tmp_path / "runs" / "run")
    assert "--sharding replicate" in str(catch(planned_memory_format, "channels_last", "fsdp"))
    assert planned_memory_format("contiguous", "fsdp") == ("contiguous", None)
    assert planned_memory_format("auto", "fsdp") == ("contiguous", "FSDP2 shards contiguous parameters only")
    assert planned_memory_format("channels_last", "replicate") == ("channels_last", None)
    assert planned_memory_format("auto", "replicate")[0] == "auto"


def test_what_auto_became_stands_in_the_record(tmp_path: Path) -> None:
    assert run_group(1, tmp_path / "output", run_images, arguments(tmp_path)) == [0]
    plan = record_of(tmp_path)["plan"]
    assert plan["memory_format"] == "contiguous"
    assert plan["reasons"]["memory_format"] == "in float64 libraries convolve contiguous images only"

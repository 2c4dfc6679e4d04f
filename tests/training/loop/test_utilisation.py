"""Model FLOP utilisation: counted operations over a data sheet's peak, shown only where both are known."""

from __future__ import annotations

import io
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from slipway.training.config.recipe import Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.loop import utilisation
from slipway.training.loop.utilisation import find_model_flops, peak_flops_per_second
from slipway.training.observers.events import ModelFlops
from slipway.training.observers.screen.records import RecordsConsole
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import PLAN, make_recipe, make_task, make_trainer
from tests.training.observers import make_run_start, make_stage_start, make_step

MLP_FLOPS = 2 * (8 * 16 + 16 * 4) * 2 + 2 * 16 * 4
"""A sample's: the layers 8 to 16 to 4 forward, the same for their weights' gradients, and the second one's for its input."""


@pytest.mark.parametrize(
    ("name", "precision", "tera_flops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA H200", "bf16", 989),
        ("NVIDIA A100-SXM4-40GB", "fp16", 312),
        ("NVIDIA A100-SXM4-40GB", "no", 19.5),
        ("NVIDIA A10", "bf16", 125),
        ("Tesla V100-SXM2-16GB", "fp16", 125),
        ("Tesla V100-SXM2-16GB", "bf16", None),
        ("Tesla T4", "fp16", 65),
        ("NVIDIA L4", "bf16", 121),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bf16", None),
        ("NVIDIA A1000", "bf16", None),
        ("Intel(R) Xeon(R) Processor", "no", None),
    ],
)
def test_the_peak_is_the_dense_one_of_the_data_sheet(name: str, precision: str, tera_flops: float | None) -> None:
    found = peak_flops_per_second(name, precision)  # type: ignore[arg-type]
    assert found == (None if tera_flops is None else pytest.approx(tera_flops * 1e12))


@pytest.fixture
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utilisation, "peak_of_ranks", lambda ranks, precision, dtype: 1e9)


@pytest.mark.usefixtures("known_peak")
def test_the_operations_of_both_passes_are_counted_for_a_sample() -> None:
    trainer, recorder = make_trainer(make_task(), make_recipe(Stage(name="only", epochs=1)))
    trainer.run()
    (told,) = [one for one in recorder.decisions if one.kind == "model_flops"]
    assert told.fields == {"flops_per_sample": MLP_FLOPS, "peak_flops_per_second": 1e9, "mixed_precision": "no"}


def test_nothing_is_counted_or_told_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("counted")

    monkeypatch.setattr(utilisation, "_count_flops_per_sample", refuse)
    trainer, recorder = make_trainer(make_task(), make_recipe(Stage(name="only", epochs=1)))
    trainer.run()
    assert recorder.decisions == []


class RaggedTask(TensorTask):
    """Its samples are as many rows as their number, padded to the longest of a batch."""

    def costs(self, split: str) -> np.ndarray:
        return np.arange(1.0, 1.0 + self.num_samples(split))

    def fetch(self, split: str, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = int(indices.max()) + 1
        return {"inputs": torch.ones(len(indices), rows, 8), "labels": torch.zeros(len(indices), dtype=torch.long)}

    def checkpoint_gradients(self, model: nn.Module) -> None:
        """Do nothing: the plan says that the model recomputes, and this one does not."""

    def forward(self, model: nn.Module, batch: object) -> torch.Tensor:
        return model(batch.tensors["inputs"]).mean(dim=1)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("known_peak")
def test_padding_and_recomputing_are_no_useful_work() -> None:
    splits = {"train": (torch.ones(9, 8), torch.zeros(9, dtype=torch.long))}
    recipe = make_recipe(Stage(name="only", epochs=1))
    found = []
    for recomputes in (False, True):
        plan = replace(PLAN, gradient_checkpointing=recomputes, micro_batch_size=9)
        trainer, _ = make_trainer(RaggedTask(lambda: nn.Linear(8, 4), splits), recipe, plan=plan)
        event = find_model_flops(trainer.step, trainer.loader, Ranks.alone(), recipe.stages[0])
        assert event is not None
        found.append(event.flops_per_sample)
    lengths = np.array([1, 2, 3, 4, 6, 7, 8, 9])  # eight at even distances
    forward = 2 * 8 * 4 * lengths.mean()
    assert found[0] == pytest.approx(2 * forward, rel=0.05)
    # The model of this test recomputes nothing: what would be a third forward pass is taken off its two.
    assert found[1] == pytest.approx(found[0] / 2)


@pytest.mark.usefixtures("known_peak")
def test_counting_changes_neither_weights_nor_running_statistics_nor_randomness() -> None:
    splits = {"train": (torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 4)}
    task = TensorTask(
        lambda: nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 4)), splits
    )
    trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=1)))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    random = torch.get_rng_state()
    assert find_model_flops(trainer.step, trainer.loader, Ranks.alone(), trainer.recipe.stages[0]) is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_console_shows_the_share_of_the_peak_and_of_waiting() -> None:
    now = [100.0]
    console = Console(file=io.StringIO(), width=200)
    observer = RecordsConsole(console, Console(file=io.StringIO()), logging.INFO, lambda: now[0])
    observer.on_run_start(make_run_start())
    observer.on_model_flops(ModelFlops(flops_per_sample=2e9, peak_flops_per_second=1e12, mixed_precision="bf16"))
    observer.on_stage_start(make_stage_start())
    now[0] += 0.5
    observer.on_step(replace(make_step(1), data_wait_seconds=0.05))
    (line,) = [line for line in console.file.getvalue().splitlines() if line.startswith("event=progress")]
    # 50 samples in half a second of 2 GFLOP each.
    assert "samples_per_second=100 data_wait_share=0.1 model_flop_utilisation=0.2" in line

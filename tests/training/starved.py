"""Trainings that need much memory on purpose, in processes whose memory is limited: what runs out there runs out for real."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import slipway.training.run.train
import slipway.training.step.optimizer
from slipway.training.common.errors import UserError
from slipway.training.config.recipe import OptimizerSpec, Stage
from slipway.training.devices.manager import make_accelerator
from slipway.training.devices.ranks import Ranks
from slipway.training.devices.world import leave_group
from slipway.training.loop.trainer import Trainer
from slipway.training.observers.events import StepEnd
from slipway.training.observers.runtime import Runtime
from slipway.training.run.cli import main
from slipway.training.step.flat import FlatParameters
from slipway.training.step.optimizer import FlatOptimizer
from slipway.training.step.train_step import LEDGER_SIZE, PendingStep
from slipway.training.tasks.task import Batch
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import PLAN, Recorder, make_recipe, make_task

MIB = 1 << 20
NUM_TRAIN = 50
BATCH_SIZE = 24
"""Steps of an epoch: 24, 24 and 2 samples."""


def limit_memory(margin_mib: float | None) -> None:
    """Let this process allocate so much more, or without a limit again. Never in the process of the tests."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = hard
    if margin_mib is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        soft = pages * resource.getpagesize() + int(margin_mib * MIB)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Ballast(torch.autograd.Function):
    """Takes memory as activations do, until the backward pass has used it. Nobody writes it, so it costs no time."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, forward_bytes: int, backward_bytes: int) -> torch.Tensor:
        ctx.save_for_backward(torch.empty(forward_bytes, dtype=torch.uint8, device=values.device))
        ctx.backward_bytes = backward_bytes
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        kept = ctx.saved_tensors
        torch.empty(ctx.backward_bytes, dtype=torch.uint8, device=gradient.device)
        del kept
        return gradient, None, None


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training, and when memory is limited in it."""

    name: str
    forward_mib: float = 0.0
    """That a sample takes for each unit of its length, and so on."""
    backward_mib: float = 0.0
    evaluation_mib: float = 0.0
    long_sample: int | None = None
    """Its length is 32, that of the others 1."""
    rank: int | None = None
    """Which one is limited; none: no rank."""
    margin_mib: float = 0.0
    from_step: int = 0
    """The limit stands from after this step on."""
    to_step: int = 10**6
    reduction: str = "flat"
    micro_batch_size: int | None = BATCH_SIZE
    options: dict[str, Any] = field(default_factory=dict)
    """Of the recipe."""


class HungryTask(TensorTask):
    """Four blobs whose samples take much memory."""

    def __init__(self, case: Case) -> None:
        self.__dict__.update(make_task(NUM_TRAIN).__dict__)
        self.case = case
        self.lengths = np.ones(NUM_TRAIN)
        if case.long_sample is not None:
            self.lengths[case.long_sample] = 32.0

    def costs(self, split: str) -> np.ndarray | None:
        return self.lengths if split == "train" else None

    def forward(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        assert isinstance(model, torch.nn.Sequential)
        case, count = self.case, len(batch.indices)
        hidden = model[:2](batch.tensors["inputs"])
        if batch.keys is None:
            torch.empty(int(count * case.evaluation_mib * MIB), dtype=torch.uint8, device=hidden.device)
        else:
            # Between the layers: the backward pass fails when the last one's gradient is done and perhaps on its way.
            padded = count * float(self.lengths[batch.indices.numpy()].max()) * MIB
            hidden = Ballast.apply(hidden, int(padded * case.forward_mib), int(padded * case.backward_mib))
        return model[2:](hidden)


class Limiter(Recorder):
    """Limits the memory of this rank while steps of a case are done."""

    def __init__(self, case: Case, rank: int, limit: Callable[[float | None], None]) -> None:
        super().__init__()
        self._case, self._limit = case, limit
        self._is_starved = rank == case.rank
        self.set(0)

    def set(self, step: int) -> None:
        """Limit it, or no longer, after a step."""
        case = self._case
        if self._is_starved and step == case.from_step:
            self._limit(case.margin_mib)
        if self._is_starved and step == case.to_step:
            self._limit(None)

    def on_step(self, event: StepEnd) -> None:
        super().on_step(event)
        self.set(event.step)


def make_world() -> Ranks:
    """Return this process among the ranks that its environment names."""
    accelerator = make_accelerator(device="cpu", mixed_precision="no")
    return Ranks(
        rank=accelerator.process_index,
        size=accelerator.num_processes,
        local_rank=accelerator.local_process_index,
        device=accelerator.device,
    )


class Ledger:
    """Notes how the steps of a loop were computed."""

    def __init__(self, trainer: Trainer) -> None:
        self.overlapped: list[bool] = []
        self.launched: list[int] = []
        self._run = trainer.step.run
        self._reduction = trainer.step.reduction
        self._finish = self._reduction.finish
        trainer.step.run = self.run  # type: ignore[method-assign]
        self._reduction.finish = self.finish  # type: ignore[method-assign]

    def run(self, *arguments: Any, **options: Any) -> PendingStep:
        self.overlapped.append(options["overlapped"])
        return self._run(*arguments, **options)

    def finish(self, *, overlapped: bool) -> None:
        self.launched.append(self._reduction.num_launched)
        self._finish(overlapped=overlapped)


def run_case(
    case: Case,
    ranks: Ranks,
    prepare: Callable[[Trainer], None] = lambda trainer: None,
    limit: Callable[[float | None], None] = limit_memory,
) -> dict[str, Any]:
    """Train in float64; return what was told, and under `values` the final weights."""
    recipe = make_recipe(
        Stage(name="only", epochs=2),
        precision="float64",
        learning_rate=0.01,
        **{"batch_size": BATCH_SIZE, **case.options},
    )
    plan = replace(
        PLAN,
        bucket_bytes=512,  # so that a model as small as this has several
        world_size=ranks.size,
        device=ranks.device.type,
        share_weights=(1.0,) * ranks.size,
        micro_batch_size=case.micro_batch_size,
        reduction=case.reduction,  # type: ignore[arg-type]
    )
    limiter = Limiter(case, ranks.rank, limit)
    trainer = Trainer(task=HungryTask(case), recipe=recipe, plan=plan, runtime=Runtime(ranks=ranks, observer=limiter))
    ledger = Ledger(trainer)
    prepare(trainer)
    error = None
    try:
        result = trainer.run()
    except UserError as caught:
        result, error = {}, str(caught)
    limit(None)
    return {
        "values": trainer.parameters.values.cpu().clone(),
        "error": error,
        "test_loss": result.get("test_loss"),
        "steps": [step.step for step in limiter.steps],
        "micro_batches": [step.micro_batches for step in limiter.steps],
        "overlapped": ledger.overlapped,
        "launched_early": ledger.launched,
        "evaluation_batch_size": trainer.state.limit.evaluation,
        "process": os.getpid(),
        "out_of_memory": [one.fields for one in limiter.decisions if one.kind == "out_of_memory"],
        "pressure": [one.fields["micro_batch_size"] for one in limiter.decisions if one.kind == "memory_pressure"],
        "reasons": [one.reason for one in limiter.decisions if one.kind == "out_of_memory"],
    }


def write_found(folder: Path, ranks: Ranks, name: str, found: dict[str, Any]) -> None:
    """Keep what a rank found."""
    stem = folder / f"{name}-{ranks.rank}"
    tensors = {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
    save_file(tensors, stem.with_suffix(".safetensors"))
    stem.with_suffix(".json").write_text(json.dumps({key: found[key] for key in found.keys() - tensors.keys()}))


def read_found(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    """Return what a rank found."""
    stem = folder / f"{name}-{rank}"
    return {**json.loads(stem.with_suffix(".json").read_text()), **load_file(stem.with_suffix(".safetensors"))}


def run_cases(folder: Path, cases: list[Case]) -> int:
    """Run cases one after the other in one world, as one of its ranks."""
    ranks = make_world()
    for case in cases:
        write_found(folder, ranks, case.name, run_case(case, ranks))
    leave_group()
    return 0


def run_command(folder: Path, case: Case, arguments: list[str]) -> int:
    """Run the command line of a training, in little memory from the making of the model on; return its exit code."""
    whole = slipway.training.run.train.train
    task = HungryTask(case)
    build = task.build_model

    def build_model() -> torch.nn.Module:
        if case.rank is not None:
            limit_memory(case.margin_mib)
        return build()

    task.build_model = build_model  # type: ignore[method-assign]
    slipway.training.run.train.train = partial(whole, task=task)  # type: ignore[assignment]
    code = main(["--runs-dir", str(folder), "--experiment-name", case.name, *COMMAND, *arguments])
    slipway.training.run.train.train = whole
    limit_memory(None)
    return code


COMMAND = [
    *("--device", "cpu", "--batch-size", str(BATCH_SIZE), "--stages-config", "minimal", "--epochs", "2"),
    *("--log-level", "error", "--micro-batch-size", str(BATCH_SIZE), "--learning-rate", "0.02"),
]


def update_under_limits(folder: Path) -> int:
    """As the only rank: update large weights in little memory, by torch's own kernel and in chunks."""
    ranks = make_world()
    found = {}
    for name, devices, margin_mib in (
        ("fused", ("cpu",), None),
        ("fused, starved", ("cpu",), 4.0),
        ("chunked", (), None),
        ("chunked, starved", (), 4.0),
    ):
        slipway.training.step.optimizer._FUSED_DEVICES = devices  # type: ignore[misc,assignment]
        found[name] = update_large_weights(ranks, margin_mib)
    write_found(folder, ranks, "updates", {name: values for name, (values, _) in found.items()})
    (folder / "failures.json").write_text(json.dumps({name: failures for name, (_, failures) in found.items()}))
    return 0


def update_large_weights(ranks: Ranks, margin_mib: float | None) -> tuple[torch.Tensor, int]:
    """Return the weights after three updates under a limit, which is lifted when memory is released; and how often it was."""
    torch.manual_seed(0)
    # In float64 a chunk is more than the C library ever takes from what it holds back.
    module = torch.nn.Linear(1000, 4500).double()
    flat = FlatParameters(module, LEDGER_SIZE)
    optimizer = FlatOptimizer(OptimizerSpec(name="adamw"), flat)
    failures = 0
    release = slipway.training.step.optimizer.release_memory

    def lift(device: torch.device) -> None:
        nonlocal failures
        failures += 1
        limit_memory(None)
        release(device)

    slipway.training.step.optimizer.release_memory = lift
    for _ in range(3):
        flat.gradients.normal_(generator=torch.Generator().manual_seed(1))
        limit_memory(margin_mib)
        optimizer.update(1e-3, 0.01, torch.tensor(True))
        limit_memory(None)
    slipway.training.step.optimizer.release_memory = release
    return flat.values.clone(), failures

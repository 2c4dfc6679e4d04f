"""torch.compile: the same weights, few compilations whatever lengths come, and a failing compiler does not end a run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from slipway.training.common.keyed_random import sample_keys
from slipway.training.config.recipe import Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.run.planning import _compile_backend, make_plan
from slipway.training.run.training_config import TrainingConfig
from slipway.training.step.compilation import CompiledForward, make_forward, uncompiled
from slipway.training.tasks.sign.layers import ConvolutionBlock
from slipway.training.tasks.sign.options import SignStage
from slipway.training.tasks.task import Batch, Task
from tests.training.helpers import PLAN, Recorder, catch, make_recipe, make_task, make_trainer
from tests.training.tasks.sign.test_encoder import EVERYTHING
from tests.training.tasks.sign.test_encoder import make_task as make_sign_task

STAGE = Stage(name="only", epochs=2)
COMPILERS = ("g++", "clang++", "c++")


@pytest.fixture(autouse=True)
def nothing_is_compiled_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start each test without what others compiled, and leave nothing behind."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def num_graphs() -> int:
    return counters["stats"]["unique_graphs"]


def kinds(recorder: Recorder) -> list[str]:
    return [decision.kind for decision in recorder.decisions]


def fetch(task: Task, indices: np.ndarray, *, keyed: bool = False) -> Batch:
    chosen = torch.from_numpy(indices)
    keys = sample_keys(0, 1, indices)
    tensors = task.fetch("train", chosen)
    if keyed:
        tensors = task.augment(tensors, keys, replace(STAGE, options=SignStage(augmentation=EVERYTHING)))
    return Batch(chosen, keys, tensors)


def trained(backend: str | None) -> tuple[torch.Tensor, Recorder]:
    recipe = make_recipe(STAGE, batch_size=25, precision="float64")
    trainer, recorder = make_trainer(
        make_task(), recipe, plan=replace(PLAN, micro_batch_size=10, compile_backend=backend)
    )
    trainer.run()
    return trainer.parameters.values.clone(), recorder


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="Inductor needs a C++ compiler")
def test_a_compiled_run_reaches_the_weights_of_one_that_is_not() -> None:
    (plain, untold), (compiled, told) = trained(None), trained("inductor")
    assert plain.dtype == torch.float64
    assert torch.allclose(compiled, plain, rtol=0, atol=1e-10)
    # One for the micro-batch of ten, one for any other; as many in evaluation.
    assert 1 <= num_graphs() <= 4
    assert "compiled" not in kinds(untold)
    assert kinds(told).count("compiled") == 1


def test_the_encoder_is_compiled_once_for_clips_of_all_lengths_and_gives_the_same_gradients() -> None:
    task = make_sign_task()
    model = task.build_model().double()
    task.begin_stage(model, replace(STAGE, options=SignStage(dropout=0.3)))
    forward = make_forward(task, "aot_eager", Recorder())
    draw = np.random.default_rng(0)
    for size in (5, 8, 3):
        batch = fetch(task, draw.permutation(12)[:size], keyed=True)
        found = []
        for of in (task.forward, forward):
            scores = of(model, batch)
            gradients = torch.autograd.grad(scores.square().sum(), list(model.parameters()))
            found.append(torch.cat([scores.detach().flatten(), *(gradient.flatten() for gradient in gradients)]))
        assert torch.allclose(found[1], found[0], rtol=1e-9, atol=1e-12)
    assert num_graphs() == 1


def test_a_convolution_that_a_compiler_sees_is_the_same_one() -> None:
    torch.manual_seed(0)
    block = ConvolutionBlock(6, 5, layer=0).double()
    rows = torch.randn(23, 6, dtype=torch.float64)
    compiled = torch.compile(lambda rows: block._convolve(rows), backend="eager", fullgraph=True)
    assert torch.allclose(compiled(rows), block._convolve(rows), rtol=0, atol=1e-14)


def raising(error: Exception) -> Any:
    def backend(graph: Any, inputs: Any) -> Any:
        raise error

    return backend


def test_where_the_compiler_fails_the_run_goes_on_as_written_and_says_why() -> None:
    told = Recorder()
    task = make_task()
    forward = CompiledForward(task, raising(ValueError("no such thing\nand more")), told)  # type: ignore[arg-type]
    model, batch = task.build_model(), fetch(task, np.arange(4))
    for _ in range(2):
        assert torch.equal(forward(model, batch), task.forward(model, batch))
    assert kinds(told) == ["not_compiled"]
    assert told.decisions[0].warning
    assert "runs as written" in told.decisions[0].reason
    assert "no such thing" in told.decisions[0].reason
    assert "and more" not in told.decisions[0].reason


def test_a_backend_that_is_not_there_does_not_end_the_run() -> None:
    weights, told = trained("nonsense")
    assert torch.equal(weights, trained(None)[0])
    assert kinds(told).count("not_compiled") == 1


def test_a_compiler_that_cannot_be_set_up_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise PermissionError("no right to write there")

    monkeypatch.setattr(torch, "compile", fail)
    told, task = Recorder(), make_task()
    forward = make_forward(task, "eager", told)
    assert told.decisions == []  # the run is announced first
    forward(task.build_model(), fetch(task, np.arange(4)))
    assert "no right to write there" in told.decisions[0].reason


class Counting(nn.Module):
    """A model that counts its passes and draws, and that a compiler sees in two parts."""

    passes: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passes += 1.0
        inputs = inputs + torch.rand(())
        torch._dynamo.graph_break()
        return self.layer(inputs) * float([*range(inputs.shape[0])][-1])


@pytest.mark.parametrize("fails", [False, True])
@torch._dynamo.config.patch(recompile_limit=2)
def test_a_pass_that_is_done_again_leaves_what_one_pass_leaves(fails: bool) -> None:
    task, told = make_task(), Recorder()
    assert not task.keyed_randomness
    model = Counting().double()

    def backend(graph: Any, inputs: Any) -> Any:
        if fails and any("layer" in node.name or "linear" in node.name for node in graph.graph.nodes):
            raise ValueError("not this one")
        return graph

    forward = CompiledForward(task, backend, told)  # type: ignore[arg-type]
    for passes, size in enumerate((2, 3, 4, 5), start=1):
        batch = fetch(task, np.arange(size))
        batch.tensors["inputs"] = batch.tensors["inputs"].double()
        torch.manual_seed(size)
        outputs = forward(model, batch)
        assert int(model.passes) == passes
        torch.manual_seed(size)
        assert torch.equal(outputs, task.forward(model, batch))
        model.passes -= 1
    assert kinds(told)[-1] == ("not_compiled" if fails else "compile_limit")


def test_the_watch_is_off_while_something_may_be_compiled() -> None:
    task, states = make_task(), []

    @contextmanager
    def unwatched() -> Iterator[None]:
        states.append("off")
        yield
        states.append("on")

    forward = make_forward(task, "eager", Recorder(), unwatched)
    forward(task.build_model(), fetch(task, np.arange(4)))
    assert states == ["off", "on"]


def test_what_a_task_compiles_itself_is_not_held_to_our_limit() -> None:
    own = torch.compile(lambda inputs, number: inputs * number, backend="eager", dynamic=False)
    task = make_task()
    CompiledForward(task, "eager", Recorder())(task.build_model(), fetch(task, np.arange(4)))
    with torch._dynamo.config.patch(recompile_limit=2):
        for size in range(2, 7):
            assert torch.equal(own(torch.ones(size), 3), torch.full((size,), 3.0))


def test_a_compiler_that_runs_out_of_memory_is_heard_as_such() -> None:
    task = make_task()
    wrapped = RuntimeError("inner")
    wrapped.__cause__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
    forward = CompiledForward(task, raising(wrapped), Recorder())  # type: ignore[arg-type]
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        forward(task.build_model(), fetch(task, np.arange(4)))


class Fickle(nn.Module):
    """A model that is another program for each number of samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs) * float([*range(inputs.shape[0])][-1])


@torch._dynamo.config.patch(recompile_limit=3)
def test_compilations_are_bounded_and_what_comes_after_runs_as_written() -> None:
    task, told = make_task(), Recorder()
    model = Fickle()
    forward = CompiledForward(task, "eager", told)
    for size in (2, 3, 4, 5, 6, 7, 3, 8):
        batch = fetch(task, np.arange(size))
        batch.tensors["inputs"] = batch.tensors["inputs"].float()
        assert torch.equal(forward(model, batch), task.forward(model, batch))
    assert num_graphs() == 3
    assert kinds(told) == ["compiled", "compile_limit"]


def compile_plan(**options: Any) -> Any:
    config = TrainingConfig(**options)
    recipe = config.make_recipe().resolve(1, "no")
    return make_plan(config, recipe, Ranks.alone())


def test_compiling_is_asked_for_by_the_launch_or_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile_plan().compile_backend is None
    assert compile_plan(compile=True).compile_backend == "inductor"
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "AOT_EAGER")
    assert compile_plan().compile_backend == "aot_eager"
    assert dict(compile_plan().reasons)["compile_backend"] == "the launcher's config says so"
    assert compile_plan(compile=True).compile_backend == "aot_eager"
    assert compile_plan(compile=False).compile_backend is None
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
    assert compile_plan().compile_backend is None


def test_sharded_parameters_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--compile: with --sharding fsdp nothing is compiled" in str(
        catch(_compile_backend, True, "fsdp", "cpu", is_planned=False)
    )
    assert _compile_backend(None, "fsdp", "cpu", is_planned=False) == (None, None)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    for asked in (None, True):
        backend, reason = _compile_backend(asked, "fsdp", "cpu", is_planned=True)
        assert backend is None
        assert "FSDP2 gathers parameters in hooks" in str(reason)


def test_compiling_does_not_import_the_compiler_where_it_is_not_asked_for() -> None:
    code = "import sys; from slipway.training.loop.trainer import Trainer; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_only_tried_is_not_compiled() -> None:
    task, told = make_task(), Recorder()
    forward = CompiledForward(task, "eager", told)
    model, batch = task.build_model(), fetch(task, np.arange(4))
    with uncompiled(forward):
        forward(model, batch)
    assert (num_graphs(), kinds(told)) == (0, [])
    with uncompiled(task.forward):
        forward(model, batch)
    assert (num_graphs(), kinds(told)) == (1, ["compiled"])

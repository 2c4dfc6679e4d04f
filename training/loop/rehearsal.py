"""Find before the first step what would fail after an epoch, and in the first step what learns nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..batches.loader import Loader
from ..batches.sampler import EpochSampler
from ..common.conversion import plain_values
from ..common.errors import TrainingFailed, UserError
from ..common.program.places import words_of
from ..config.recipe import Recipe, Stage
from ..devices.memory import drop_traceback, is_out_of_memory, release_memory
from ..devices.ranks import Ranks
from ..observers.events import Decision
from ..observers.runtime import Runtime
from ..step.buffers import restored_buffers
from ..step.compilation import uncompiled
from ..step.micro_batch.search import has_batch_statistics
from ..step.parameters import ParameterStore
from ..step.plain_names import plain_state
from ..step.train_step import TrainStep
from .best import Score

_BATCHES, _SAMPLES = 2, 8
"""Batches of a split that are evaluated before the training, and their samples at most."""

_MOST_NAMES = 4
"""Parameters that a message names."""


def rehearse(step: TrainStep, loader: Loader, sampler: EpochSampler, runtime: Runtime, stage: Stage) -> None:
    """Evaluate two batches of the validation and the test split, and whatever else an epoch needs. A collective.

    All ranks do the same passes, and raise the same error. The model and torch's random state are left as they were. Raises
    `UserError` on every rank for what would end the run later: metrics, the monitor, shapes, a batch too small for its
    statistics, a description that cannot be written.
    """
    error = None
    model, ranks, device = step.state.model, runtime.ranks, runtime.ranks.device
    was_training = model.training
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            restored_buffers(model),
            uncompiled(step.forward),
        ):
            _check_spec(step)
            loader.try_out(stage)
            _check_smallest_batch(step, loader, sampler, stage)
            for split in ("validation", "test") if runtime.tests else ("validation",):
                _check_split(step, loader, split)
            _check_training(step, loader, stage)
    except UserError as caught:
        error = caught
    except Exception as caught:
        if not is_out_of_memory(caught):
            raise
        drop_traceback(caught)  # the evaluation itself takes smaller batches
        release_memory(device)
    finally:
        model.train(was_training)
    ranks.raise_on_all_ranks(error)


def _check_spec(step: TrainStep) -> None:
    with _told("prediction_spec"):
        json.dumps(plain_values(dict(step.task.prediction_spec()), "", []))
    for name, value in step.state.model.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise UserError(
                f"the model's state has {name!r}, a {type(value).__name__}, which a safetensors file cannot hold; keep it out "
                "of get_extra_state(), or make it a buffer"
            )


def _check_smallest_batch(step: TrainStep, loader: Loader, sampler: EpochSampler, stage: Stage) -> None:
    """Try the smallest batch of an epoch that this rank has, with a model that takes statistics of its batch."""
    model, most = step.state.model, step.recipe.max_steps
    if not has_batch_statistics(model) or step.state.parameters.passes_are_collective:
        return
    steps = [0] if most is not None and most < sampler.num_steps else [0, sampler.num_steps - 1]
    parts = [part for number in steps for part in next(sampler.epoch(0, number)).micro_batches]
    if not parts or len(smallest := min(parts, key=len)) > 1:
        return
    model.train()
    try:
        with torch.no_grad():
            step.task.forward(model, loader.training_batch(smallest, 0, stage))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        kinds = sorted(
            {type(one).__name__ for one in model.modules() if has_batch_statistics(one) and not [*one.children()]}
        )
        samples, batch = step.task.num_samples("train"), step.recipe.batch_size
        raise UserError(
            f"--batch-size {batch}: of {samples} training samples a rank gets a batch of one, of which {', '.join(kinds)} "
            f"cannot take statistics; --batch-size {_batch_without_rest(step.recipe, samples)} leaves none"
        ) from None


def _batch_without_rest(recipe: Recipe, samples: int) -> int:
    """Return the next base batch size whose last batch of an epoch has two samples for each process, or is complete."""
    processes = recipe.resolved.num_processes
    factor = recipe.resolved.global_batch_size // recipe.batch_size
    sizes = range(recipe.batch_size + 1, recipe.batch_size + samples + 1)
    fits = (size for size in sizes if (rest := samples % (size * factor)) == 0 or rest >= 2 * processes)
    return next(fits, samples)


def _check_training(step: TrainStep, loader: Loader, stage: Stage) -> None:
    """Compute the losses of a few training samples, as a step does, and leave their gradients behind."""
    count = step.task.num_samples("train")
    if step.state.parameters.passes_are_collective or count == 1:
        return
    step.state.model.train()
    losses = []
    for first in range(0, min(count - 1, _BATCHES * _SAMPLES), _SAMPLES):
        with _told("a training step"):
            step.state.parameters.zero_gradients()
            step.accumulate(loader.training_batch(np.arange(first, min(count, first + _SAMPLES)), 0, stage), stage)
            losses.append(step.loss_sum())
    if not any(math.isfinite(loss) for loss in losses):
        raise UserError(
            f"the loss of the first training samples is {losses[0]:g}, with the weights as they are at the start; look for "
            "numbers that are not finite in the inputs, and for a logarithm or a division in the model and the loss"
        )


def _check_split(step: TrainStep, loader: Loader, split: str) -> None:
    """Evaluate a few samples, and take the metrics of a table in which they stand for all."""
    task, model = step.task, step.state.model
    count = task.num_samples(split)
    if count == 0:
        return
    model.eval()
    tables = []
    for first in range(0, min(count, _BATCHES * _SAMPLES), _SAMPLES):
        with torch.no_grad(), _told(f"an evaluation of the {split} split"):
            batch = loader.evaluation_batch(split, np.arange(first, min(count, first + _SAMPLES)))
            outputs = task.forward(model, batch)
            tables.append(_checked_rows(task.measure(outputs, batch), len(batch.indices)))
    if len({table.shape[1] for table in tables}) > 1:
        raise UserError("Task.measure: it returns other numbers of columns for two batches; return the same for all")
    few = torch.cat(tables).cpu().numpy()
    with _told(f"Task.metrics of the {split} split"):
        metrics = task.metrics(few[np.resize(np.arange(len(few)), count)], split)
    if not isinstance(metrics, Mapping):
        raise UserError(f"Task.metrics: it must return names and numbers, got {type(metrics).__name__}")
    if split == "validation":
        with _told(f"--monitor {step.recipe.monitor}"):
            Score.of(metrics, step.recipe.monitor)


def _checked_rows(rows: Any, samples: int) -> torch.Tensor:
    if isinstance(rows, torch.Tensor) and rows.ndim == 2 and len(rows) == samples:
        return rows
    found = list(rows.shape) if isinstance(rows, torch.Tensor) else type(rows).__name__
    raise UserError(
        f"Task.measure: it must return a row for each sample, [{samples}, columns] with the loss first, got {found}"
    )


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Raise `UserError` with the place in the user's code for an error within the block."""
    try:
        yield
    except (UserError, TrainingFailed):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{what}, tried before the training, fails: {words_of(error)}") from error


class GradientWatch:
    """Notes which trainable parameters of a model get a gradient in a step."""

    def __init__(self, module: nn.Module, parameters: ParameterStore) -> None:
        self._module = module
        self._numbers = {id(one): number for number, one in enumerate(parameters.tensors) if one.requires_grad}
        self._seen = torch.zeros(len(parameters.tensors))
        self._hooks = [
            one.register_post_accumulate_grad_hook(partial(self._note, self._numbers[id(one)]))
            for one in parameters.tensors
            if one.requires_grad
        ]

    def _note(self, number: int, parameter: torch.Tensor) -> None:
        self._seen[number] = 1.0

    def end(self, ranks: Ranks, *, failed: bool) -> list[str]:
        """Return the names of the parameters that got none on any rank: all ranks agree. One that `failed` says nothing."""
        for hook in self._hooks:
            hook.remove()
        reached = ranks.sum_((self._seen + failed).to(ranks.device)).tolist()
        names = plain_state(self._module, dict(self._module.named_parameters()))
        return [
            name for name, one in names.items() if reached[self._numbers.get(id(one), 0)] == 0.0 and one.requires_grad
        ]


def no_gradient(names: list[str]) -> Decision:
    """Return the warning that parameters have no part in what is learned."""
    shown = ", ".join(names[:_MOST_NAMES]) + (
        f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    )
    reason = (
        f"no gradient reached {shown} in the first step: what takes no part in the loss learns nothing, though matrices decay; "
        "freeze it with requires_grad_(False), or use checkpoint(..., use_reentrant=False) if the first layer is checkpointed"
    )
    return Decision(kind="no_gradient", reason=reason, warning=True, fields={"parameters": names})

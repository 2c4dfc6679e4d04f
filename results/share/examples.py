"""What a model is exported with and compared on: real samples of several lengths, and random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ...training.common.errors import UserError
from ...training.tasks.task import Task
from ..use.inputs.labelled import PicturePredictor, TextPredictor
from ..use.inputs.landmarks import LandmarkPredictor
from ..use.inputs.of_task import SPLITS, batch_of, class_names_of, measure_split
from ..use.inputs.samples import Predictor
from ..use.own_data import own_spec
from ..use.trained import Trained
from .graphs import CallGraph, PictureGraph, SignGraph, TextGraph

_LENGTHS = (1, 2, 7, 31, 120)
"""Of random clips."""
_BATCHES = (2, 3, 1, 5, 4)
"""Samples of the batches of a task; the first is the one that is traced."""
Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A graph and its inputs."""

    graph: nn.Module
    names: Sequence[str]
    """Of the inputs."""
    example: Inputs
    """With which it is traced."""
    dynamic: Any
    """The name of the first dimension of each input, whose size is free; None: it is fixed."""
    most: int | None = None
    """The largest size of that dimension."""
    inputs: Sequence[Inputs]
    """On which it is compared."""
    wanted: Sequence[np.ndarray]
    """What the model says of each, by way of its predictor or its task."""
    class_names: Sequence[str]
    """Empty where it tells no classes."""
    takes: str
    """What it takes and returns, for people."""
    checked: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    def dynamic_shapes(self) -> Any:
        """Return the free dimensions, as `torch.export` takes them."""
        size = torch.export.Dim(self.dynamic, min=1, max=self.most)
        shapes = tuple({0: size} for _ in self.example)
        return (shapes,) if isinstance(self.graph, CallGraph) else shapes


def examples_of(trained: Trained, command: str) -> Examples:
    """Return the graph of a run with its inputs. Raises `UserError` where its model cannot be one."""
    if trained.kind == "own":
        return _of_task(trained, command)
    predictor = trained.predictor()
    real, found = _real(trained, predictor)
    generator = np.random.default_rng(0)
    if isinstance(predictor, LandmarkPredictor):
        layout = predictor.layout
        shape = (layout.num_landmarks, layout.num_coords)
        random = []
        for length in _LENGTHS:
            clip = generator.normal(size=(length, *shape)).astype(np.float32)
            clip[generator.random(clip.shape[:2]) < 0.2] = np.nan
            random.append(clip)
        names = f" ({layout.names[0]} to {layout.names[-1]})" if layout.names else ""
        clips = [*(np.array(clip, np.float32) for clip in real), *random]
        return Examples(
            graph=SignGraph(predictor.model).eval(),
            names=("landmarks",),
            example=(torch.from_numpy(generator.normal(size=(16, *shape)).astype(np.float32)),),
            dynamic="frames",
            inputs=[(torch.from_numpy(clip),) for clip in clips],
            wanted=[predictor.probabilities([clip])[0] for clip in clips],
            class_names=predictor.class_names,
            takes=f"landmarks, float32 [frames, {shape[0]}, {shape[1]}]{names} as recorded, missing points as NaN; returns "
            f"probabilities [{len(predictor.class_names)}]",
            checked=f"{found}, {len(random)} random ones of {_LENGTHS[0]} to {_LENGTHS[-1]} frames",
            metadata={"landmarks": layout.to_json()},
        )
    if isinstance(predictor, PicturePredictor):
        size = (predictor.channels, *predictor.size)
        dtype = next(predictor.model.parameters()).dtype
        images = [torch.from_numpy(generator.random((count, *size))).to(dtype) for count in _BATCHES]
        images += [torch.from_numpy(predictor.read_one(item)[None]).to(dtype) for item in real]
        return Examples(
            graph=PictureGraph(predictor.model).eval(),
            names=("images",),
            example=(images[0],),
            dynamic="pictures",
            inputs=[(one,) for one in images],
            wanted=[predictor.probabilities_of(one) for one in images],
            class_names=predictor.class_names,
            takes=f"images, {str(dtype).removeprefix('torch.')} [pictures, {size[0]}, {size[1]}, {size[2]}] from 0 to 1; "
            f"returns probabilities [pictures, {len(predictor.class_names)}]",
            checked=f"{found}, random ones in batches of {', '.join(map(str, sorted(_BATCHES)))}",
        )
    assert isinstance(predictor, TextPredictor)
    lengths = sorted({min(length, predictor.length) for length in _LENGTHS})
    texts = [generator.integers(0, 256, length, dtype=np.uint8).tobytes() for length in lengths]
    texts += [item[: predictor.length] for item in real]
    return Examples(
        graph=TextGraph(predictor.model).eval(),
        names=("text",),
        example=(torch.arange(8),),
        dynamic="bytes",
        most=predictor.length,
        inputs=[(torch.tensor(list(one)),) for one in texts],
        wanted=[predictor.probabilities([one])[0] for one in texts],
        class_names=predictor.class_names,
        takes=f"text, int64 [bytes], 1 to {predictor.length} bytes in UTF-8; returns probabilities "
        f"[{len(predictor.class_names)}]",
        checked=f"{found}, {len(lengths)} random ones of {lengths[0]} to {lengths[-1]} bytes",
    )


def _real(trained: Trained, predictor: Predictor) -> tuple[list[Any], str]:
    """Return five samples of the run's data, of lengths as different as there are, and how to say it."""
    try:
        if trained.kind == "sign":
            source = own_spec(trained.record)[0].source
        else:
            source = str(((trained.spec.get("task") or {}).get("arguments") or {}).get("data"))
        items = predictor.read(source).items
    except UserError:
        return [], "no real samples (the run's data are not there)"
    order = sorted(range(len(items)), key=lambda index: len(items[index]) if hasattr(items[index], "__len__") else 0)
    chosen = [items[order[place]] for place in np.unique(np.linspace(0, len(order) - 1, 5).astype(int))]
    sizes = f" of {', '.join(str(len(item)) for item in chosen)} frames" if trained.kind == "sign" else ""
    return chosen, f"{len(chosen)} real samples{sizes}"


def _of_task(trained: Trained, command: str) -> Examples:
    task, model = trained.task(None, command)
    split = next((name for name in reversed(SPLITS) if task.num_samples(name)), "train")
    dtype = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)
    count = task.num_samples(split)
    if count < max(_BATCHES):
        raise UserError(f"{trained.name}: {split} has {count} samples; {max(_BATCHES)} are needed to check an export")
    calls = [_call_of(task, model, split, np.arange(size), dtype, trained.name) for size in _BATCHES]
    names, example = calls[0]
    classes = class_names_of(task, measure_split(task, model, split).outputs) or ()
    graph = CallGraph(model, names, tells_classes=bool(classes)).eval()
    with torch.no_grad():
        wanted = [graph(*inputs).numpy() for _, inputs in calls]
    shown = [name or f"input_{place}" for place, name in enumerate(names)]
    returned = f"probabilities [samples, {len(classes)}]" if classes else "the outputs of the model"
    parts = "; ".join(
        f"{name}, {str(one.dtype).removeprefix('torch.')} [samples{''.join(f', {size}' for size in one.shape[1:])}]"
        for name, one in zip(shown, example, strict=True)
    )
    return Examples(
        graph=graph,
        names=shown,
        example=example,
        dynamic="samples",
        inputs=[inputs for _, inputs in calls],
        wanted=wanted,
        class_names=classes,
        takes=f"{parts}, as the task makes them; returns {returned}",
        checked=f"{split} samples in batches of {', '.join(map(str, sorted(_BATCHES)))}",
    )


def _call_of(
    task: Task, model: nn.Module, split: str, indices: np.ndarray, dtype: torch.dtype, run: str
) -> tuple[list[str | None], Inputs]:
    """Return what a task calls its model with, by position (None) or by name. Raises `UserError` for what is no tensor."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args, dict(kwargs))), with_kwargs=True
    )
    try:
        with torch.no_grad():
            task.forward(model, batch_of(task, split, indices, dtype))
    finally:
        handle.remove()
    if len(seen) != 1:
        raise UserError(f"{run}: its task calls the model {len(seen)} times for a batch; only one call can be exported")
    args, kwargs = seen[0]
    names: list[str | None] = [*[None] * len(args), *kwargs]
    values = (*args, *kwargs.values())
    wrong = [
        type(value).__name__ for value in values if not isinstance(value, torch.Tensor) or len(value) != len(indices)
    ]
    if wrong or not values:
        raise UserError(
            f"{run}: its task calls the model with {', '.join(wrong) or 'nothing'}, where only tensors [samples, ...] can be "
            "exported; call torch.onnx.export on the model yourself: slipway.load gives it"
        )
    return names, values

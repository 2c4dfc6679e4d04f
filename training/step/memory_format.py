"""Choose how images and the weights of convolutions lie in memory: channel by channel, or with the channels last.

A tensor of shape [samples, channels, height, width] keeps its shape and its numbers: only its strides differ.
"""

from __future__ import annotations

import os
from dataclasses import replace

import torch
from torch import nn

from ..config.plan import MemoryFormat, Plan
from ..config.recipe import Recipe
from ..devices.ranks import Ranks
from ..tasks.task import Batch, Task

_MOST_DIFFERENCE = 0.01
"""Largest difference of a model's outputs in the two formats, relative to the largest output: far above rounding."""

_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def settle_memory_format(plan: Plan, task: Task, model: nn.Module, recipe: Recipe, ranks: Ranks) -> Plan:
    """Return the plan with `auto` resolved for a new model.

    All ranks agree, since they sum gradients in one order: channels-last if each of them would choose it. To find out, the
    model may compute one sample in each format on its device. Afterwards its parameters are in either format.
    """
    found, reason = plan.memory_format, None
    if found == "auto":
        reason = _reason_against(task, model, ranks.device, mixed=recipe.resolved.mixed_precision != "no")
        found = "contiguous" if reason else "channels_last"
        reason = reason or "the model has 2-D convolutions, which this device computes faster so"
    if not ranks.minimum(int(found == "channels_last")) and found == "channels_last":
        found, reason = "contiguous", "not every rank can compute otherwise, and all need the same"
    reasons = {**dict(plan.reasons), **({"memory_format": reason} if reason else {})}
    return replace(plan, memory_format=found, reasons=tuple(reasons.items()))


def lay_out_model(model: nn.Module, memory_format: MemoryFormat) -> None:
    """Put the model's parameters with four dimensions, such as weights of 2-D convolutions, into a memory format."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=_FORMATS[memory_format])


def channels_last_view(vector: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return a flat vector, in which the second of four dimensions varies fastest, as a tensor of that shape."""
    outputs, inputs, height, width = shape
    return vector.view(outputs, height, width, inputs).permute(0, 3, 1, 2)


def _reason_against(task: Task, model: nn.Module, device: torch.device, *, mixed: bool) -> str | None:
    """Return why a model should not compute in channels-last; `None` if it should."""
    if not any(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in model.modules()):
        return "the model has no 2-D convolution"
    dtype = next(model.parameters()).dtype
    if dtype == torch.float64:
        return "in float64 libraries convolve contiguous images only"
    if device.type not in ("cpu", "cuda", "xpu"):
        return f"on {device.type} nothing is known to be gained"
    if torch.version.hip is not None and device.type == "cuda" and os.environ.get("PYTORCH_MIOPEN_SUGGEST_NHWC") != "1":
        return "on ROCm torch convolves contiguous images unless PYTORCH_MIOPEN_SUGGEST_NHWC=1 is set"
    if device.type == "cpu" and (mixed or not torch.backends.mkldnn.is_available()):
        # Measured: 0.73 to 0.90 of the time in float32, but 0.53 to 1.13 in bfloat16, slower where groups are normalised.
        return "on a CPU there is a gain in float32 only, with oneDNN"
    return _try(task, model.to(device), device, dtype)


def _try(task: Task, model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why a pass of the first training sample fails in channels-last; `None` if it does not.

    The usual reason is a `view` of activations in the model, which needs them contiguous.
    """
    chosen = torch.zeros(1, dtype=torch.int64)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            fetched = task.fetch("train", chosen).items()
            tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in fetched}
            batch = Batch(chosen, None, tensors).to(device)
            expected = task.forward(model, batch)
            lay_out_model(model, "channels_last")
            found = task.forward(model, batch.channels_last())
            largest, difference = float(expected.abs().max()), float((found - expected).abs().max())
    except Exception as error:  # a model's forward may raise anything; training will show other errors
        return f"the model does not compute so: {' '.join(str(error).split())[:200]}"
    finally:
        model.train(was_training)
    if difference <= _MOST_DIFFERENCE * largest:
        return None
    return "the model computes other numbers from images laid out so"

"""How a batch becomes a call of the model: which parts are inputs, which is the target, and by what names."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...common.errors import UserError
from .structure import as_mapping, sizes_of

logger = logging.getLogger("slipway")

TARGET_KEYS = ("labels", "label", "targets", "target", "y")
"""Of a batch that is a dictionary: the first of these that is there is the target."""


def inputs_and_targets(batch: Any) -> tuple[Any, Any]:
    """Return the inputs and the target of a batch; None as target where there is none.

    `(a, b)` gives a and b, `(a, b, c)` gives (a, b) and c, a dictionary gives the rest and its target.
    """
    mapping = as_mapping(batch)
    if mapping is not None:
        key = next((key for key in TARGET_KEYS if key in mapping), None)
        return {name: part for name, part in mapping.items() if name != key}, None if key is None else mapping[key]
    if isinstance(batch, (tuple, list)) and len(batch) > 1:
        return batch[0] if len(batch) == 2 else tuple(batch[:-1]), batch[-1]
    return (batch[0] if isinstance(batch, (tuple, list)) and batch else batch), None


class ModelCall:
    """Calls a model with inputs: a tensor or a tuple by position, a dictionary by the names that `forward` has."""

    def __init__(self, model: nn.Module) -> None:
        plain = getattr(model, "_orig_mod", model)
        self._model_name = type(plain).__name__
        parameters = inspect.signature(plain.forward).parameters.values()
        self._takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        self._names = frozenset(one.name for one in named)
        self._needed = tuple(one.name for one in named if one.default is one.empty)
        self._chosen: dict[tuple[str, ...], tuple[str, ...] | None] = {}

    def __call__(self, model: nn.Module, inputs: Any) -> Any:
        """Return what the model returns. Raises `UserError` if a dictionary lacks an input that the model needs."""
        if isinstance(inputs, Mapping):
            names = self._choose(tuple(inputs), inputs)
            if names is None:
                return model(*inputs.values())
            return model(**{name: inputs[name] for name in names})
        return model(*inputs) if isinstance(inputs, tuple) else model(inputs)

    def _choose(self, found: tuple[str, ...], inputs: Mapping[str, torch.Tensor]) -> tuple[str, ...] | None:
        """Return the names to call the model by; None: by position, as there is one input of another name."""
        if found in self._chosen:
            return self._chosen[found]
        known = found if self._takes_any else tuple(name for name in found if name in self._names)
        chosen: tuple[str, ...] | None = known
        missing = [name for name in self._needed if name not in found]
        if len(found) == 1 and not known:
            chosen = None
        elif missing or not known:
            raise UserError(
                f"{self._model_name}.forward needs {', '.join(missing) or 'inputs by position'}, but the batch has "
                f"{sizes_of(inputs)}: name the keys of a sample as forward names its parameters, or give forward=, a function "
                "of model and batch"
            )
        elif unused := [name for name in found if name not in known]:
            logger.warning("%s.forward has no parameter for %s: left out", self._model_name, ", ".join(unused))
        self._chosen[found] = chosen
        return chosen

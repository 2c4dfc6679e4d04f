"""`slipway.load`: the model of a run, with its weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..common.errors import UserError, nearest
from ..common.program.doors import door
from ..common.run_names import RECORD
from ..common.small_files import read_json
from ..step.plain_names import own_state
from ..storage.files import load_tensors
from ..tasks.origin.spec import make_from_spec, refuse_foreign_code
from ..tasks.sign.predict import SignPredictor

_WEIGHTS = "model.safetensors"


def load(
    run: str | os.PathLike[str],
    which: Literal["best", "last"] = "best",
    *,
    make_model: Callable[[], nn.Module] | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    trust: bool = False,
) -> nn.Module:
    """Return the model of a run with its best or its last weights: the plain module, on the CPU, in `eval()`.

    What is made how, from where and on whose word, stands at `slipway.load`, which adds labels and predictions to it.
    Raises `UserError`.
    """
    folder = find_weights(Path(run), which, Path(runs_dir))
    with door(folder, "give the folder of a run"):
        weights = load_tensors(folder / _WEIGHTS)
        spec = read_json(folder / "spec.json")
    how = f"slipway.load({str(run)!r}, make_model=...)"
    with torch.random.fork_rng(devices=[]):  # the first weights are not kept
        model = _make(spec if isinstance(spec, dict) else {}, folder, make_model, how, is_trusted=trust)
    return _with_weights(model, weights, folder, how)


def load_weights(model: nn.Module, folder: Path) -> nn.Module:
    """Return a model, in `eval()` on the CPU, with the weights of a folder `best` or `last`.

    Raises `UserError` for weights of another model.
    """
    with door(folder, "give the folder of a run"):
        weights = load_tensors(folder / _WEIGHTS)
    return _with_weights(model, weights, folder, "slipway.load(..., make_model=...)")


def _with_weights(model: nn.Module, weights: dict[str, torch.Tensor], folder: Path, how: str) -> nn.Module:
    if type(model).__name__ == "OptimizedModule":  # torch.compile around all of it
        model = model._orig_mod  # type: ignore[assignment]
    precision = next((tensor.dtype for tensor in weights.values() if tensor.is_floating_point()), None)
    model = model.to(device="cpu", dtype=precision)
    try:
        model.load_state_dict(own_state(model, weights))
    except RuntimeError as error:
        why = " ".join(str(error).split(":", 1)[-1].split())[:300]
        raise UserError(
            f"{folder}: its weights are of another model than what makes it now: {why}; bring that code back, or give the "
            f"function that makes it, {how}"
        ) from None
    return model.eval()


def _make(
    spec: dict[str, Any], folder: Path, make_model: Callable[[], nn.Module] | None, how: str, *, is_trusted: bool
) -> nn.Module:
    if make_model is not None:
        made = make_model()
        if not isinstance(made, nn.Module) or made is make_model:
            raise UserError(f"slipway.load: make_model must return a new module, got {type(made).__name__}")
        return made
    if spec.get("model") == "SignEncoder":
        return SignPredictor.load(folder).model
    if not is_trusted:
        refuse_foreign_code(
            spec, str(folder), f"{how.replace('make_model=...', 'trust=True')}, or give the function, {how}"
        )
    try:
        with door(folder / "spec.json", "it does not say how the model is made"):
            model = make_from_spec(spec, str(folder))
    except UserError as error:
        raise UserError(f"{error}; bring it back, or give the function that makes the model, {how}") from None
    if model is None:
        raise UserError(
            f"{folder}: the run could not write down what makes its model (a lambda, or a Task of a script): give the function "
            f"that does, {how}"
        )
    return model


def find_weights(run: Path, which: str, runs_dir: Path, caller: str = "slipway.load:") -> Path:
    """Return the folder of the weights of a run, by its path or its name.

    Raises `UserError` where there are none; `caller` begins the message.
    """
    if which not in ("best", "last"):
        raise UserError(f"{caller} which={which!r}: give 'best' or 'last'")
    for path in (run, runs_dir / run):
        if (path / _WEIGHTS).is_file():
            return path
        if (path / which / _WEIGHTS).is_file():
            return path / which
    found = next((path for path in (run, runs_dir / run) if path.is_dir()), None)
    if found is None:
        known = [path.parent.name for path in runs_dir.glob(f"*/{RECORD}")]
        raise UserError(f"{caller} {run}: no such run, here or in {runs_dir}{nearest(str(run), known)}")
    parts = sorted(path.parent.name for path in found.glob(f"*/{RECORD}"))
    if parts:
        raise UserError(f"{caller} {found} holds several runs; name one of them, such as {found / parts[0]}")
    if (found / RECORD).is_file():
        raise UserError(f"{caller} {found} has no {which}/ yet: it is written at the end of its first epoch")
    raise UserError(f"{caller} {found}: no run there, and no {_WEIGHTS}")

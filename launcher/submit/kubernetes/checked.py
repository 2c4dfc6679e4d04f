"""Manifests against the models that Kubeflow publishes, which also have those of Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ....training.common.errors import UserError
from ....training.common.program.shown import one_line
from .manifests import Manifest

_MODELS = {
    "TrainJob": "TrainerV1alpha1TrainJob",
    "Job": "IoK8sApiBatchV1Job",
    "Service": "IoK8sApiCoreV1Service",
}


def check(manifest: Manifest) -> None:
    """Raise `UserError` for a value of the wrong type, and for a key that the models do not know and would drop."""
    try:
        from kubeflow_trainer_api import models
    except ImportError:
        raise UserError("manifests are checked by Kubeflow's models: pip install 'slipway[kubernetes]'") from None
    from pydantic import ValidationError

    kind = str(manifest.get("kind"))
    if kind not in _MODELS:
        raise UserError(f"kind {kind!r}: a job is one of {', '.join(_MODELS)}")
    try:
        known = getattr(models, _MODELS[kind]).from_dict(manifest).to_dict()
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        raise UserError(f"{kind}: {where}: {one_line(str(found['msg']))}, not {found.get('input')!r}") from None
    if lost := list(_lost(manifest, known, "")):
        raise UserError(
            f"{kind}: Kubernetes knows no {', '.join(lost)}; the key is misspelt, or the models are older than what they are "
            "asked for: pip install --upgrade kubeflow-trainer-api"
        )


def _lost(asked: Any, known: Any, path: str) -> Iterator[str]:
    """Yield the paths of what is in one and not in the other, or otherwise there."""
    if isinstance(asked, dict) and isinstance(known, dict):
        for key, value in asked.items():
            here = f"{path}.{key}" if path else str(key)
            if key not in known:
                yield here
            else:
                yield from _lost(value, known[key], here)
    elif isinstance(asked, list) and isinstance(known, list) and len(asked) == len(known):
        for at, (one, other) in enumerate(zip(asked, known, strict=True)):
            yield from _lost(one, other, f"{path}[{at}]")
    elif asked != known:
        yield path

"""The experiment trackers that a run can send its numbers to, by Accelerate's names, and what each needs installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from ..common.errors import UserError, nearest

TRACKERS: dict[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
    "comet_ml": ("comet_ml",),
    "aim": ("aim",),
    "swanlab": ("swanlab",),
}
"""The modules of which a tracker needs one; it comes with the package of the first one's name."""
EXTRAS = ("tensorboard", "mlflow", "trackio")
"""The trackers that an extra of this package installs."""
PROJECT = "slipway"


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the trackers that are meant, each once. Raises `UserError` for a name that is none."""
    for name in names:
        if name not in TRACKERS:
            raise UserError(
                f"--tracker: {name!r} is none of {', '.join(TRACKERS)}{nearest(name, list(TRACKERS))}", option="tracker"
            )
    return tuple(dict.fromkeys(names))


def check_installed(names: Sequence[str]) -> None:
    """Raise `UserError`, with the command that installs them, for trackers that this environment has not."""
    missing = [name for name in names if not any(map(_is_installed, TRACKERS[name]))]
    if not missing:
        return
    extras = ",".join(name for name in missing if name in EXTRAS)
    packages = [TRACKERS[name][0].replace("_", "-") for name in missing if name not in EXTRAS]
    wanted = " ".join([*([f"'slipway[{extras}]'"] if extras else []), *packages])
    verb = "is" if len(missing) == 1 else "are"
    raise UserError(
        f"--tracker: {', '.join(missing)} {verb} not installed; `pip install {wanted}`, or leave it out",
        option="tracker",
    )


def _is_installed(module: str) -> bool:
    # A folder of that name in the working folder, such as the one that W&B writes, is no package.
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None

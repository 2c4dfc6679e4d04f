"""Accelerate's tracking classes, opened for a run of Slipway: anew, or to go on in a tracker's run of before."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...training.config.trackers import TRACKERS

STATES = "trackers"
"""The folder in that of a run: what each tracker has been sent, and what some of them keep."""


def load(name: str) -> None:
    """Import what a tracker needs, which takes seconds."""
    importlib.import_module("accelerate.tracking")
    importlib.import_module("accelerate.state").PartialState(cpu=True)  # without which its logging raises
    with suppress(ImportError):  # Accelerate has a second choice
        importlib.import_module("torch.utils.tensorboard" if name == "tensorboard" else TRACKERS[name][0])


def open_tracker(name: str, folder: Path, run: str, project: str, tracker_run: str | None) -> Any:
    """Return a tracker that was started, for the run in `folder`; `tracker_run` is the id of the run to go on in."""
    from accelerate import tracking

    kept = folder / STATES
    if name == "tensorboard":
        tracker = tracking.TensorBoardTracker(run_name=name, logging_dir=folder)
    elif name == "mlflow":
        tracker = tracking.MLflowTracker(experiment_name=project, run_id=tracker_run, run_name=run)
    elif name == "trackio":
        resume = "must" if tracker_run else "never"
        tracker = tracking.TrackioTracker(project, name=tracker_run or run, resume=resume)
    elif name == "wandb":
        tracker = tracking.WandBTracker(project, name=run, id=tracker_run, resume="allow", dir=os.fspath(kept))
    elif name == "comet_ml":
        tracker = tracking.CometMLTracker(project, experiment_key=tracker_run, mode="get_or_create")
    elif name == "aim":
        tracker = tracking.AimTracker(run, experiment=project, run_hash=tracker_run)
    else:
        tracker = tracking.SwanLabTracker(project, experiment_name=run, id=tracker_run, resume="allow")
    tracker.start()
    return tracker


def store_settings(name: str, tracker: Any, values: dict[str, Any]) -> None:
    """Send the settings of a run, once."""
    if name != "tensorboard" or not hasattr(tracker.writer, "file_writer"):
        tracker.store_init_configuration(values)
        return
    # Accelerate's way adds a second run to TensorBoard's list, named by the time.
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(values, {}):
        tracker.writer.file_writer.add_summary(summary)
    tracker.writer.flush()


def id_of(name: str, tracker: Any) -> str:
    """Return the id of a tracker's run, by which another process goes on in it."""
    run = tracker.active_run if name == "mlflow" else tracker.tracker
    if name == "tensorboard":
        return name
    if name == "mlflow":
        return str(run.info.run_id)
    if name == "trackio":
        return str(run.name)
    if name == "comet_ml":
        return str(run.get_key())
    return str(run.hash if name == "aim" else run.id)

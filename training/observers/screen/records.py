"""The console for programs: a record a line, as `key=value` or as JSON."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from ..events import EpochEnd, RunStart, StageEnd, StageStart
from .base import ProgressConsole, ProgressCounts
from .tables import data_name, is_synthetic


def key_values(**values: Any) -> str:
    """Return `key=value key="two words"` in one line; values that are None are left out.

    >>> key_values(event="step", loss=0.25, name="two words")
    'event=step loss=0.25 name="two words"'
    """
    return " ".join(f"{name}={_value(value)}" for name, value in values.items() if value is not None)


def json_line(**values: Any) -> str:
    """Return an object of JSON in one line; values that are None are left out, and numbers that JSON has not are text."""
    plain = {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
        if value is not None
    }
    return json.dumps(plain, default=str, ensure_ascii=False, allow_nan=False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    plain = text and not any(character in ' "=\\' or not character.isprintable() for character in text)
    return text if plain else json.dumps(text, ensure_ascii=False)


class RecordsConsole(ProgressConsole):
    """Writes one record at a time. `step` and `epoch` are those of the stage, from 1."""

    interval_seconds = 5.0
    tells_all = True

    def __init__(
        self,
        console: Console,
        results: Console,
        level: int,
        clock: Callable[[], float] = time.perf_counter,
        *,
        line_of: Callable[..., str] = key_values,
    ) -> None:
        super().__init__(console, results, level, clock)
        self._line_of = line_of

    def say(self, level: int, kind: str, text: str) -> None:
        """Write a message."""
        self._put(event=kind, level=logging.getLevelName(level).lower(), message=text)

    def on_run_start(self, event: RunStart) -> None:
        """Write recipe, plan and data, in a few lines."""
        super().on_run_start(event)
        recipe, plan, resolved = event.recipe, event.plan, event.recipe.resolved
        samples = event.description.get("samples", {})
        self._write_untimed("run", name=event.name, folder=event.folder, recipe_hash=recipe.hash)
        self._write_untimed(
            "data",
            data=data_name(event),
            synthetic=is_synthetic(event),
            classes=event.description.get("classes"),
            about=event.description.get("about"),
            **{f"{split}_samples": size for split, size in samples.items()},
        )
        self._write_untimed(
            "plan",
            device=plan.device,
            device_name=plan.device_name,
            processes=plan.world_size,
            micro_batch_size="share" if plan.micro_batch_size is None else plan.micro_batch_size,
            gradient_accumulation=plan.gradient_accumulation,
            share_weights=":".join(f"{weight:g}" for weight in plan.share_weights),
            reduction=plan.reduction,
            workers=plan.num_workers,
        )
        for name, reason in plan.reasons:
            self._write_untimed("plan_reason", field=name, value=getattr(plan, name, None), reason=reason)
        self._write_untimed(
            "recipe",
            parameters=event.num_parameters,
            batch_rule=recipe.batch_rule,
            base_batch_size=recipe.batch_size,
            global_batch_size=resolved.global_batch_size,
            learning_rate_rule=recipe.learning_rate_rule,
            base_learning_rate=recipe.optimizer.learning_rate,
            batch_size_factor=resolved.batch_size_factor,
            peak_learning_rate=recipe.peak_learning_rate,
            precision=recipe.precision,
            mixed_precision=resolved.mixed_precision,
            stages=",".join(f"{stage.name}:{stage.epochs}" for stage in recipe.stages),
        )

    def on_stage_start(self, event: StageStart) -> None:
        """Write the size of the stage."""
        super().on_stage_start(event)
        self._write(
            "stage",
            stage=self._stage_label(event.number),
            name=event.stage.name,
            epochs=event.num_epochs,
            steps_per_epoch=event.steps_per_epoch,
            peak_learning_rate=event.peak_learning_rate,
        )

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Write the epoch with its validation."""
        super().on_epoch_end(event)
        num_epochs = self._stage.num_epochs if self._stage else "?"
        numbers = {name: value for name, value in event.validation.items() if isinstance(value, (int, float))}
        self._write(
            "epoch",
            stage=self._stage_label(event.stage_number),
            epoch=f"{event.epoch_in_stage + 1}/{num_epochs}",
            train_loss=event.train_loss,
            **{f"validation_{name}": value for name, value in numbers.items()},
            improved=event.improved,
            samples=event.samples_seen,
            seconds=round(event.seconds, 2),
        )

    def on_stage_end(self, event: StageEnd) -> None:
        """Write the stage's row of results."""
        row = {name: value for name, value in event.row.items() if isinstance(value, (int, float, str))}
        name = row.pop("stage", None)
        self._write("stage_end", **{**row, "stage": self._stage_label(event.number), "name": name})

    def report_progress(self, progress: ProgressCounts) -> None:
        """Write a line with the progress."""
        self._write(
            "progress",
            stage=self._stage_label(progress.stage_number),
            epoch=f"{progress.epoch}/{progress.num_epochs}",
            step=f"{progress.step}/{progress.num_steps}",
            loss=progress.loss,
            learning_rate=progress.learning_rate,
            samples_per_second=round(progress.samples_per_second, 1),
            data_wait_share=None if progress.data_wait_share is None else round(progress.data_wait_share, 4),
            model_flop_utilisation=progress.model_flop_utilisation,
            stage_seconds_left=_rounded(progress.stage_seconds_left),
            run_seconds_left=_rounded(progress.run_seconds_left),
        )

    def _stage_label(self, number: int) -> str:
        return f"{number + 1}/{self._run.num_stages if self._run else '?'}"

    def _write(self, event: str, **values: Any) -> None:
        self._write_untimed(event, elapsed_seconds=round(self._clock() - self._started, 1), **values)

    def _write_untimed(self, event: str, **values: Any) -> None:
        if self._level <= logging.INFO:
            self._put(event=event, **values)

    def _put(self, **values: Any) -> None:
        self.console.out(self._line_of(**values), highlight=False)


def _rounded(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)

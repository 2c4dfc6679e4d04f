"""The header of a run: what is trained, on what and how; the short one, or every choice with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ...config.recipe import Recipe
from ..events import RunStart
from .tables import WARNING_STYLE, data_name, is_synthetic, plural

_OWN_ROWS = ("device", "micro_batch_size", "compile_backend")
_USUAL_VALUES = {"sharding": "replicate", "memory_format": "contiguous"}
"""Fields of a plan that the header leaves out: those with their own rows, and those with these values."""


_LABEL_COLUMNS = len("learning rate")


def explain_batch(recipe: Recipe) -> str:
    """Return the global batch and how it was computed."""
    resolved = recipe.resolved
    if recipe.batch_rule == "fixed":
        return f"{resolved.global_batch_size} (fixed: the base batch, however many processes)"
    processes = plural(resolved.num_processes, "process", "es")
    return f"{resolved.global_batch_size} = {recipe.batch_size} x {processes} (scale)"


def explain_learning_rate(recipe: Recipe) -> str:
    """Return base and peak learning rate and the rule between them."""
    base, peak = recipe.optimizer.learning_rate, recipe.peak_learning_rate
    ratio = recipe.resolved.global_batch_size / recipe.batch_size
    if recipe.learning_rate_rule == "none":
        return f"{base:.4g} (rule none: does not follow the batch)"
    if ratio == 1:
        return f"{base:.4g} (the global batch is the base batch)"
    factor = recipe.resolved.batch_size_factor
    return f"{base:.4g} -> {peak:.4g} (x {factor:.4g}: {recipe.learning_rate_rule} rule, batch x {ratio:.4g})"


@dataclass(frozen=True)
class RunHeader:
    """What is trained, how, and why so."""

    event: RunStart
    is_whole: bool = False
    """Whether each choice is drawn with its reason; else eight lines that are cut at the width."""

    def short_rows(self) -> list[tuple[str, Text]]:
        """Return labels and values of what a person wants to see before a training, top to bottom."""
        event, recipe = self.event, self.event.recipe
        resolved = recipe.resolved
        precision = recipe.precision if resolved.mixed_precision == "no" else resolved.mixed_precision
        batch = f"{resolved.global_batch_size}, learning rate {recipe.peak_learning_rate:.4g}{self._shares()}"
        return [
            ("data", self._data()),
            ("samples", Text(self._samples())),
            ("model", Text(f"{plural(event.num_parameters, 'parameter')}, {precision}")),
            ("device", Text(self._device())),
            ("global batch", Text(batch)),
            ("stages", Text(self._stages())),
            ("run folder", Text(str(event.folder))),
        ]

    def rows(self) -> list[tuple[str, Text]]:
        """Return labels and values of every choice, with its reason, top to bottom."""
        event, recipe, plan = self.event, self.event.recipe, self.event.plan
        reasons = dict(plan.reasons)
        micro_batch = "a rank's share"
        if plan.micro_batch_size is not None:
            micro_batch = plural(plan.micro_batch_size, "sample")
        micro_batch += f", gradient accumulation {plan.gradient_accumulation}{self._shares()}"
        mixed = recipe.resolved.mixed_precision
        rows = [
            ("data", Text.assemble(self._data(), f", samples: {self._samples()}")),
            ("model", Text(plural(event.num_parameters, "parameter"))),
            (
                "device",
                self._with_reason(self._device(), reasons.get("device")),
            ),
            ("global batch", Text(explain_batch(recipe))),
            ("micro-batch", self._with_reason(micro_batch, reasons.get("micro_batch_size"))),
            ("learning rate", Text(explain_learning_rate(recipe))),
            ("precision", Text(recipe.precision if mixed == "no" else f"{recipe.precision}, mixed with {mixed}")),
            ("stages", Text(self._stages())),
        ]
        if plan.compile_backend is not None:
            rows.append(("torch.compile", self._with_reason(plan.compile_backend, reasons.get("compile_backend"))))
        for name, reason in reasons.items():
            if name not in _OWN_ROWS and getattr(plan, name, "") != _USUAL_VALUES.get(name):
                value = getattr(plan, name, None)
                rows.append((name.replace("_", " "), self._with_reason("" if value is None else str(value), reason)))
        return [*rows, ("run folder", Text(str(event.folder)))]

    def _device(self) -> str:
        plan = self.event.plan
        name = plan.device if plan.device_name in ("", plan.device) else f"{plan.device} ({plan.device_name})"
        return f"{name}, {plural(plan.world_size, 'process', 'es')}"

    def _shares(self) -> str:
        """Return the shares of ranks that differ, to be put behind other words."""
        weights = self.event.plan.share_weights
        return f", shares {':'.join(f'{weight:g}' for weight in weights)}" if len(set(weights)) > 1 else ""

    def _stages(self) -> str:
        stages = self.event.recipe.stages
        names = ", ".join(f"{stage.name} {stage.epochs}" for stage in stages)
        return f"{names} ({plural(sum(stage.epochs for stage in stages), 'epoch')} at most)"

    def _data(self) -> Text:
        description = self.event.description
        name = data_name(self.event)
        text = Text(name)
        if is_synthetic(self.event):
            text = Text.assemble("" if name == "synthetic" else f"{name}, ", ("synthetic data", WARNING_STYLE))
        if "about" in description:
            text.append(f", {description['about']}")
        elif "classes" in description:
            text.append(f", {plural(int(description['classes']), 'class', 'es')}")
        return text

    def _samples(self) -> str:
        samples = self.event.description.get("samples", {})
        return ", ".join(f"{split} {size:,}" for split, size in samples.items()) or "none"

    @staticmethod
    def _with_reason(value: str, reason: str | None) -> Text:
        return Text.assemble(value, (f" ({reason})" if value else f"{reason}", "dim")) if reason else Text(value)

    def __rich__(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", no_wrap=True, min_width=_LABEL_COLUMNS)
        grid.add_column(overflow="fold" if self.is_whole else "ellipsis", no_wrap=not self.is_whole)
        for label, value in self.rows() if self.is_whole else self.short_rows():
            grid.add_row(label, value)
        title = Text.assemble(("slipway ", "bold"), (self.event.name, "bold cyan"), no_wrap=True, overflow="ellipsis")
        if self.is_whole:
            return Panel(grid, title=title, title_align="left", border_style="dim", expand=False)
        return Group(title, grid)

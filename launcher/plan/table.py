"""Shows a plan to a person: what was chosen, why, the fact behind it, and what the person fixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...training.common.plan_file import Choice, LaunchPlan
from ...training.common.settings import Setting
from .records import reason_of

if TYPE_CHECKING:
    from rich.console import RenderableType


def draw(
    plan: LaunchPlan, explain: bool = False, settings: Mapping[str, Setting] | None = None
) -> Iterator[RenderableType]:
    """Yield what a terminal shows: warnings first, then a row for each choice.

    Where `explain` is set, all of them and where each comes from; then what the `settings` of an intent fix beside.
    """
    from rich.table import Table
    from rich.text import Text

    for warning in plan.warnings:
        yield Text.assemble(("warning: ", "bold yellow"), warning)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("choice", "value", *(("from",) if explain else ()), "reason", "fact"):
        table.add_column(heading, overflow="fold")
    rows = [
        (
            choice.field,
            value_of(plan, choice.field) + " (you)" * choice.fixed,
            choice.origin,
            choice.reason,
            choice.fact,
        )
        for choice in plan.choices
        if explain or not _idle(plan, choice)
    ]
    if explain:
        shown = {choice.field for choice in plan.choices}
        rows += [
            (name, f"{text_of(setting.value)} (you)", setting.origin, reason_of(setting), "")
            for name, setting in (settings or {}).items()
            if name not in shown and setting.value is not None
        ]
    for field, value, origin, reason, fact in rows:
        # As Text: a device's name may hold brackets, which rich would read as markup.
        came_from = ("you" if origin == "user" else origin,) if explain else ()
        table.add_row(*(Text(cell) for cell in (field, value, *came_from, reason, fact)))
    yield table


def _idle(plan: LaunchPlan, choice: Choice) -> bool:
    """Return whether a choice is a default that changes nothing."""
    if choice.origin != "default":
        return False
    if choice.field == "share_weights" or getattr(plan, choice.field, True) in (None, ()):
        return True
    return plan.num_machines == 1 and choice.field in ("num_machines", "machine_rank", "rdzv_backend")


def value_of(plan: LaunchPlan, field: str) -> str:
    """Return a choice's value as text: `8`, `yes`, `none`, a variable's value."""
    return text_of(plan.environment[field] if field in plan.environment else getattr(plan, field))


def text_of(value: Any) -> str:
    """Return a value as a person reads it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        words = [f"{one:g}" if isinstance(one, float) else str(one) for one in value]
        return f"{words[0]} each" if len(set(words)) == 1 and len(words) > 1 else " ".join(words)
    return str(value)

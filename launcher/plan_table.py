"""Shows a plan to a person: what was chosen, why, the fact behind it, and what the person fixed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.plan_records import Choice, LaunchPlan

if TYPE_CHECKING:
    from rich.console import RenderableType

_FROM = {"default": "default", "detected": "detected", "environment": "environment", "user": "you"}


def draw(plan: LaunchPlan, explain: bool = False) -> Iterator[RenderableType]:
    """Yield what a terminal shows: warnings first, then a row for each choice; all of them where `explain` is set."""
    from rich.table import Table
    from rich.text import Text

    for warning in plan.warnings:
        yield Text.assemble(("warning: ", "bold yellow"), warning)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("choice", "value", *(("from",) if explain else ()), "reason", "fact"):
        table.add_column(heading, overflow="fold")
    for choice in plan.choices:
        if not explain and _idle(plan, choice):
            continue
        value = value_of(plan, choice.field)
        if choice.origin == "user":
            value += " (you)"
        # As Text: a device's name may hold brackets, which rich would read as markup.
        cells = (choice.field, value, *((_FROM[choice.origin],) if explain else ()), choice.reason, choice.fact)
        table.add_row(*(Text(cell) for cell in cells))
    yield table


def _idle(plan: LaunchPlan, choice: Choice) -> bool:
    """Return whether a choice is a default that does nothing."""
    if choice.origin != "default":
        return False
    if choice.field == "share_weights" or value_of(plan, choice.field) == "none":
        return True
    return plan.num_machines == 1 and choice.field in ("num_machines", "machine_rank", "rdzv_backend")


def value_of(plan: LaunchPlan, field: str) -> str:
    """Return a choice's value as text: `8`, `yes`, `none`, a variable's value."""
    value = plan.environment[field] if field in plan.environment else getattr(plan, field)
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        words = [f"{one:g}" if isinstance(one, float) else str(one) for one in value]
        return f"{words[0]} each" if len(set(words)) == 1 and len(words) > 1 else " ".join(words)
    return str(value)

"""Where the time of the profiled steps went: a table that draws itself."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from .events import ProfileEnd, SectionTime
from .tables import NOTHING, format_percent, plural


@dataclass(frozen=True)
class ProfileTable:
    """Milliseconds of a mean step and shares of the time, section by section."""

    event: ProfileEnd

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        event = self.event
        has_device = any(section.device_seconds is not None for section in event.sections)
        last = event.first_step + event.steps - 1
        steps = f"step {last}" if event.steps == 1 else f"steps {event.first_step} to {last}"
        yield Text(f"where the time of {steps} went", style="bold")
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        table.add_column("section", no_wrap=True)
        for heading in ("ms a step", "share", *(["device\nms a step"] if has_device else [])):
            table.add_column(heading, justify="right", no_wrap=True)
        for section in event.sections:
            if section.times != 0 or section.name != "evaluate":
                self._add_row(table, section, has_device=has_device)
        table.add_section()
        self._add_row(table, self._total(), has_device=has_device)
        yield table
        if event.seconds_per_step_before is not None:
            before = event.seconds_per_step_before
            yield Text(f"without the profiler a step took {_milliseconds(before)} ms (median of those before)")

    def _total(self) -> SectionTime:
        device = [section.device_seconds for section in self.event.sections if section.device_seconds is not None]
        return SectionTime(
            name=f"all {plural(self.event.steps, 'step')}",
            times=None,
            seconds=self.event.seconds,
            device_seconds=sum(device) if device else None,
        )

    def _add_row(self, table: Table, section: SectionTime, *, has_device: bool) -> None:
        event = self.event
        cells = [section.name.replace("_", " ")]
        if section.times == 0 and not section.device_seconds:
            cells += [NOTHING] * (3 if has_device else 2)
        else:
            cells += [_milliseconds(section.seconds / event.steps), format_percent(section.seconds / event.seconds)]
            if has_device:
                cells.append(_milliseconds((section.device_seconds or 0.0) / event.steps))
        table.add_row(*map(Text, cells))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3f}" if seconds < 0.01 else f"{1e3 * seconds:.1f}"

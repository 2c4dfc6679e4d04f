"""How far the writing of a stream is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ....devices.world import launched_world
from ....observers.screen.console import make_console

logger = logging.getLogger("slipway")

_LINE_SECONDS = 15.0


class WritingProgress:
    """Tells on rank 0 how many samples of how many are written; nothing of what takes a moment."""

    def __init__(self, where: str, total: int | None) -> None:
        self._where, self._total = where, total
        self._began = time.monotonic()
        self._told = self._began - _LINE_SECONDS + 3.0
        self._bar: Progress | None = None
        if launched_world().rank == 0 and logger.isEnabledFor(logging.INFO) and (console := make_console()).is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._bar.add_task(f"{where}: writing the stream", total=total, facts="")

    def __enter__(self) -> WritingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, samples: int, num_bytes: int) -> None:
        """Tell how much has been written."""
        now = time.monotonic()
        of = "" if self._total is None else f" of {self._total:,}"
        facts = f"{samples:,}{of} samples, {megabytes(num_bytes)}, {samples / max(now - self._began, 1e-3):,.0f}/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=samples, facts=facts)
        elif now - self._told >= _LINE_SECONDS and launched_world().rank == 0:
            self._told = now
            logger.info("%s: writing the stream: %s", self._where, facts)


def megabytes(num_bytes: float) -> str:
    """Return a size in kB, MB or GB."""
    if num_bytes < 1e6:
        return f"{num_bytes / 1e3:,.1f} kB"
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"

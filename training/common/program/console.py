"""The console of our programs."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from .shown import printable
from .streams import end_starting, has_no_room, stop_writing


class SteadyConsole(Console):
    """A console that shows what files hold as text, and that may fail: its reader may leave, its disk may be full.

    Nothing that is printed ends the program. What cannot be written is lost, and so is all that follows it. Only where the
    program was asked for what it prints (`is_answer`), it raises the `OSError` of a full disk.
    """

    is_answer = False

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object to segments, whose texts hold no commands to the terminal."""
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control or text.isprintable() or (shown := printable(text)) == text:
                yield segment
            else:
                yield Segment(shown, segment.style)

    def on_broken_pipe(self) -> None:
        """Write nowhere from now on; rich itself would raise `SystemExit`."""
        self.quiet = True
        stop_writing(self.stderr)

    def _check_buffer(self) -> None:
        if self._buffer:
            end_starting()
        try:
            super()._check_buffer()
        except (OSError, ValueError) as error:  # a full disk; a closed stream
            self._buffer.clear()
            self.on_broken_pipe()
            if self.is_answer and has_no_room(error):
                raise


class AnswerConsole(SteadyConsole):
    """The console of a command that is asked for what it prints on stdout, and for nothing else."""

    is_answer = True

"""Where the HTML of a run goes: into the cell that runs, or to the process whose cell that is."""

from __future__ import annotations

from collections.abc import Callable

Show = Callable[[str, str], None]
"""Takes HTML and, for what cannot show it, text; each call takes the place of the one before."""

_other: Show | None = None


def send_to(show: Show) -> None:
    """Have all HTML of this process go to `show`: it has no cell of its own."""
    global _other
    _other = show


def new_output() -> Show:
    """Return what shows HTML below the cell that runs, in a place of its own."""
    return _CellOutput() if _other is None else _other


class _CellOutput:
    """An output of a cell that is made when it is first shown, and then updated in place: a saved notebook has the last."""

    def __init__(self) -> None:
        self._handle = None

    def __call__(self, html: str, text: str) -> None:
        from IPython.display import display

        content = {"text/html": html, "text/plain": text}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

"""Whether this process is an IPython session or a notebook's kernel, and errors that it shows in one line."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any


def ipython_shell() -> Any:
    """Return the IPython shell of this process; None where there is none. Imports nothing."""
    module = sys.modules.get("IPython")
    get_ipython = getattr(module, "get_ipython", None)
    return None if get_ipython is None else get_ipython()


def in_notebook() -> bool:
    """Return whether this process is a notebook's kernel, whose cells can show HTML."""
    return getattr(ipython_shell(), "kernel", None) is not None


class OneLine(BaseException):
    """An exception whose message says all: IPython shows that alone, unless `SLIPWAY_DEBUG` or `debug=True` asks for more.

    `%debug` has the stack in any case.
    """

    shows_stack = False

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows, by its protocol for exceptions."""
        if self.shows_stack or os.environ.get("SLIPWAY_DEBUG", "") not in ("", "0"):
            return "".join(traceback.format_exception(self)).splitlines()
        return [f"{self._label}{self}", *getattr(self, "__notes__", ())]

    _label = "error: "

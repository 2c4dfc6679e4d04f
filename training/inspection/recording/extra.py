"""The packages of the extra `record`, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from ...common.errors import UserError


def import_extra(name: str) -> Any:
    """Return a module of the extra. Raises `UserError` that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"`slipway data record` needs MediaPipe and OpenCV ({error}): pip install 'slipway[record]'"
        ) from None

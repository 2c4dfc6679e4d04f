"""Layouts that people have, a small example of each, with what must be understood of it."""

from __future__ import annotations

from .arrays import ARRAYS
from .example import Example, Refused
from .folders import FOLDERS
from .keypoints import KEYPOINTS
from .refused import REFUSED
from .tables import TABLES

EXAMPLES = [*FOLDERS, *ARRAYS, *TABLES, *KEYPOINTS]

__all__ = ["EXAMPLES", "REFUSED", "Example", "Refused"]

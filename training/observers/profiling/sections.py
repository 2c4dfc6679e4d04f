"""The sections of a step's time, which a profiler marks; without a profiler, entering one does nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Sections:
    """A context for each section, entered again and again, never one within another."""

    data_wait: AbstractContextManager[Any]
    """The loop waits for its next micro-batch, or makes it where no thread does."""
    forward: AbstractContextManager[Any]
    backward: AbstractContextManager[Any]
    reduce: AbstractContextManager[Any]
    """The ranks sum their gradients, and wait for the slowest; of an overlapped reduction only the end after the backward."""
    optimizer: AbstractContextManager[Any]
    device_wait: AbstractContextManager[Any]
    """The host waits until an accelerator has computed an earlier step."""
    save: AbstractContextManager[Any]
    """The run is copied for a checkpoint, or weights are written."""
    evaluate: AbstractContextManager[Any]

    @classmethod
    def of(cls, make: Callable[[str], AbstractContextManager[Any]]) -> Sections:
        """Return a context for each section, made from its name."""
        return cls(**{field.name: make(field.name) for field in fields(cls)})


UNMARKED = Sections.of(lambda name: nullcontext())

SECTION_NAMES = tuple(field.name for field in fields(Sections))

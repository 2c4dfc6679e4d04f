"""A fault: the place that it needs, what happens at the gate, and what a run in it must say, keep and return."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from tests.chaos.faults.trial import Start, Trial


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong, and what a run must make of it."""

    name: str
    place: Callable[[Trial], AbstractContextManager[Start]] = lambda trial: nullcontext(Start())
    """Makes the place before the start, and says how the command is started in it."""
    strike: Callable[[Trial], object] | None = None
    """What happens while the ranks wait at the gate, which is opened after it. None: the place is all that is wrong."""
    opens_gate: bool = False
    """Whether `strike` opens the gate itself."""
    mend: Callable[[Trial], object] | None = None
    """Takes the fault away before the run is resumed, where it has to be."""
    codes: tuple[int, ...] = (0,)
    """Exit codes that are right."""
    tells: tuple[str, ...] = ()
    """Expressions that what is said must match; without any no warning and no error may be there."""
    is_exact: bool = True
    """Whether the weights are the same bytes; else, where a micro-batch was halved, they are as close as rounding."""
    world_sizes: tuple[int, ...] = (1, 2)
    is_short: bool = False
    """Whether the short form tries it, on the first of `world_sizes`."""
    needs: tuple[str, ...] = ()
    """Programs and paths without which it cannot be made here."""
    has_mounts: bool = False
    """Whether disks are mounted for it."""


@dataclass(kw_only=True)
class Found:
    """What a fault came to on so many processes."""

    fault: Fault
    world_size: int
    code: int | None = None
    told: list[str] = field(default_factory=list)
    saved_step: int = -1
    """Of the newest checkpoint when the run had ended."""
    is_finished: bool = False
    """Whether the run came to its end in spite of the fault."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    missing: str = ""
    """What it needs and is not here: it was not tried then."""

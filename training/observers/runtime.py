"""What a run uses of the process it runs in."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..devices.interruption import StopRequest
from ..devices.ranks import Ranks
from ..devices.sharing.control import CoreControl
from ..devices.watchdog import Watchdog
from .events import Observer
from .profiling.sections import UNMARKED, Sections


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What a run uses of the process it runs in, the same from its start to its end: other ranks, observers, signals."""

    ranks: Ranks
    observer: Observer = field(default_factory=Observer)
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(None, 0, None))
    """Ends a process that makes no progress; by default nothing is watched."""
    sections: Sections = UNMARKED
    """Contexts that mark the parts of a step for a profiler."""
    stop: StopRequest = field(default_factory=StopRequest)
    cores: CoreControl = field(default_factory=CoreControl)
    """Suits the way in which threads wait for each other to who else wants the cores; begun and ended by the training."""
    tests: bool = True
    """Whether the best weights are measured on the test split; else nothing reads it."""
    queues_steps: bool | None = None
    """Whether steps are queued on the device, updated there and read one step later; `None`: on all devices but the CPU."""

"""The most samples in one forward pass, and which sizes were seen to fit in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...common.conversion import whole_number

_FIRST_QUIET_STEPS = 1000


@dataclass(kw_only=True)
class MicroBatchLimit:
    """The most samples in one forward pass, and which sizes were seen to fit on every rank. The same on all ranks.

    The only place that holds it: who splits samples into passes asks here. A size that fits a cost (the length of the
    longest sample) is taken to fit smaller sizes and lower costs too.
    """

    limit: int
    """In training, with gradients."""
    ceiling: int
    """The most to which the limit may grow back."""
    key: str = ""
    """Hash of the model, device and share that it was found for: the state for others is ignored."""
    is_chosen: bool = False
    """Whether the ceiling was measured, here or before a resume."""
    bytes_per_sample: int | None = None
    """Memory that one of the longest samples needs in training; `None`: not measured."""
    quiet_steps: int = 0
    """Steps since memory last ran out, or since the limit grew."""
    patience: int = _FIRST_QUIET_STEPS
    """Quiet steps after which the limit grows back."""
    is_on_trial: bool = False
    """Whether it grew less than `patience` steps ago."""
    proven: dict[int, float] = field(default_factory=dict)
    """The highest cost seen to fit, by size."""
    evaluation: int | None = None
    """In evaluation, without gradients, on this rank: each rank lowers its own after it ran out of memory. `None`: no
    evaluation was done yet."""

    def choose(self, size: int, bytes_per_sample: int | None) -> None:
        """Start at the size that was measured to be best, which is not always the largest that fits: the new ceiling."""
        self.limit = self.ceiling = min(size, self.ceiling)
        self.bytes_per_sample, self.is_chosen = bytes_per_sample, True

    def is_proven(self, size: int, cost: float) -> bool:
        """Return whether a micro-batch of this size and cost was seen to fit."""
        return any(size <= known and cost <= highest for known, highest in self.proven.items())

    def succeed(self, size: int, cost: float, *, has_room: bool = True) -> bool:
        """Note a step that fitted; return whether the limit grew, after a long quiet time and with enough free memory."""
        if not self.is_proven(size, cost):
            self.proven[size] = max(cost, self.proven.get(size, cost))
        self.quiet_steps += 1
        if self.quiet_steps < self.patience:
            return False
        self.is_on_trial = False
        if self.limit >= self.ceiling or not has_room:
            return False
        self.limit = min(self.ceiling, 2 * self.limit)
        self.quiet_steps, self.is_on_trial = 0, True
        return True

    def shrink(self, size: int) -> bool:
        """Halve the limit after a micro-batch of `size` did not fit; return false if it was a single sample."""
        if self.is_on_trial:
            # It did not fit again: wait longer before the next try.
            self.patience *= 2
        self.proven = {known: cost for known, cost in self.proven.items() if known < size}
        self.limit = max(1, min(self.limit, size) // 2)
        self.quiet_steps, self.is_on_trial = 0, False
        return size > 1

    def state(self) -> dict[str, Any]:
        """Return it as plain values, for a checkpoint."""
        names = ("limit", "ceiling", "key", "is_chosen", "bytes_per_sample", "quiet_steps", "patience", "is_on_trial")
        return {
            **{name: getattr(self, name) for name in names},
            "proven": [[size, cost] for size, cost in self.proven.items()],
            "evaluation": self.evaluation,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set it from a checkpoint, if that is of the same model, device and share; else stay as it is."""
        if state.get("key") != self.key:
            return
        self.limit, self.ceiling = whole_number(state, "limit", 1), whole_number(state, "ceiling", 1)
        self.is_chosen, self.is_on_trial = bool(state["is_chosen"]), bool(state["is_on_trial"])
        self.bytes_per_sample = None if state["bytes_per_sample"] is None else whole_number(state, "bytes_per_sample")
        self.quiet_steps, self.patience = whole_number(state, "quiet_steps"), whole_number(state, "patience", 1)
        self.proven = {int(size): float(cost) for size, cost in state["proven"]}
        has_size = state.get("evaluation") is not None  # older checkpoints lack it
        self.evaluation = whole_number(state, "evaluation", 1) if has_size else None

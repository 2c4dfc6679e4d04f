"""What tests need of the rehearsal, in which a task is tried before the training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from slipway.training.loop import trainer


@contextmanager
def rehearsed_with(task: Any, **changes: Any) -> Iterator[None]:
    """Let a task have other attributes while it is rehearsed, so that it tells those passes from steps."""
    rehearse = trainer.rehearse
    in_steps = {name: getattr(task, name) for name in changes}

    def rehearse_with_changes(*values: Any) -> None:
        vars(task).update(changes)
        try:
            rehearse(*values)
        finally:
            vars(task).update(in_steps)

    trainer.rehearse = rehearse_with_changes
    try:
        yield
    finally:
        trainer.rehearse = rehearse

"""Shares of a batch by weights, and micro-batches of the largest one: what the plan and the run must agree on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .errors import UserError


def apportion(num_samples: int, weights: Sequence[float]) -> list[int]:
    """Return how many samples each rank takes, by largest remainders; the sum is `num_samples`.

    >>> apportion(10, (5, 3, 3))
    [4, 3, 3]
    """
    per_weight = num_samples / math.fsum(weights)
    ideal = [weight * per_weight for weight in weights]
    counts = [math.floor(one + 1e-9) for one in ideal]
    # A stable sort gives the left-over samples to the lower ranks among equals, the same in every process.
    by_remainder = sorted(range(len(ideal)), key=lambda rank: counts[rank] - ideal[rank])
    for rank in by_remainder[: num_samples - sum(counts)]:
        counts[rank] += 1
    return counts


def plan_micro_batches(
    global_batch_size: int,
    share_weights: Sequence[float],
    micro_batch_size: int | None,
    gradient_accumulation: int | None,
) -> tuple[int | None, int]:
    """Return micro-batch size and gradient accumulation; what is given sets the other, by the largest share.

    With a global batch of 64 on two ranks: accumulation 4 gives a micro-batch of 8, a micro-batch of 5 accumulation 7.
    Raises `UserError` for more micro-batches than the largest share has samples.
    """
    largest_share = max(apportion(global_batch_size, share_weights))
    if gradient_accumulation is not None:
        if gradient_accumulation > largest_share:
            raise UserError(
                f"--gradient-accumulation {gradient_accumulation}: a process has {largest_share} samples a step at most; "
                f"give at most {largest_share}",
                option="gradient_accumulation",
            )
        micro_batch_size = -(-largest_share // gradient_accumulation)
    if micro_batch_size is None:
        return None, 1
    return micro_batch_size, -(-largest_share // micro_batch_size)

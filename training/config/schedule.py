"""Learning rate, weight decay and EMA decay as pure functions of the step. No state, nothing to save or resume.

A step counts global batches. The learning rate follows the global batch: linearly (Goyal et al., "Accurate, large
minibatch SGD", 2017, section 2.1) or with its square root (Krizhevsky, "One weird trick", 2014, section 5), and warms up
linearly (Goyal et al., section 2.2), here from near zero, which also suits a batch that was not scaled.
"""

from __future__ import annotations

import math


def batch_size_factor(global_batch_size: int, base_batch_size: int, rule: str) -> float:
    """Return what the base learning rate is multiplied by for a global batch.

    >>> batch_size_factor(64, 32, "linear"), batch_size_factor(128, 32, "sqrt")
    (2.0, 2.0)
    """
    ratio = global_batch_size / base_batch_size
    if rule == "linear":
        return ratio
    if rule == "sqrt":
        return math.sqrt(ratio)
    if rule == "none":
        return 1.0
    raise ValueError(f"unknown learning rate rule {rule!r}")


def learning_rate(
    step: int, *, peak: float, num_steps: int, warmup_steps: int, schedule: str, final_fraction: float
) -> float:
    """Return the learning rate of step 0, 1, ... num_steps - 1.

    Warm-up rises linearly and reaches `peak` at its last step; after it `cosine` and `linear` fall to
    `final_fraction * peak` at the last step, `step` divides by 10 at 1/2 and at 3/4 of what is left, and `constant` stays.

    With peak 1, 6 steps of which 2 warm up, linear, final fraction 0: 0.5, 1, 0.75, 0.5, 0.25, 0.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = min(1.0, (step + 1 - warmup_steps) / max(1, num_steps - warmup_steps))
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return peak * (final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * progress)))
    if schedule == "linear":
        return peak * (1.0 - (1.0 - final_fraction) * progress)
    if schedule == "step":
        return peak * (0.1 ** ((progress > 0.5) + (progress > 0.75)))
    raise ValueError(f"unknown schedule {schedule!r}")


def ema_decay(step: int, decay: float) -> float:
    """Return the decay of the moving average at a step: it warms up as (1 + step) / (10 + step), at most `decay`.

    The warm-up keeps the first, random weights from staying in the average; it is that of TensorFlow's
    ExponentialMovingAverage with `num_updates`.
    """
    return min(decay, (1 + step) / (10 + step))

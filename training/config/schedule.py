"""Learning rate, weight decay and EMA decay as pure functions of the step. No state, nothing to save or resume.

A step counts global batches. The learning rate follows the global batch: linearly (Goyal et al., "Accurate, large
minibatch SGD", 2017, section 2.1) or with its square root (Krizhevsky, "One weird trick", 2014, section 5), and warms up
linearly (Goyal et al., section 2.2), here from near zero, which also suits a batch that was not scaled.
"""

from __future__ import annotations

import math

_DECAYING = 0.2
"""The part of the steps in which `warmup_stable_decay` falls."""

_RISING, _FIRST, _LAST = 0.3, 1 / 25, 1 / 250_000
"""Of `one_cycle`: the part of the steps that rises, and the fractions of the peak at its start and its end."""


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
    `warmup_stable_decay` stays until the last fifth of the steps, in which it falls linearly to `final_fraction * peak` (Hu et
    al., "MiniCPM", 2024, section 4). `one_cycle` has a warm-up of its own, as torch's `OneCycleLR` by default: from `peak / 25`
    in 30 % of the steps up to `peak`, then down to `peak / 250000`, both by a cosine (Smith and Topin, 2017).

    With peak 1, 6 steps of which 2 warm up, linear, final fraction 0: 0.5, 1, 0.75, 0.5, 0.25, 0.
    """
    if schedule == "one_cycle":
        return peak * _one_cycle(step, num_steps)
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
    if schedule == "warmup_stable_decay":
        num_decaying = max(1, min(round(_DECAYING * num_steps), num_steps - warmup_steps))
        decayed = max(0.0, min(1.0, (step + 1 - (num_steps - num_decaying)) / num_decaying))
        return peak * (1.0 - (1.0 - final_fraction) * decayed)
    raise ValueError(f"unknown schedule {schedule!r}")


def _one_cycle(step: int, num_steps: int) -> float:
    """Return the fraction of the peak at a step."""
    top, last = _RISING * num_steps - 1.0, max(1, num_steps - 1)
    if step <= top:
        start, stop, progress = _FIRST, 1.0, step / top if top else 1.0
    else:
        start, stop, progress = 1.0, _LAST, min(1.0, (step - top) / (last - top))
    return stop + (start - stop) * 0.5 * (1.0 + math.cos(math.pi * progress))


def ema_decay(step: int, decay: float) -> float:
    """Return the decay of the moving average at a step: it warms up as (1 + step) / (10 + step), at most `decay`.

    The warm-up keeps the first, random weights from staying in the average; it is that of TensorFlow's
    ExponentialMovingAverage with `num_updates`.
    """
    return min(decay, (1 + step) / (10 + step))

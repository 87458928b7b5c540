"""Laws of the decay of an exponential moving average (EMA): pure functions of numbers."""

from __future__ import annotations

import math

# An average over about a tenth of the run follows training closely and still removes most of its noise:
# exponential kernels of 5 to 15 % of the run gave the best samples in Karras et al. 2024
# (arXiv:2312.02696), section 3.
HORIZON_SHARE_OF_RUN = 0.1


def warmup_decay(decay: float, updates: int) -> float:
    """Effective decay of the next update, after `updates` updates, while the average warms up.

    min(decay, (1 + n) / (10 + n)): the law of TensorFlow's ExponentialMovingAverage(num_updates=n).
    """
    return min(decay, (1 + updates) / (10 + updates))


def horizon(decay: float) -> float:
    """Number of updates over which the average reaches back: sum of the kernel, 1 / (1 - decay)."""
    return math.inf if decay >= 1 else 1 / (1 - decay)


def half_life(decay: float) -> float:
    """Number of updates after which a weight counts half: log(1/2) / log(decay)."""
    if decay <= 0:
        return 0.0
    return math.inf if decay >= 1 else math.log(0.5) / math.log(decay)


def suited_decay(planned_steps: float) -> float:
    """Decay whose horizon is a tenth of `planned_steps` updates, to two significant digits of 1 - decay.

    `suited_decay(1000)` is 0.99, `suited_decay(100_000)` is 0.9999; runs of up to 20 updates get 0.5.
    """
    if not planned_steps > 0:
        raise ValueError(f"suited_decay: expected a positive number of steps, got {planned_steps}")
    rate = min(0.5, 1 / (HORIZON_SHARE_OF_RUN * planned_steps))
    digits = 1 - math.floor(math.log10(rate))
    return round(1 - round(rate, digits), digits)


def too_long_for(decay: float, planned_updates: float) -> str:
    """What to say of a decay whose horizon is longer than the run: one line with what to type, or ""."""
    reach = horizon(decay)
    if not 0 < planned_updates < reach:
        return ""
    return (
        f"decay {decay} averages over {reach:.0f} updates, more than the {planned_updates:.0f} planned, so that "
        f"initial weights stay in it; type model.ema.decay={suited_decay(planned_updates)} or model.ema.warmup=true"
    )

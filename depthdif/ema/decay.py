"""Decays of an exponential moving average (EMA): constant or power function, their names, and which suit a run.

Functions of numbers in float64; torch is not imported. Numbers (P1) to (P4) are those of `docs/ema.md`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

# Relative width of a plain mean of the whole run, gamma = 0. Wider would weigh the beginning more than the end.
WIDEST = 1 / math.sqrt(12)


@dataclass(frozen=True)
class PowerDecay:
    """The decay of a power-function average, which reaches back over the same share of the run however long that gets.

    Karras et al. 2024 (arXiv:2312.02696), section 3. The first update forgets the initial weights, so that no warm-up is
    needed and none is applied. `str` gives its name, "width_0.05".

    Args:
        width: standard deviation of the weights of all updates over the length of the run, 0 < width <= 0.2887 (a plain mean).

    Raises:
        ValueError: a width out of range.
    """

    width: float

    def __post_init__(self) -> None:
        if not 0 < self.width <= WIDEST:
            raise ValueError(
                f"expected a relative width above 0 and at most {WIDEST:.4f}, got {self.width}; set width_0.05"
            )

    @cached_property
    def gamma(self) -> float:
        """Exponent of the power function: (P4), the largest root of a cubic, which is (P3) squared.

        (P3) width = (gamma + 1)^(1/2) (gamma + 2)^(-1) (gamma + 3)^(-1/2)
        (P4) gamma^3 + 7 gamma^2 + (16 - width^-2) gamma + 12 - width^-2 = 0
        """
        inverse = self.width**-2
        return max(float(np.roots([1.0, 7.0, 16 - inverse, 12 - inverse]).real.max()), 0.0)

    def __str__(self) -> str:
        return f"width_{self.width}"


Decay = float | PowerDecay


def parse_decay(name: Any) -> Decay:
    """The decay of a number or a name: 0.99 and "ema_0.99", "width_0.05" and "ema_width_0.05".

    Raises:
        ValueError: neither, or a width out of range.
    """
    if isinstance(name, PowerDecay):
        return name
    text = str(name).removeprefix("ema_")
    width = text.removeprefix("width_")
    return float(text) if width == text else PowerDecay(float(width))


def format_decay(decay: Decay) -> float | str:
    """The plain value that `parse_decay` reads: the number itself, or the name of a width."""
    return str(decay) if isinstance(decay, PowerDecay) else decay


def decay_label(decay: Decay) -> str:
    """For messages and tables: "decay 0.99" or "width 0.05"."""
    return f"width {decay.width}" if isinstance(decay, PowerDecay) else f"decay {decay}"


def is_decay(value: Any) -> bool:
    """Whether a value is a number from 0 to 1, a `PowerDecay`, or the name of a width."""
    if isinstance(value, str) and value.startswith("width_"):
        try:
            value = parse_decay(value)
        except ValueError:
            return False
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, PowerDecay) or (is_number and 0 <= value <= 1)


def effective_decay(decay: Decay, updates: int, warmup: bool = False) -> float:
    """Share of the old average that the next update keeps, after `updates` updates.

    (P1) Update t of a power-function average keeps (1 - 1/t)^(gamma + 1), 0 at t = 1.
    """
    if isinstance(decay, PowerDecay):
        return (1 - 1 / (updates + 1)) ** (decay.gamma + 1)
    return warmup_decay(decay, updates) if warmup else decay


def warmup_decay(decay: float, updates: int) -> float:
    """Effective decay of the next update, after `updates` updates, while the average warms up.

    min(decay, (1 + n) / (10 + n)): as in TensorFlow's ExponentialMovingAverage(num_updates=n).
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


def rounded_decay(decay: float) -> float:
    """`decay` to two significant digits of 1 - decay: 0.98333 is 0.983, 0.999874 is 0.99987."""
    rate = 1 - decay
    if rate <= 0:
        return decay
    digits = 1 - math.floor(math.log10(rate))
    return round(1 - round(rate, digits), digits)


def planned_updates(max_steps: int, start_step: int = 0, apply_every_n_steps: int = 1) -> float:
    """Number of updates that a run of `max_steps` optimizer steps makes.

    Raises:
        ValueError: `max_steps` leaves the length of the run open, or the averages would begin after its end.
    """
    if max_steps is None or max_steps <= start_step:
        raise ValueError(
            f"trainer.max_steps={max_steps} with model.ema.start_step={start_step} leaves no number of updates to suit the "
            "decay to; set trainer.max_steps=600, or how many are expected: model.ema.decay.planned_updates=600"
        )
    return (max_steps - start_step) / apply_every_n_steps


def suited_decay(planned_updates: float, share: float = 0.1) -> float:
    """Decay whose horizon is a `share` of `planned_updates`, to two significant digits of 1 - decay.

    `suited_decay(1000)` is 0.99, `suited_decay(100_000)` is 0.9999; horizons of up to 2 updates get 0.5. Exponential kernels
    of 5 to 15 % of the run gave the best samples in Karras et al. 2024, section 3.

    Raises:
        ValueError: no positive number of updates, or no share of a run.
    """
    if not planned_updates > 0:
        raise ValueError(
            f"suited_decay: expected a positive number of steps, got {planned_updates}; "
            "set model.ema.decay.planned_updates=600"
        )
    if not 0 < share <= 1:
        raise ValueError(f"suited_decay: expected 0 < share <= 1, got {share}; set model.ema.decay.share=0.1")
    return rounded_decay(1 - min(0.5, 1 / (share * planned_updates)))


def decays_around(decay: float, factors: Sequence[float] = (0.25, 0.5, 2, 4)) -> list[float]:
    """Decays around `decay`, without it: their half-lives are `factors` times its own.

    Ascending, to two significant digits of 1 - decay, without duplicates: `decays_around(0.99)` is [0.961, 0.98, 0.995, 0.9975].
    Around `suited_decay`, whose half-life is 7 % of the run, the default factors give half-lives of 1.7, 3.5, 14 and 28 % of it.

    Raises:
        ValueError: `decay` has no half-life to multiply, or a factor is not positive.
    """
    if not isinstance(decay, int | float) or not 0 < decay < 1:
        raise ValueError(
            f"decays_around: expected a number with 0 < decay < 1, got {decay!r}; set model.ema.decay=0.99"
        )
    if not all(factor > 0 for factor in factors):
        expected = "expected positive multiples of the half-life of model.ema.decay"
        raise ValueError(
            f"decays_around: {expected}, got {list(factors)}; set model.ema.extra_decays.factors=[0.5,2]"
        )
    decays = {rounded_decay(0.5 ** (1 / (factor * half_life(decay)))) for factor in factors}
    return sorted(decays - {decay})


def too_long_for(decay: Decay, planned_updates: float, warmup: bool) -> str:
    """Warning about a decay whose horizon is longer than the run, in one line that says what to set; "" for any other."""
    if isinstance(decay, PowerDecay) or warmup or not 0 < planned_updates < horizon(decay):
        return ""
    return (
        f"decay {decay} averages over {horizon(decay):.0f} updates, more than the {planned_updates:.0f} planned: "
        f"{100 * decay**planned_updates:.0f} % of the average will be initial weights; set model/ema=suited "
        f"(for this run decay {suited_decay(planned_updates)}, with warm-up)"
    )

"""How an average forgets: with a constant decay or as a power function, and the name that it goes by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from depthdif.ema.decay import warmup_decay
from depthdif.ema.power import WIDEST, gamma_of, update_decay


@dataclass(frozen=True)
class PowerDecay:
    """The decay of a power-function average, which remembers the same share of the run however long that gets.

    Karras et al. 2024 (arXiv:2312.02696), section 3: update t keeps (1 - 1/t)^(gamma + 1) of the old average. The first update
    forgets the initial weights, so that no warm-up is needed and none is applied. `str` gives its name, "width_0.05".

    Args:
        width: standard deviation of the weights of all updates over the length of the run, 0 < width <= 0.2887 (a plain mean).

    Raises:
        ValueError: a width out of range.
    """

    width: float

    def __post_init__(self) -> None:
        if not 0 < self.width <= WIDEST:
            raise ValueError(
                f"expected a relative width above 0 and at most {WIDEST:.4f}, got {self.width}; type width_0.05"
            )

    @cached_property
    def gamma(self) -> float:
        """Exponent of the power function."""
        return gamma_of(self.width)

    def __str__(self) -> str:
        return f"width_{self.width}"


Decay = float | PowerDecay


def decay_named(name: Any) -> Decay:
    """The decay that a number or a name stands for: 0.99 and "ema_0.99", "width_0.05" and "ema_width_0.05".

    Raises:
        ValueError: neither, or a width out of range.
    """
    if isinstance(name, PowerDecay):
        return name
    text = str(name).removeprefix("ema_")
    width = text.removeprefix("width_")
    return float(text) if width == text else PowerDecay(float(width))


def described(decay: Decay) -> str:
    """In words: "decay 0.99" or "width 0.05"."""
    return f"width {decay.width}" if isinstance(decay, PowerDecay) else f"decay {decay}"


def plain(decay: Decay) -> float | str:
    """As a plain value that `decay_named` reads: the number, or the name of a width."""
    return str(decay) if isinstance(decay, PowerDecay) else decay


def decay_of_update(decay: Decay, updates: int, warmup: bool = False) -> float:
    """Share of the old average that the next update keeps, after `updates` updates."""
    if isinstance(decay, PowerDecay):
        return update_decay(decay.gamma, updates + 1)
    return warmup_decay(decay, updates) if warmup else decay

"""Averages that a run did not track, from its snapshots: the combination whose profile is closest to the requested one.

After Karras et al. 2024 (arXiv:2312.02696), appendix C, derived anew, in float64. Numbers (P1) to (P9) are those of
`docs/ema.md`. Time t counts the updates of an average; the weights after update i apply from i - 1 to i. A profile is the
weight of each time in an average:

    average(t) = integral over tau from 0 to t of profile(tau) * weights(tau)

(P2) of a power function it is (gamma + 1) tau^gamma / t^(gamma + 1). (P8) of a constant decay, with r = -ln(decay), it is
r exp(-r (t - tau)) / (1 - exp(-r t)): the share decay^t of the initial weights is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from torch import Tensor

from depthdif.ema.decay import Decay, PowerDecay, decay_label
from depthdif.ema.snapshots import read_manifest, shapes_in

Array = NDArray[np.float64]

# Largest fit error of a usable average. Measured on a run of 600 steps: at 5 % the error of the weights is up to a third of
# the distance between the average and the raw weights, docs/ema.md.
WORST_FIT = 0.05

# Beyond this the solution of the normal equations keeps fewer than four digits of float64.
WORST_CONDITION = 1e12


class Combination(NamedTuple):
    """A weighted sum of snapshots.

    Attributes:
        coefficients: one for each snapshot; their sum is 1.
        fit_error: (P7), distance of the profile from the target, over the norm of that: 0 is exact.
    """

    coefficients: Array
    fit_error: float


def closest_combination(
    decay: Decay, t: float, tracked: Sequence[PowerDecay], times: Sequence[float]
) -> Combination:
    """The combination of snapshots that is closest to the average of `decay` at time `t`.

    Least squares over profiles: with Gram matrix A of the snapshots (P5) and b their inner products with the target profile,
    the coefficients x minimise x.A x - 2 b.x under sum(x) = 1 (P6). The condition is ours: without it the sum misses 1 by a
    little, and that little scales all weights, which matters more than the shape of the profile.

    Args:
        decay: that of the requested average; a constant decay stands for its profile without the initial weights (P8).
        t: its time, in updates.
        tracked: decay of the average in each snapshot.
        times: time of each snapshot, in updates.

    Raises:
        ValueError: there are no snapshots, or they are too similar.
    """
    if not len(tracked):
        raise ValueError("expected snapshots of power-function averages, got none")
    gammas, at = np.array([power.gamma for power in tracked]), np.array(times, np.float64)
    gram = inner_product(gammas[:, None], at[:, None], gammas, at)
    scale = 1 / np.sqrt(np.diag(gram))
    correlations = scale[:, None] * gram * scale
    condition = np.linalg.cond(correlations)
    if not condition < WORST_CONDITION:
        raise ValueError(
            f"{len(times)} profiles at {len(set(times))} times are too much alike to be combined (condition number "
            f"{condition:.0e}, at most {WORST_CONDITION:.0e}); track widths that differ more, such as 0.05 and 0.10"
        )
    is_snapshot = [(power, time) == (decay, t) for power, time in zip(tracked, times, strict=True)]
    if any(is_snapshot):
        # The solution is this snapshot alone; to solve for it would round, differently with every LAPACK.
        return Combination(np.array(is_snapshot, np.float64), 0.0)
    target = inner_products(decay, t, gammas, at)
    # Right-hand sides: the target profile, and the Lagrange multiplier of sum(x) = 1.
    solved = scale * np.linalg.solve(correlations, np.stack([scale * target, scale], axis=1)).T
    free, constraint = solved
    coefficients = free + constraint * (1 - free.sum()) / constraint.sum()
    norm = squared_norm(decay, t)
    squared_error = norm - 2 * coefficients @ target + coefficients @ gram @ coefficients
    return Combination(coefficients, math.sqrt(max(squared_error / norm, 0.0)))


def inner_product(gamma_a: ArrayLike, t_a: ArrayLike, gamma_b: ArrayLike, t_b: ArrayLike) -> Array:
    """(P5) Integral of the product of two power-function profiles, in closed form; arrays broadcast.

    With s the earlier of the two times, t the later one, and gamma_t the exponent that belongs to t:
    (gamma_a + 1) (gamma_b + 1) / (gamma_a + gamma_b + 1) * (s / t)^gamma_t / t. The ratio of times is
    taken in logarithms: it underflows to 0, as it should, and nothing overflows.
    """
    a, b = np.asarray(gamma_a, np.float64), np.asarray(gamma_b, np.float64)
    s, t = np.minimum(t_a, t_b).astype(np.float64), np.maximum(t_a, t_b).astype(np.float64)
    gamma_t = np.where(np.asarray(t_a) >= np.asarray(t_b), a, b)
    return (a + 1) * (b + 1) / (a + b + 1) * np.exp(gamma_t * (np.log(s) - np.log(t)) - np.log(t))


def inner_products(decay: Decay, t: float, gammas: Array, times: Array) -> Array:
    """Integrals of the profile of `decay` at time `t` times each power-function profile; `times` are at most `t`.

    (P5) for a power function. For a constant decay, with rate r = -ln(decay) and u = tau / s, (P8) gives
    r exp(-r (t - s)) / (1 - exp(-r t)) times the integral of (gamma + 1) u^gamma exp(-r s (1 - u)) over u from 0 to 1, and
    that is the mean of (gamma + 1) / (gamma + 1 + k) over a Poisson variable k of mean r s: a sum of positive terms.
    """
    if isinstance(decay, PowerDecay):
        return inner_product(decay.gamma, t, gammas, times)
    rate = -math.log(decay)
    means = [poisson_mean(gamma, rate * s) for gamma, s in zip(gammas, times, strict=True)]
    return rate * np.exp(-rate * (t - times)) / -math.expm1(-rate * t) * np.array(means)


def squared_norm(decay: Decay, t: float) -> float:
    """Integral of the squared profile of `decay` at time `t`: (P5), or (P9) r / 2 * coth(r t / 2)."""
    if isinstance(decay, PowerDecay):
        return float(inner_product(decay.gamma, t, decay.gamma, t))
    rate = -math.log(decay)
    return rate / 2 / math.tanh(rate * t / 2)


def width_of_constant(decay: float, t: float) -> float:
    """Relative width of (P8): with a = -t ln(decay), (1 / a^2 - 1 / (4 sinh(a / 2)^2))^(1/2).

    The standard deviation of an exponential cut at t, over t.
    """
    a = -t * math.log(decay)
    if a < 1e-2:  # the two terms cancel: the series around a plain mean
        return math.sqrt(1 / 12 - a**2 / 240)
    return math.sqrt(1 / a**2 - (0.25 / math.sinh(a / 2) ** 2 if a < 700 else 0.0))


def poisson_mean(gamma: float, mean: float) -> float:
    """Mean of (gamma + 1) / (gamma + 1 + k) over a Poisson variable k."""
    spread = 12 * math.sqrt(mean) + 40
    k = np.arange(max(0, math.floor(mean - spread)), math.ceil(mean + spread) + 1, dtype=np.float64)
    # Probabilities over that of the first k, from the ratio mean / k of each to the one before.
    logarithm = np.concatenate([[0.0], np.cumsum(math.log(mean) - np.log(k[1:]))])
    probability = np.exp(logarithm - logarithm.max())
    return float((gamma + 1) * np.sum(probability / (gamma + 1 + k)) / probability.sum())


class SnapshotAverages:
    """The snapshots of a run up to a step, and any average at the time of the last of them.

    Args:
        folder: `ema_snapshots` in the folder of a run.
        until: last optimizer step to include; None includes all.

    Attributes:
        snapshots: in the order of time.
        shapes: of the tensors of an average, by canonical key.
        step, updates, tracked: optimizer step, time and decays of the last snapshot.

    Raises:
        FileNotFoundError, ValueError: no snapshots, a truncated file, or files of different architectures.
    """

    def __init__(self, folder: str | Path, until: int | None = None) -> None:
        self.folder = Path(folder)
        listed = read_manifest(self.folder).snapshots
        self.snapshots = [s for s in listed if until is None or s.step <= until]
        if not self.snapshots:
            raise ValueError(
                f"{self.folder}: the first snapshot was taken at step {listed[0].step}, and the checkpoint at step {until}; "
                "set a later checkpoint, such as checkpoint=runs/DATE_TIME/checkpoints/last.ckpt"
            )
        last = self.snapshots[-1]
        self.step, self.updates, self.tracked = last.step, last.updates, last.decays
        self.shapes = shapes_in(self.folder, last)
        for snapshot in self.snapshots:
            if (shapes := shapes_in(self.folder, snapshot)) != self.shapes:
                key = sorted(key for key, _ in shapes.items() ^ self.shapes.items())[0]
                raise ValueError(
                    f"{self.folder}: {snapshot.file} and {last.file} are of two architectures, they differ in {key}; "
                    "set the folder of one run"
                )

    def closest(self, decay: Decay) -> Combination:
        """Coefficients, for the average of `decay`, of all averages in all snapshots: in order of time, then within a file.

        Raises:
            ValueError: the snapshots are too similar.
        """
        tracked = [power for snapshot in self.snapshots for power in snapshot.decays]
        times = [snapshot.updates for snapshot in self.snapshots for _ in snapshot.widths]
        return closest_combination(decay, self.updates, tracked, times)

    def close(self, decay: Decay) -> Combination:
        """`closest`, or ValueError where its fit error is above `WORST_FIT`."""
        combination = self.closest(decay)
        if combination.fit_error > WORST_FIT:
            raise ValueError(
                f"{decay_label(decay)}: {len(self.snapshots)} snapshots are too few to rebuild it, the closest profile is "
                f"{100 * combination.fit_error:.1f} % away (at most {100 * WORST_FIT:.0f} %); set one nearer to the tracked "
                f"{', '.join(map(decay_label, self.tracked))}, or train with callbacks.ema_snapshots.keep=64"
            )
        return combination

    def rebuild(self, combination: Combination) -> dict[str, Tensor]:
        """All averaged tensors of a combination, by canonical key: summed in float64, in float32 (or wider, as the model's)."""
        weights: dict[str, Tensor] = {}
        with ExitStack() as stack, torch.no_grad():
            opened = [
                (stack.enter_context(safe_open(self.folder / s.file, framework="pt")), width)
                for s in self.snapshots
                for width in s.widths
            ]
            for key in self.shapes:
                total = torch.zeros((), dtype=torch.float64)
                for (file, width), coefficient in zip(opened, combination.coefficients, strict=True):
                    tensor = file.get_tensor(f"{width}/{key}")
                    total = total + float(coefficient) * tensor.to(
                        torch.promote_types(tensor.dtype, torch.float64)
                    )
                weights[key] = total.to(torch.promote_types(tensor.dtype, torch.float32))
        return weights

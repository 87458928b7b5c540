"""Bootstrap over patches (Efron & Tibshirani 1993, chapter 13): how far a score would move with other patches.

One matrix of resamples serves every score of every method, which pairs them. `scipy.stats.bootstrap` draws anew for each
statistic, and gathers the resampled patches of each, where here a matrix product gives all resampled sums.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

LEVEL = 0.95


def resample_counts(patches: int, samples: int, seed: int) -> Array:
    """(S, P): how often each patch is drawn in each of S resamples of P patches with replacement.

    A resampled sum over patches is `counts @ sums`. Methods that share the counts are resampled in pairs, which makes the
    interval of their ratio narrow where the same patches are hard for both.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(patches, np.full(patches, 1 / patches), size=samples).astype(np.float64)


def percentile_interval(resampled: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """Lower and upper limit of the central `level` of (S, ...) resampled scores; NaN where any of them is undefined."""
    tail = 50 * (1 - level)
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    return low, high

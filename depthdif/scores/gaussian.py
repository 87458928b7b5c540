"""Of a Gaussian forecast: its distribution function and its continuous ranked probability score."""

from __future__ import annotations

import math

import numpy as np

_erf = np.frompyfunc(math.erf, 1, 1)


def gaussian_cdf(z: np.ndarray) -> np.ndarray:
    """Probability that a standard normal variable is at most z; any shape, float64."""
    return (1 + np.asarray(_erf(np.asarray(z, np.float64) / math.sqrt(2)), np.float64)) / 2


def gaussian_crps(error: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """CRPS of Gaussian forecasts, in the units given; the absolute error where the deviation is 0.

    Closed form of Gneiting & Raftery (2007, doi 10.1198/016214506000001437, section 4.2).

    Args:
        error: truth minus mean (or the other way round), any shape.
        deviation: standard deviation of the forecast, the same shape, at least 0.
    """
    error, deviation = np.asarray(error, np.float64), np.asarray(deviation, np.float64)
    z = np.divide(error, deviation, out=np.zeros_like(error), where=deviation > 0)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    score = deviation * (z * (2 * gaussian_cdf(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return np.where(deviation > 0, score, np.abs(error))

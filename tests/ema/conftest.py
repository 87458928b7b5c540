"""Parts that several tests of the averages need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

Nodes = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def quadrature() -> Callable[[float], Nodes]:
    """Gauss-Legendre nodes and weights on (0, t), in pieces that crowd towards both ends, where profiles are steep."""
    x, weight = np.polynomial.legendre.leggauss(24)
    halves = 0.5 ** np.arange(1, 24)
    edges = np.concatenate([[0.0], halves[::-1], 1 - halves[1:], [1.0]])
    low, high = edges[:-1, None], edges[1:, None]
    nodes, weights = ((low + high) / 2 + (high - low) / 2 * x).ravel(), ((high - low) / 2 * weight).ravel()
    return lambda t: (t * nodes, t * weights)

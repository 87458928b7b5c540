from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthdif.scores.gaussian import gaussian_cdf, gaussian_crps


@settings(max_examples=20)
@given(error=st.floats(-4, 4), deviation=st.floats(0.1, 3))
def test_the_closed_form_is_the_integral_that_defines_the_crps(error: float, deviation: float) -> None:
    x, step = np.linspace(-30, 30, 6_001, retstep=True)
    below = gaussian_cdf(x / deviation)
    integral = np.square(below - (x >= error)).sum() * step
    assert gaussian_crps(np.array(error), np.array(deviation)) == pytest.approx(integral, abs=1e-2)


def test_at_its_mean_a_gaussian_scores_what_is_in_the_books() -> None:
    expected = 2.5 * (math.sqrt(2) - 1) / math.sqrt(math.pi)
    assert gaussian_crps(np.zeros(3), np.full(3, 2.5)) == pytest.approx(expected)


def test_without_deviation_the_crps_is_the_absolute_error() -> None:
    assert gaussian_crps(np.array([-2.0, 0.0]), np.zeros(2)).tolist() == [2.0, 0.0]


def test_the_distribution_function_has_its_known_values() -> None:
    assert gaussian_cdf(np.array([0.0, 1.96, -1.96])) == pytest.approx([0.5, 0.975, 0.025], abs=1e-4)

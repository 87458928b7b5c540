from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from depthdif import EARTH_RADIUS, UserError
from depthdif.first_guess.covariance import Cells
from depthdif.first_guess.inverse_distance import InverseDistance, great_circle
from depthdif.first_guess.protocol import FirstGuess

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Estimate = Callable[[FirstGuess, Patch], tuple[np.ndarray, np.ndarray]]
AssertSame = Callable[..., None]


def cells(latitude: Sequence[float], longitude: Sequence[float]) -> Cells:
    """Cells of one grid, degrees."""
    none = torch.zeros(1, 0, len(latitude), len(longitude))
    return Cells.on_grid(torch.tensor(latitude)[None], torch.tensor(longitude)[None], none, none.bool())


def test_inverse_distance_weighs_by_great_circle_distance(single_row: MakePatch, estimate: Estimate) -> None:
    guess, variance = estimate(
        InverseDistance(power=2), single_row({0: 1.0, 3: -2.0}, latitude=50.0, step=3.0)
    )
    near, far = great_circle(cells([50.0], [0.0, 9.0]), cells([50.0], 3.0 * np.arange(9)))[0].tolist()
    expected = (near[2] ** -2 - 2 * far[2] ** -2) / (near[2] ** -2 + far[2] ** -2)
    assert guess[0, 0, 2] == pytest.approx(expected, rel=1e-5)
    # Each of the two is estimated by the other: both errors are 3.
    assert variance[0, 0, 2] == pytest.approx(9.0)


def test_inverse_distance_of_one_observation_is_that_observation_everywhere(
    single_row: MakePatch, estimate: Estimate
) -> None:
    guess, variance = estimate(InverseDistance(), single_row({4: 1.25}))
    np.testing.assert_allclose(guess, 1.25)
    np.testing.assert_array_equal(variance[0, 0], [1, 1, 1, 1, 0, 1, 1, 1, 1])


def test_a_quarter_of_a_meridian_is_10008_km() -> None:
    distance = great_circle(cells([0.0], [7.0]), cells([90.0], [7.0]))
    assert distance.item() == pytest.approx(math.pi / 2 * EARTH_RADIUS)


def test_inverse_distance_refuses_a_power_that_does_not_fall() -> None:
    with pytest.raises(UserError, match=r"model.first_guess.power=0; expected a number above 0"):
        InverseDistance(power=0)

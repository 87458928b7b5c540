from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthdif.first_guess.covariance import Cells, fill_surface, powered_exponential


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), nugget=st.floats(0, 1), covariance=st.floats(0.5, 2))
def test_covariances_are_positive_definite_and_at_most_one(
    seed: int, nugget: float, covariance: float
) -> None:
    generator = np.random.default_rng(seed)
    cells = Cells(
        torch.tensor(generator.uniform(-np.pi / 2, np.pi / 2, (1, 40, 1))),
        torch.tensor(generator.uniform(0, 2 * np.pi, (1, 40, 1))),
        torch.tensor(generator.normal(size=(1, 2, 40, 1))),
    )
    scales = torch.tensor([2.0, np.inf], dtype=torch.float64)
    (correlation,) = powered_exponential(
        cells, cells, torch.arange(40)[None], covariance, 3000.0, 9000.0, scales
    ).numpy()
    np.testing.assert_allclose(np.diag(correlation), 1)
    assert correlation.min() >= 0
    assert correlation.max() <= 1 + 1e-12
    assert np.linalg.eigvalsh(correlation).min() > -1e-10


def test_a_gap_in_the_surface_takes_the_values_around_it() -> None:
    surface, mask = torch.zeros(1, 5, 5), torch.ones(1, 5, 5, dtype=torch.bool)
    surface[0, :, :2], surface[0, :, 3:] = 4.0, 2.0
    mask[0, :, 2] = False
    filled = fill_surface(surface, mask)
    np.testing.assert_allclose(filled[0, :, 2], 3.0)
    np.testing.assert_array_equal(filled[mask], surface[mask])
    assert not fill_surface(surface, torch.zeros_like(mask)).any()


def test_a_gap_at_the_seam_of_a_domain_that_wraps_takes_the_values_of_both_sides() -> None:
    surface, mask = torch.zeros(1, 3, 7), torch.ones(1, 3, 7, dtype=torch.bool)
    surface[0, :, 1:4], surface[0, :, 4:] = 4.0, 2.0
    mask[0, :, 0] = False
    np.testing.assert_allclose(fill_surface(surface, mask, wraps=True)[0, :, 0], 3.0)
    assert (fill_surface(surface, mask)[0, :, 0] > 3.1).all()

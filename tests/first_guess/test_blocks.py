from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthdif import EARTH_RADIUS
from depthdif.first_guess.blocks import Blocks
from depthdif.first_guess.covariance import Cells


def grid(latitude: np.ndarray, longitude: np.ndarray) -> Cells:
    """Cells of one grid, degrees, without surface fields."""
    none = torch.zeros(1, 0, len(latitude), len(longitude))
    return Cells.on_grid(
        torch.from_numpy(latitude)[None], torch.from_numpy(longitude)[None], none, none.bool()
    )


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    side=st.integers(1, 12),
    wraps=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_weights_of_the_blocks_of_an_ocean_cell_sum_to_one(
    height: int, width: int, side: int, wraps: bool, seed: int
) -> None:
    ocean = torch.from_numpy(np.random.default_rng(seed).random((height, width)) < 0.1)
    domain = grid(np.linspace(-20, 20, height), np.arange(width) * 360 / width)
    blocks = Blocks.cover(domain, ocean, side, 360.0 if wraps else None)
    total = torch.zeros(1, height, width, dtype=torch.float64)
    blocks.add(total, torch.ones(len(blocks), 1, blocks.rows.shape[1] * blocks.columns.shape[1]))
    np.testing.assert_allclose(total[0][ocean], 1, rtol=1e-12)


def test_every_cell_of_a_block_knows_its_place_also_across_the_seam() -> None:
    domain = grid(np.linspace(-20, 20, 9), np.arange(12) * 1.5)
    blocks = Blocks.cover(domain, torch.ones(9, 12, dtype=torch.bool), 4, 18.0)
    index = (blocks.rows[:, :, None] * 12 + blocks.columns[:, None]).flatten(1)
    assert (index.diff(dim=1) < 0).any()
    np.testing.assert_array_equal(blocks.place(index, 12), np.arange(16) + np.zeros((len(blocks), 1)))
    everywhere = blocks.place(torch.arange(9 * 12).expand(len(blocks), -1), 12)
    assert (everywhere >= 0).sum() == 16 * len(blocks)
    # Longitudes go on where columns start again.
    np.testing.assert_allclose(blocks.longitude.diff(dim=1), math.radians(1.5))


def test_the_profiles_of_a_block_are_those_nearest_to_it() -> None:
    # Blocks of 2 columns of 1 degree, on a channel of 10 degrees along the equator.
    domain = grid(np.zeros(1), np.arange(10.0))
    blocks = Blocks.cover(domain, torch.ones(1, 10, dtype=torch.bool), 2, 10.0)
    profiles = domain.take(torch.tensor([[9, 3, 7]]))
    numbers, squared = blocks.nearest(profiles, (1.0, 1.0), 1)
    first = blocks.columns[:, 0].tolist()
    # Columns 0 and 1 lie one degree from column 9, across the seam.
    expected = {0: 0, 1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 2, 8: 0, 9: 0}
    assert dict(zip(first, numbers[:, 0].tolist(), strict=True)) == expected
    distance = dict(zip(first, squared[:, 0].tolist(), strict=True))
    one, from_centre, inside = (
        2 * EARTH_RADIUS * math.sin(math.radians(degrees) / 2) for degrees in (1, 1.5, 0.5)
    )
    assert distance[0] == pytest.approx(one**2 + 0.01 * from_centre**2)
    assert distance[8] == pytest.approx(0.01 * inside**2)

from __future__ import annotations

import numpy as np
import pytest

from depthdif.evaluation.map_figure import covered
from depthdif.evaluation.tally import Grid, Tally

GRID = Grid(
    np.arange(-10.0, 10, 2),
    np.arange(0.0, 360, 30),
    np.ones((10, 12), bool),
    thickness=np.ones(1),
    scale=1.0,
    spectra=None,
)


@pytest.mark.parametrize(
    ("touched", "shown"),
    [
        ([2, 3, 5], [2, 3, 4, 5]),
        ([0, 1, 11], [11, 0, 1]),
        ([7], [7]),
        (list(range(12)), list(range(12))),
    ],
)
def test_a_map_shows_what_the_patches_touch_in_one_piece(touched: list[int], shown: list[int]) -> None:
    tally = Tally(GRID)
    tally.map_count[3:5, touched] = 1
    columns, rows = covered(tally)
    assert columns.tolist() == shown
    assert rows == slice(3, 5)

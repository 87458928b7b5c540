from __future__ import annotations

import pytest

from depthdif.evaluation.table import against_oi, cell, digits
from depthdif.scores.score import Score


@pytest.mark.parametrize(
    ("value", "written"), [(0.8374, "0.837"), (-0.0384, "-0.038"), (12.3456, "12.35"), (1234.6, "1235")]
)
def test_numbers_have_the_digits_that_a_reader_needs(value: float, written: str) -> None:
    assert digits(value) == written


def test_a_cell_shows_its_interval_where_there_is_one() -> None:
    scores = {"rmse": Score(0.5, 0.4, 0.6), "mae": Score(0.3), "rmse_ratio": Score(1.0, 1.0, 1.0)}
    assert cell(scores, "rmse", interval=True) == "0.500 (0.400, 0.600)"
    assert cell(scores, "rmse", interval=False) == "0.500"
    assert cell(scores, "mae", interval=True) == "0.300"
    assert cell(scores, "rmse_ratio", interval=True) == "1.000"
    assert cell(scores, "crps", interval=True) == ""


def test_better_means_that_the_whole_interval_of_the_ratio_is_below_one() -> None:
    scores = {"rmse_ratio": Score(0.9, 0.8, 1.02), "crps_ratio": Score(0.7, 0.6, 0.8)}
    rmse, crps = against_oi(scores)
    assert (
        rmse == "RMSE 0.900 of OI's, 95 % interval (0.800, 1.020): no difference that these patches can show."
    )
    assert crps == "CRPS 0.700 of OI's, 95 % interval (0.600, 0.800): better."

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from depthdif import EARTH_RADIUS, UserError
from depthdif.data.anomalies import SimulatedAnomalies, gradients
from depthdif.data.dataset import Conditioner, PatchCutter
from depthdif.data.normalization import Standardization
from depthdif.data.patches import Patch
from depthdif.data.profiles import ProfileSampler
from depthdif.data.synthetic import synthetic_field

DEPTHS = np.array([0.0, 100.0, 300.0])
LATITUDE, LONGITUDE = np.arange(-7.0, 8.0, 2), np.arange(0.0, 40.0, 2)
DEGREE = np.deg2rad(1) * EARTH_RADIUS
# 0.1 degC per metre of depth, 1 degC per degree northwards, -0.5 degC per degree eastwards.
LINEAR = 0.1 * DEPTHS[:, None, None] + LATITUDE[:, None] - 0.5 * LONGITUDE
STILL = {"vertical": 0.0, "horizontal": 0.0, "remainder": 0.0, "strength": (1.0, 1.0), "unresolved": 0.0}


def draws(
    count: int = 400, climatology: np.ndarray = LINEAR, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Anomalies of cells and what observations have beyond them, (count, D, H, W) each."""
    make, generator = SimulatedAnomalies(**{**STILL, **options}), np.random.default_rng(0)
    made = [make(climatology, DEPTHS, LATITUDE, LONGITUDE, generator) for _ in range(count)]
    resolved, unresolved = (np.stack(part) for part in zip(*made, strict=True))
    return resolved, unresolved


def test_gradients_of_a_linear_field_are_its_slopes_and_0_beside_missing_cells() -> None:
    field = LINEAR.copy()
    field[0, 0, 0] = np.nan
    down, north, east = gradients(field, DEPTHS, LATITUDE, LONGITUDE)
    np.testing.assert_allclose(down[1:, 2:, 2:], 0.1)
    np.testing.assert_allclose(north[1:], 1 / DEGREE)
    shrink = np.cos(np.deg2rad(LATITUDE))[:, None]
    np.testing.assert_allclose(east[1:], np.broadcast_to(-0.5 / (DEGREE * shrink), east[1:].shape))
    assert down[0, 0, 0] == 0
    assert north[0, 1, 0] == 0


def test_the_variance_is_that_of_the_displacements_times_the_gradients() -> None:
    for options, expected in (
        ({"vertical": 20.0}, 2.0),
        ({"horizontal": 180.0}, 180 / DEGREE * np.sqrt(1 + 0.25)),
        ({"remainder": 0.8, "remainder_depth": 1e9}, 0.8),
        ({"remainder": 0.8, "remainder_depth": 1e9, "strength": (3.0, 3.0)}, 2.4),
    ):
        # Short scales, which average out in a few patches.
        resolved, unresolved = draws(**options, scales=(50.0, 150.0))  # type: ignore[arg-type]
        np.testing.assert_allclose(resolved.std(), expected, rtol=0.05)
        assert not unresolved.any()


def test_a_share_of_the_variance_is_not_resolved_and_hardly_correlated_between_cells() -> None:
    resolved, unresolved = draws(
        remainder=1.0, remainder_depth=1e9, scales=(100.0, 200.0), unresolved=0.4, zonal_stretch=1.0
    )
    np.testing.assert_allclose([resolved.var(), unresolved.var()], [0.6, 0.4], rtol=0.1)
    neighbours = [(field[..., 1:] * field[..., :-1]).mean() / field.var() for field in (resolved, unresolved)]
    # Neighbours are 220 km apart; 15 to 100 km are the unresolved scales.
    assert neighbours[1] < 0.05 < neighbours[0]


@pytest.mark.parametrize("stretch", [1.0, 2.0])
def test_the_correlation_falls_with_the_scale_and_slower_along_a_parallel(stretch: float) -> None:
    resolved, _ = draws(
        2000, remainder=1.0, remainder_depth=1e9, scales=(500.0, 500.0), zonal_stretch=stretch
    )
    field = resolved[:, 0]
    for cells in (1, 2, 3):
        north = np.deg2rad(2 * cells) * EARTH_RADIUS
        east = north * np.cos(np.deg2rad(LATITUDE[3])) / stretch
        along = (field[:, 3, cells:] * field[:, 3, :-cells]).mean() / field.var()
        across = (field[:, cells:] * field[:, :-cells]).mean() / field.var()
        np.testing.assert_allclose(along, np.exp(-((east / 500) ** 2) / 2), atol=0.06)
        np.testing.assert_allclose(across, np.exp(-((north / 500) ** 2) / 2), atol=0.06)


def test_anomalies_are_0_on_land_and_decay_with_depth() -> None:
    climatology = LINEAR.copy()
    climatology[:, 0] = np.nan
    resolved, unresolved = draws(
        climatology=climatology, remainder=1.0, remainder_depth=100.0, unresolved=0.3
    )
    assert not resolved[:, :, 0].any()
    assert not unresolved[:, :, 0].any()
    ratio = resolved[:, 2, 1:].std() / resolved[:, 0, 1:].std()
    np.testing.assert_allclose(ratio, np.exp(-3), rtol=0.15)


def test_a_sample_has_anomalies_in_its_target_and_observations_of_a_point() -> None:
    field = synthetic_field(times=1, depths=3, height=18, width=36)
    unit = Standardization(*(np.full(3, value) for value in (0.0, 1.0, 0.0, 1.0)))
    surface = Standardization(*(np.full(1, value) for value in (0.0, 1.0, 0.0, 1.0)))
    cells: dict[float, np.ndarray] = {}
    for unresolved in (0.0, 0.5):
        anomalies = SimulatedAnomalies(unresolved=unresolved)
        cutter = PatchCutter(field, (16, 16), Conditioner(unit, surface), anomalies)
        patch = Patch(0, 0, 0)
        samples = [
            cutter.sample(patch, cutter.read(patch), ProfileSampler(0.5), np.random.default_rng(seed), 0)
            for seed in (1, 1, 2)
        ]
        first, again, other = samples
        assert np.array_equal(first["target"], again["target"])
        assert not np.array_equal(first["target"], other["target"])
        mask = first["observed_mask"]
        cells[unresolved] = np.abs(first["observations"] - first["target"])[mask]
    assert cells[0.0].max() == 0
    assert cells[0.5].mean() > 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"vertical": -1.0},
        {"unresolved": 1.0},
        {"scales": (10.0, 5.0)},
        {"strength": (0.0, 1.0)},
        {"remainder_depth": 0.0},
    ],
)
def test_values_out_of_range_are_refused_with_an_example(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"data.anomalies.{next(iter(wrong))}=.* such as data.anomalies"):
        SimulatedAnomalies(**wrong)

"""Surface variables that are missing in training at random, and in validation by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from depthdif import UserError
from depthdif.data.datamodule import OceanDataModule
from depthdif.data.field import OceanField
from depthdif.data.patches import TimeRange
from depthdif.data.surface_dropout import check_missing, dropout_of
from depthdif.data.synthetic import synthetic_field
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation

DENSE = synthetic_field(times=4, depths=3, height=16, width=32, missing_surface=0.0)
ZOS: xr.DataArray = DENSE.target[:, 1].drop_vars("depth").rename("zos").assign_attrs(units="m")
FIELD = OceanField(DENSE.target, (DENSE.surface[0], ZOS), surface_offsets=(0, -1))
OI = OptimalInterpolation(1000.0, 2000.0, [1.0] * 4, 0.01, regressions=True)


def data_of(**options: Any) -> OceanDataModule:
    chosen: dict[str, Any] = {
        "field": FIELD, "validation": TimeRange("2000-04", "2000-04"), "patch_size": 8, "batch_size": 2,
        "patches_per_epoch": 4, "validation_patches": 4,
    }  # fmt: skip
    data = OceanDataModule(**{**chosen, **options})
    data.setup("fit")
    return data


def test_without_dropout_the_samples_are_the_same_bit_for_bit() -> None:
    plain, off = (data_of(**options)._training_samples(data_of().statistics.conditioner(), 8)
                  for options in ({}, {"surface_dropout": 0.0}))  # fmt: skip
    for number in range(8):
        assert all(np.array_equal(plain[number][name], off[number][name]) for name in plain[number])


def test_a_variable_is_dropped_with_all_its_offsets_and_nothing_else_changes() -> None:
    plain, dropped = data_of(), data_of(surface_dropout=[0.5, 0.0])
    conditioner = plain.statistics.conditioner()
    samples = [data._training_samples(conditioner, 200) for data in (plain, dropped)]
    gone = 0
    for number in range(200):
        first, second = samples[0][number], samples[1][number]
        for name in ("target", "observations", "ocean_mask", "latitude"):
            np.testing.assert_array_equal(first[name], second[name])
        # Channels: sst, zos, and both of the snapshot before.
        np.testing.assert_array_equal(first["surface_mask"][1::2], second["surface_mask"][1::2])
        if not second["surface_mask"][::2].any():
            assert (second["surface"][::2] == 0).all()
            gone += 1
        else:
            np.testing.assert_array_equal(first["surface_mask"], second["surface_mask"])
    # 200 draws of probability 1/2: 5 standard errors are 35.
    assert abs(gone - 100) < 35


def test_statistics_of_fields_and_regressions_are_measured_without_dropout() -> None:
    plain, dropped = (data_of(first_guess=OI, surface_dropout=share).statistics for share in (0.0, 0.5))
    assert plain.regressions is not None
    assert dropped.regressions is not None
    for name, values in vars(plain.regressions).items():
        np.testing.assert_array_equal(values, vars(dropped.regressions)[name])
    np.testing.assert_array_equal(plain.surface_standardization.mean, dropped.surface_standardization.mean)
    assert plain.residual is not None
    assert dropped.residual is not None
    # What the network sees has less surface to know from.
    assert np.mean(dropped.residual.std) > np.mean(plain.residual.std)


def test_validation_without_a_variable_has_the_regression_on_the_others() -> None:
    whole, without = data_of(first_guess=OI), data_of(first_guess=OI, surface_missing=["sst"])
    first, second = whole.validation_samples()[0], without.validation_samples()[0]
    assert not second["surface_mask"][::2].any()
    np.testing.assert_array_equal(first["surface_mask"][1::2], second["surface_mask"][1::2])
    assert (second["surface_slopes"][:, ::2] == 0).all()
    assert not np.array_equal(first["surface_slopes"], second["surface_slopes"])
    np.testing.assert_array_equal(first["target"], second["target"])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (1.0, r"data\.surface_dropout=1\.0; expected probabilities from 0 to below 1"),
        ([0.1, -0.1], r"expected probabilities from 0 to below 1"),
        ([0.1], r"data\.surface_dropout=\[0\.1\] for the surface variables sst, zos"),
    ],
)
def test_a_wrong_probability_is_refused(setting: float | list[float], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        dropout_of(["sst", "zos"], setting)


def test_an_unknown_variable_cannot_be_missing() -> None:
    with pytest.raises(
        UserError, match=r"data\.surface_missing=\[sss\]; expected surface variables of the data: sst, zos"
    ):
        check_missing(["sst", "zos"], ["sss", "sst"])

"""Several target variables: their channels, and how a field, its statistics and its profiles hold them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from depthdif import UserError
from depthdif.data.field import OceanField, open_field
from depthdif.data.normalization import residual_statistics
from depthdif.data.profiles import ProfileSampler
from depthdif.data.synthetic import synthetic_field
from depthdif.data.variables import Variable, channels_of, deviation, part_of_batch

MakeDataset = Callable[..., xr.Dataset]
OCEAN = np.ones((6, 20, 20), bool)


def with_salinity(dataset: xr.Dataset) -> xr.Dataset:
    salinity = (dataset["temperature"] * 0 + 35).assign_attrs(
        standard_name="sea_water_practical_salinity", units="1"
    )
    return dataset.assign(salinity=salinity)


def test_channels_are_the_depths_of_the_first_variable_then_of_the_next() -> None:
    field = synthetic_field(times=1, depths=3, height=8, width=8, salinity=True)
    assert [variable.name for variable in field.variables] == ["temperature", "salinity"]
    assert (field.channels, channels_of(0, 3), channels_of(1, 3)) == (6, slice(0, 3), slice(3, 6))


def test_part_of_a_batch_has_the_channels_of_a_variable_and_all_else() -> None:
    batch = {
        "target": torch.arange(4.0).reshape(1, 4, 1, 1),
        "surface": torch.zeros(1, 1, 1, 1),
        "level_covariance": torch.arange(16.0).reshape(1, 4, 4),
    }
    part = part_of_batch(batch, channels_of(1, 2))
    assert part["target"].flatten().tolist() == [2, 3]
    assert part["level_covariance"].tolist() == [[[10, 11], [14, 15]]]
    assert part["surface"] is batch["surface"]


def test_a_variable_without_attributes_has_empty_ones() -> None:
    assert Variable.of(xr.DataArray([0.0], name="so")) == Variable("so", "", "")


def test_deviation_of_equal_deviations_is_that_deviation() -> None:
    assert deviation(np.full(5, 3.0)) == pytest.approx(3)


def test_variables_are_read_by_name_or_standard_name_in_the_order_given(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    with_salinity(make_dataset()).to_netcdf(tmp_path / "ocean.nc")
    field = open_field(tmp_path / "ocean.nc", ["sea_water_practical_salinity", "temperature"])
    assert field.variables == (
        Variable("salinity", "1", "sea_water_practical_salinity"),
        Variable("temperature", "degree_Celsius", "sea_water_temperature"),
    )
    assert field.load().further[0].dtype == np.float32


def test_a_variable_that_the_file_lacks_is_named(make_dataset: MakeDataset, tmp_path: Path) -> None:
    make_dataset().to_netcdf(tmp_path / "ocean.nc")
    with pytest.raises(UserError, match="salinity") as error:
        open_field(tmp_path / "ocean.nc", ["temperature", "salinity"])
    assert "\n" not in str(error.value)


def test_no_variable_and_one_given_twice_are_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    make_dataset().to_netcdf(tmp_path / "ocean.nc")
    with pytest.raises(UserError, match=r"data\.variable=\[\]; expected a variable or several"):
        open_field(tmp_path / "ocean.nc", [])
    with pytest.raises(UserError, match=r"data\.variable=\[temperature,temperature\] names a variable twice"):
        open_field(tmp_path / "ocean.nc", ["temperature", "sea_water_temperature"])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (lambda salinity: salinity.isel(time=slice(2)), "times of variable 'salinity'"),
        (lambda salinity: salinity.isel(depth=slice(2)), "another grid than 'temperature': depth"),
        (lambda salinity: salinity.isel(latitude=slice(4)), "another grid than 'temperature': latitude"),
        (
            lambda salinity: salinity.assign_coords(longitude=salinity["longitude"] + 1),
            "another grid than 'temperature': longitude",
        ),
    ],
    ids=["times", "depths", "latitudes", "longitudes"],
)
def test_a_variable_of_other_times_or_another_grid_is_refused(
    make_dataset: MakeDataset, other: Callable[[xr.DataArray], xr.DataArray], expected: str
) -> None:
    dataset = with_salinity(make_dataset())
    with pytest.raises(UserError, match=expected) as error:
        OceanField(dataset["temperature"], further=(other(dataset["salinity"]),))
    assert "\n" not in str(error.value)


def test_profiles_of_one_variable_are_those_of_several_that_all_are_measured() -> None:
    sampler = ProfileSampler(0.1, 0.3, 0.3, 0.3)
    one = sampler.sample(OCEAN, np.random.default_rng(1))
    both = sampler.sample(np.concatenate([OCEAN, OCEAN]), np.random.default_rng(1), variables=2)
    assert (both == np.concatenate([one, one])).all()


def test_a_share_of_the_profiles_measures_each_variable_and_every_profile_one() -> None:
    sampler = ProfileSampler(1.0, 0.0, variable_fraction=[0.8, 0.5])
    generator = np.random.default_rng(0)
    seen = np.stack([sampler.sample(np.ones((4, 30, 30), bool), generator, 2)[::2] for _ in range(20)], 1)
    temperature, salinity = seen.reshape(2, -1)
    assert (temperature | salinity).all()
    # Those that would measure none, 0.2 times 0.5 of them, measure one of the two. 18000 profiles: 5 standard errors.
    assert abs(temperature.mean() - (0.8 + 0.05)) < 5 * 0.5 / np.sqrt(18000)
    assert abs(salinity.mean() - (0.5 + 0.05)) < 5 * 0.5 / np.sqrt(18000)


def test_a_profile_where_one_variable_is_no_ocean_measures_the_other() -> None:
    ocean = np.ones((4, 5, 5), bool)
    ocean[:2] = False
    seen = ProfileSampler(1.0, 0.0, variable_fraction=0.01).sample(ocean, np.random.default_rng(0), 2)
    assert not seen[:2].any()
    assert seen[2:].all()


def test_errors_of_the_observations_are_those_of_each_variable() -> None:
    target = np.zeros((2, 100, 100), np.float32)
    observed = ProfileSampler(1.0, 0.0, error=[0.5, 0.0]).observe(target, np.random.default_rng(0), 2)
    # 10000 draws: the standard error of a standard deviation is 0.7 %.
    assert np.std(observed[0]) == pytest.approx(0.5, rel=0.05)
    assert (observed[1] == 0).all()


@pytest.mark.parametrize("setting", ["error", "variable_fraction"])
def test_settings_for_another_number_of_variables_are_refused(setting: str) -> None:
    sampler = ProfileSampler(**{setting: [0.1, 0.1, 0.1]})
    with pytest.raises(
        UserError,
        match=rf"data\.profiles\.{setting}=\[0\.1, 0\.1, 0\.1\] for 2 variables; expected one number",
    ):
        sampler.observe(np.zeros((2, 4, 4), np.float32), np.random.default_rng(0), 2)


@pytest.mark.parametrize("share", [0, 1.5, [1, 0]])
def test_a_share_of_no_profile_is_refused(share: float | list[float]) -> None:
    with pytest.raises(UserError, match=r"data\.profiles\.variable_fraction=.*expected shares above 0"):
        ProfileSampler(variable_fraction=share)


def test_the_surface_is_regressed_on_the_first_guess_of_all_variables() -> None:
    generator = torch.Generator().manual_seed(0)
    guess = torch.randn(4, 4, 8, 8, generator=generator)
    everywhere = torch.ones_like(guess, dtype=torch.bool)
    batch = {
        "target": guess + 0.5,
        "first_guess": guess,
        **dict.fromkeys(("ocean_mask", "target_mask"), everywhere),
        "observed_mask": ~everywhere,
        # Channels 0 and 2 are the shallowest depths of the two variables.
        "surface": 1 + 2 * guess[:, :1] - 3 * guess[:, 2:3],
        "surface_mask": everywhere[:, :1],
    }
    statistics = residual_statistics([batch], variables=2)
    np.testing.assert_allclose(statistics.surface_slope, [[2, -3]], rtol=1e-5)
    np.testing.assert_allclose(statistics.surface_intercept, [1], rtol=1e-5)
    np.testing.assert_allclose(statistics.std, 0.5, rtol=1e-6)

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from depthdif import UserError
from depthdif.data import normalization
from depthdif.data.field import OceanField
from depthdif.data.normalization import Standardization, measure
from depthdif.data.patches import Box, Selection
from depthdif.data.synthetic import synthetic_field

MakeField = Callable[..., OceanField]


def everywhere(field: OceanField) -> Selection:
    return Box().select(field)


@pytest.mark.parametrize("band_bytes", [1, 500, 2**26])
def test_statistics_are_those_of_the_defined_cells_of_the_region(
    monkeypatch: pytest.MonkeyPatch, band_bytes: int
) -> None:
    monkeypatch.setattr(normalization, "_BAND_BYTES", band_bytes)
    field = synthetic_field(times=3, depths=4, height=10, width=20)
    region = Box((-100, 60), (-40, 90)).select(field)
    measured = measure(field.target, region, max_times=100)
    for depth in range(4):
        values = field.target.values[:, depth][:, region.cells].astype(np.float64)
        values = values[np.isfinite(values)]
        assert values.size < 3 * region.cells.sum()
        np.testing.assert_allclose(measured.mean[depth], values.mean(), rtol=1e-12)
        np.testing.assert_allclose(measured.std[depth], values.std(), rtol=1e-12)
        assert (measured.minimum[depth], measured.maximum[depth]) == (values.min(), values.max())


def test_values_outside_the_region_do_not_count(make_field: MakeField) -> None:
    field = make_field()
    region = Box((0, 90)).select(field)
    poisoned = field.target.where(field.target.longitude > 0, 1e6)
    np.testing.assert_array_equal(measure(poisoned, region, 9).mean, measure(field.target, region, 9).mean)


def test_large_offset_does_not_cost_precision() -> None:
    field = synthetic_field(times=2, depths=2, height=10, width=20)
    shifted = field.target.astype(np.float64) + 1e6
    np.testing.assert_allclose(
        measure(shifted, everywhere(field), 9).std, measure(field.target, everywhere(field), 9).std, rtol=1e-6
    )


def test_bounded_number_of_times_is_evenly_spaced(make_field: MakeField) -> None:
    field = make_field(times=11, depths=2)
    chosen = field.target.values[[0, 5, 10]]
    np.testing.assert_allclose(
        measure(field.target, everywhere(field), max_times=3).mean, chosen.mean((0, 2, 3)), rtol=1e-6
    )


def test_surface_variable_is_one_channel(make_field: MakeField) -> None:
    field = make_field()
    measured = measure(field.surface[0], everywhere(field), 9)
    np.testing.assert_allclose(measured.mean, [field.surface[0].values.mean()])


@given(
    mean=st.floats(-50, 50),
    std=st.floats(0.01, 20),
    values=st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4),
)
def test_restore_inverts_standardize_in_numpy_and_torch(mean: float, std: float, values: list[float]) -> None:
    channels = [np.array([mean, 0.0]), np.array([std, 1.0]), np.zeros(2), np.ones(2)]
    standardization = Standardization(*channels)
    array = np.array(values, np.float32).reshape(1, 2, 2, 1)
    there = standardization.standardize(array)
    assert there.dtype == np.float32
    np.testing.assert_allclose(there[:, 0], (array[:, 0] - mean) / std, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(standardization.restore(there), array, rtol=1e-4, atol=1e-4)
    tensor = standardization.standardize(torch.from_numpy(array))
    np.testing.assert_allclose(tensor.numpy(), there, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(standardization.restore(tensor).numpy(), array, rtol=1e-4, atol=1e-4)


def test_half_precision_is_restored_in_float32() -> None:
    standardization = Standardization(np.array([20.0]), np.array([0.01]), np.array([0.0]), np.array([1.0]))
    restored = standardization.restore(torch.ones(1, 1, 1, 1, dtype=torch.bfloat16))
    assert restored.dtype == torch.float32
    assert restored.item() == pytest.approx(20.01)


def test_channel_that_does_not_vary_is_only_shifted(make_field: MakeField) -> None:
    field = make_field(depths=2)
    constant = field.target.where(field.target.depth > 0, 7.0)
    measured = measure(constant, everywhere(field), 9)
    assert measured.std[0] == 0
    standardized = measured.standardize(constant.values)
    assert (standardized[:, 0] == 0).all()
    np.testing.assert_allclose(measured.restore(standardized), constant.values, rtol=1e-5)


def test_state_survives_a_weights_only_load() -> None:
    field = synthetic_field(times=2, depths=3, height=10, width=20)
    measured = measure(field.target, everywhere(field), 9)
    file = io.BytesIO()
    torch.save(measured.state_dict(), file)
    file.seek(0)
    loaded = Standardization.from_state_dict(torch.load(file, weights_only=True))
    for name in ("mean", "std", "minimum", "maximum"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(measured, name))


def test_joined_channels_keep_their_order() -> None:
    parts = [Standardization(*np.full((4, 1), value)) for value in (1.0, 2.0)]
    np.testing.assert_array_equal(Standardization.join(parts).mean, [1, 2])
    assert Standardization.join([]).mean.shape == (0,)


def test_depth_never_defined_in_the_region_is_refused(make_field: MakeField) -> None:
    field = make_field()  # depths 0, 10, 20, 30 m
    basin = field.target.where((field.target.depth < 15) | (field.target.longitude < 0))
    with pytest.raises(UserError, match="never defined at 20 m in the training region") as error:
        measure(basin, Box((0, 90)).select(field), 9)
    assert "data.max_depth=10" in str(error.value)
    assert "\n" not in str(error.value)


def test_surface_never_defined_in_the_region_is_refused(make_field: MakeField) -> None:
    field = make_field()
    with pytest.raises(UserError, match="'sst' is never defined in the training region"):
        measure(field.surface[0] * np.nan, everywhere(field), 9)


@pytest.mark.parametrize("fill", [1e20, 9.96921e36, np.inf])
def test_fill_value_that_the_file_does_not_declare_is_refused(make_field: MakeField, fill: float) -> None:
    field = make_field()
    filled: xr.DataArray = field.target.where(field.target.longitude < 0, fill)
    with pytest.raises(UserError, match="looks like a fill value") as error:
        measure(filled, everywhere(field), 9)
    assert "\n" not in str(error.value)

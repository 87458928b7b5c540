"""The output of a prediction follows CF-1.11: the checker finds nothing, and units, bounds and chunks are as they should be."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from compliance_checker.suite import CheckSuite
from hypothesis import given
from hypothesis import strategies as st

from depthdif.data.variables import Variable
from depthdif.diffusion.ensemble import Ensemble
from depthdif.prediction.cf_metadata import cell_bounds, coordinates, provenance, variables
from depthdif.prediction.grid import Grid
from depthdif.prediction.output_plan import OutputPlan
from depthdif.prediction.store import PredictionStore

PROVENANCE = {"source": "depthdif", "history": "2016-01-01T00:00:00Z predict.py"}


@pytest.fixture
def plan(tmp_path: Path) -> OutputPlan:
    grid = Grid(
        latitude=np.array([-89.0, 0, 89]),
        longitude=np.array([178.0, 180, 182, 184]),
        depths=np.array([5.0, 10]),
        ocean_mask=np.arange(24).reshape(2, 3, 4) % 5 > 0,
        rows=np.arange(3),
        columns=np.arange(4),
        period=360.0,
        wraps=False,
    )
    return OutputPlan(
        path=tmp_path / "ocean.nc",
        variables=(Variable("thetao", "degC", "sea_water_potential_temperature"),),
        grid=grid,
        times=np.array(["2016-01-01", "2016-01-08"], "datetime64[s]"),
        variants=("ema",),
        ensemble_size=2,
        spread=True,
        quantiles=(),
        members=False,
        first_guess=True,
        attributes=PROVENANCE,
        identity={"seed": 0},
    )


SALINITY = Variable("so", "1", "sea_water_practical_salinity")

CASES: dict[str, Mapping[str, Any]] = {
    "one variant": {},
    "two variants": {"variants": ("standard", "ema_0.99")},
    "quantiles and members": {"quantiles": (0.05, 0.95), "members": True},
    "two variants with all": {"variants": ("standard", "ema"), "quantiles": (0.5,), "members": True},
    "one member without first guess": {"ensemble_size": 1, "spread": False, "first_guess": False},
    "salinity": {"variables": (SALINITY,)},
    "temperature and salinity with all": {
        "variables": (Variable("thetao", "degC", "sea_water_potential_temperature"), SALINITY),
        "quantiles": (0.05, 0.95),
        "members": True,
    },
    "kelvin": {"variables": (Variable("thetao", "K", "sea_water_potential_temperature"),)},
    "unknown quantity": {"variables": (Variable("tracer", "kg m-3"),)},
}


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("case", CASES)
def test_compliance_checker_finds_nothing(plan: OutputPlan, suffix: str, case: str) -> None:
    plan = dataclasses.replace(plan, path=plan.path.with_suffix(suffix), **CASES[case])
    ocean = np.concatenate([plan.grid.ocean_mask] * len(plan.variables))
    plan = dataclasses.replace(plan, grid=dataclasses.replace(plan.grid, ocean_mask=ocean))
    store = PredictionStore.open(plan)
    shape = ocean.shape
    for number in range(2):
        fields = plan.count_fields(np.ones(shape, np.int64))
        if plan.first_guess:
            fields |= plan.first_guess_fields(np.zeros(shape), np.ones(shape))
        for variant in plan.variants:
            ensemble = Ensemble(np.ones((1, plan.ensemble_size, *shape), np.float32))
            fields |= plan.ensemble_fields(ensemble, variant)
        store.write(number, fields)
    path = store.finish()
    if suffix == ".zarr":
        with xr.open_zarr(path) as dataset:
            # xarray declares a missing value for every variable of floats, which coordinates must not have.
            exact = [name for name in dataset.variables if "time" not in dataset[name].dims or name == "time"]
            path = path.with_suffix(".nc")
            dataset.to_netcdf(path, encoding={name: {"_FillValue": None} for name in exact})

    suite = CheckSuite()
    suite.load_all_available_checkers()
    with suite.load_dataset(os.fspath(path)) as checked:
        groups, errors = suite.run_all(checked, ["cf:1.11"], skip_checks=[])["cf:1.11"]
    assert not errors
    assert len(groups) > 20
    for group in groups:
        score, possible = group.value if isinstance(group.value, tuple) else (int(group.value), 1)
        assert score == possible, group.msgs


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("degC", ("temperature: on_scale", "temperature: difference")),
        ("K", ("temperature: on_scale", "temperature: difference")),
        ("1e-3", (None, None)),
        ("kg m-3", (None, None)),
    ],
)
def test_only_temperatures_say_whether_they_are_differences(
    plan: OutputPlan, units: str, expected: tuple[str | None, str | None]
) -> None:
    plan = dataclasses.replace(plan, variables=(Variable("thetao", units),), quantiles=(0.5,), members=True)
    found = {name: variable.attributes.get("units_metadata") for name, variable in variables(plan).items()}
    on_scale, difference = expected
    assert found == {
        "thetao": on_scale,
        "thetao_spread": difference,
        "thetao_quantiles": on_scale,
        "thetao_members": on_scale,
        "thetao_first_guess": on_scale,
        "thetao_first_guess_error": difference,
        "number_of_observations": None,
    }


def test_ancillary_variables_and_coordinates_exist(plan: OutputPlan) -> None:
    for case in CASES.values():
        changed = dataclasses.replace(plan, **case)
        written = variables(changed)
        for variable in written.values():
            for name in variable.attributes.get("ancillary_variables", "").split():
                assert name in written
            for name in variable.attributes.get("coordinates", "").split():
                assert name in coordinates(changed)


def test_number_of_members_is_that_of_mean_and_spread(plan: OutputPlan) -> None:
    assert int(coordinates(plan)["number_of_realizations"]) == 2


def test_cells_at_the_poles_end_there(plan: OutputPlan) -> None:
    bounds = coordinates(plan)["latitude_bnds"].values
    np.testing.assert_array_equal(bounds, [[-90, -44.5], [-44.5, 44.5], [44.5, 90]])


def test_single_row_has_no_bounds(plan: OutputPlan) -> None:
    grid = dataclasses.replace(plan.grid, latitude=np.zeros(1), ocean_mask=plan.grid.ocean_mask[:, :1])
    dataset = coordinates(dataclasses.replace(plan, grid=grid))
    assert "latitude_bnds" not in dataset
    assert "bounds" not in dataset["latitude"].attrs
    assert "longitude_bnds" in dataset


@given(
    st.floats(-180, 180),
    st.lists(st.floats(0.01, 10), min_size=1, max_size=20),
)
def test_cells_touch_and_hold_their_centres(first: float, steps: list[float]) -> None:
    centres = first + np.concatenate([[0], np.cumsum(steps)])
    bounds = cell_bounds(centres)
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
    assert (bounds[:, 0] < centres).all()
    assert (bounds[:, 1] > centres).all()


def test_provenance_names_program_checkpoint_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    monkeypatch.setattr("sys.argv", ["/home/me/scripts/predict.py", "observations=/argo/*_prof.nc"])
    found = provenance(checkpoint, ["standard", "ema"], 3, 8, "10D", ["/argo/*_prof.nc", "b.csv"])
    assert found["source"].startswith("depthdif 0.")
    date, command = found["history"].split(" ", 1)
    assert np.datetime64(date.removesuffix("Z")) <= np.datetime64("now") + np.timedelta64(1, "s")
    assert command == "predict.py 'observations=/argo/*_prof.nc'"
    del found["source"], found["history"]
    assert found == {
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": hashlib.sha256(b"weights").hexdigest(),
        "weights": "standard ema",
        "seed": "3",
        "ensemble_size": "8",
        "observation_window": "10D",
        "observations": "/argo/*_prof.nc b.csv",
    }

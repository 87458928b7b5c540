"""The variables of an output: their names, and their values from an ensemble."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthdif import UserError
from depthdif.data.variables import Variable
from depthdif.diffusion.ensemble import Ensemble
from depthdif.prediction.grid import Grid
from depthdif.prediction.output_plan import OutputPlan

SHAPE = (4, 3, 2)


@pytest.fixture
def plan() -> OutputPlan:
    grid = Grid(
        latitude=np.arange(3.0),
        longitude=np.arange(2.0),
        depths=np.arange(4.0),
        ocean_mask=np.ones(SHAPE, bool),
        rows=np.arange(3),
        columns=np.arange(2),
        period=360.0,
        wraps=False,
    )
    return OutputPlan(
        path=Path("ocean.zarr"),
        variables=(Variable("temperature", "degree_Celsius", "sea_water_temperature"),),
        grid=grid,
        times=np.array(["2016-01-01"], "datetime64[s]"),
        variants=("ema",),
        ensemble_size=6,
        spread=True,
        quantiles=(0.1, 0.9),
        members=True,
        first_guess=True,
        attributes={},
        identity={},
    )


@pytest.mark.parametrize("options", [{}, {"antithetic": True, "inflation": 1.5}])
def test_fields_are_the_statistics_of_the_ensemble(plan: OutputPlan, options: dict[str, Any]) -> None:
    members = np.random.default_rng(0).normal(size=(1, 6, *SHAPE)).astype(np.float32)
    members[..., 0, 0] = np.nan
    ensemble = Ensemble(members, **options)
    fields = plan.ensemble_fields(ensemble, "ema")
    assert fields.keys() == {
        "temperature",
        "temperature_spread",
        "temperature_quantiles",
        "temperature_members",
    }
    quantiles = ensemble.quantiles(plan.quantiles)
    assert ensemble.std is not None
    assert quantiles is not None
    for name, expected in (
        ("temperature", ensemble.mean),
        ("temperature_spread", ensemble.std),
        ("temperature_quantiles", quantiles),
        ("temperature_members", members),
    ):
        np.testing.assert_allclose(fields[name], expected[0], rtol=1e-5, atol=1e-6)
        assert fields[name].dtype == np.float32


def test_single_member_has_a_mean_only(plan: OutputPlan) -> None:
    plan = dataclasses.replace(plan, ensemble_size=1, spread=False, quantiles=(), members=False)
    members = np.random.default_rng(0).normal(size=(1, 1, *SHAPE)).astype(np.float32)
    fields = plan.ensemble_fields(Ensemble(members), "ema")
    assert fields.keys() == {"temperature"}
    np.testing.assert_array_equal(fields["temperature"], members[0, 0])


def test_ensemble_without_the_planned_spread_is_refused(plan: OutputPlan) -> None:
    with pytest.raises(ValueError, match=r"plan\.spread=True"):
        plan.ensemble_fields(Ensemble(np.zeros((1, 1, *SHAPE), np.float32)), "ema")


def test_one_variant_has_the_plain_name_and_several_have_theirs(plan: OutputPlan) -> None:
    assert plan.mean_name(plan.variables[0], "ema") == "temperature"
    plan = dataclasses.replace(plan, variants=("standard", "ema_0.99"))
    assert [plan.mean_name(plan.variables[0], variant) for variant in plan.variants] == [
        "temperature_standard",
        "temperature_ema_0_99",
    ]


def test_output_of_another_format_is_a_user_error(plan: OutputPlan) -> None:
    with pytest.raises(UserError, match=r"output=ocean\.tif; .*output=ocean\.zarr"):
        dataclasses.replace(plan, path=Path("ocean.tif"))


def test_quantiles_without_spread_are_a_user_error(plan: OutputPlan) -> None:
    with pytest.raises(UserError, match="set ensemble_size=8, or quantiles="):
        dataclasses.replace(plan, spread=False)

"""Figures and page of an output as a run writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from depthdif.data.variables import Variable
from depthdif.diffusion.ensemble import Ensemble
from depthdif.observations.profiles import ProfileTable
from depthdif.prediction.figures import draw_prediction
from depthdif.prediction.grid import Grid
from depthdif.prediction.output_plan import OutputPlan
from depthdif.prediction.page import write_page
from depthdif.prediction.section import Section
from depthdif.prediction.store import PredictionStore

SHAPE = (3, 5, 7)
VARIANTS = ("standard", "ema_0.99")


def write_output(path: Path) -> Path:
    _, height, width = SHAPE
    # Across the date line.
    latitude, longitude = np.arange(height) * 2.0 - 5, np.arange(width) * 2.0 + 173
    ocean = np.random.default_rng(0).random(SHAPE) < 0.8
    plan = OutputPlan(
        path=path,
        variables=(Variable("temperature", "degree_Celsius", "sea_water_temperature"),),
        grid=Grid(
            latitude,
            longitude,
            np.array([0.0, 10, 50]),
            ocean,
            np.arange(height),
            np.arange(width),
            360.0,
            False,
        ),
        times=np.datetime64("2016-01-01T12", "s") + np.arange(2) * np.timedelta64(7, "D"),
        variants=VARIANTS,
        ensemble_size=2,
        spread=True,
        quantiles=(0.5,),
        members=True,
        first_guess=True,
        attributes={"source": "test", "history": "test"},
        identity={"seed": 0},
    )
    store = PredictionStore.open(plan)
    for number in range(len(plan.times)):
        generator = np.random.default_rng(number)
        fields = {"number_of_observations": generator.integers(0, 9, SHAPE)}
        fields |= plan.first_guess_fields(generator.normal(size=SHAPE), generator.random(SHAPE))
        for variant in VARIANTS:
            fields |= plan.ensemble_fields(
                Ensemble(generator.normal(size=(1, 2, *SHAPE)).astype(np.float32)), variant
            )
        store.write(number, fields)
    return store.finish()


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_an_output_is_drawn_whatever_its_format(tmp_path: Path, suffix: str) -> None:
    times = np.array(["2016-01-01", "2016-01-02"], "datetime64[us]")
    table = ProfileTable(
        times,
        np.array([0.0, 1.0]),
        np.array([179.0, -179.0]),
        np.array(["a", "b"]),
        np.arange(3),
        np.zeros(2),
        np.zeros(2),
    )
    with xr.open_dataset(write_output(tmp_path / f"ocean{suffix}")) as output:
        arguments = (output, "temperature", VARIANTS, [table, table])
        paths = draw_prediction(
            *arguments, tmp_path / "figures", [0], Section.from_setting(None, output["longitude"].values)
        )
        page = write_page(*arguments, tmp_path / "ocean.html", Section(track=[[174, -4], [-176, 2]]))
    assert {path.name.partition("_2016")[0] for path in paths} == {
        *("map_standard_0m", "map_ema_0.99_0m", "map_ema_0.99_minus_standard_0m"),
        *("section_standard", "section_ema_0.99", "section_ema_0.99_minus_standard"),
    }
    assert [path.name for path in paths if path.name.startswith("section_ema_0.99_2016")] == [
        f"section_ema_0.99_2016-01-{day}T1200_time_{time}_of_2.png" for day, time in (("01", 1), ("08", 2))
    ]
    assert all(path.stat().st_size > 10_000 for path in paths)
    assert "EMA 0.99 minus standard, spread" in page.read_text()

"""The whole job for a model of temperature and salinity: each is read, predicted, scored and drawn."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hydra import compose, initialize_config_dir

from depthdif.data.synthetic import synthetic_field
from depthdif.training import train

RunScript = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]
FIELD = synthetic_field(times=3, depths=3, height=30, width=60, salinity=True)
NAMES = ("sea_water_temperature", "sea_water_practical_salinity")
# Floats, and bathythermographs that measure no salinity.
FLOATS, OTHERS = range(20), range(20, 30)
# A float whose salinities have a flag that says bad.
BAD = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and two files of profiles: one with both variables, one of temperature alone."""
    folder = tmp_path_factory.mktemp("two_variables")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(
            "train",
            [
                "data=synthetic", "data.field.times=3", "data.field.depths=3", "data.field.height=30", "data.field.width=60",
                "data.field.salinity=true", "data.patch_size=16", "data.validation_patches=4", "data/validation=time_range",
                "data.validation.start='2000-03-01'", "data.validation.stop='2000-03-30'", "data.augmentation=null",
                "model/denoiser=unet_tiny", "model/ema=quick", "model/first_guess=oi", "model.sampler.steps=2",
                "trainer.max_steps=3", "trainer.val_check_interval=3", "trainer.accelerator=cpu",
                "trainer.precision=32-true", "logger=csv", "callbacks.progress=null",
                "callbacks.reconstruction.panel_samples=1", "callbacks.reconstruction.panel_depths=[0]",
                f"output_dir={folder / 'run'}",
            ],
        )  # fmt: skip
    train(cfg)
    generator = np.random.default_rng(0)
    ocean = np.argwhere(np.isfinite(FIELD.target.values[1]).all(axis=0)[6:24, 22:50]) + np.array([6, 22])
    cells = ocean[generator.choice(len(ocean), 30, replace=False)]
    write_profiles(folder / "both.nc", cells[FLOATS], FLOATS, 2)
    write_profiles(folder / "temperature.nc", cells[OTHERS], OTHERS, 1)
    return folder


def write_profiles(path: Path, cells: np.ndarray, platforms: range, variables: int) -> None:
    """CF profiles of the first variables of the field at its second time, with flags of the salinity."""
    row, column = cells.T
    values = {
        name: (("profile", "z"), array.values[1][:, row, column].T)
        for name, array in zip(("t", "s"), FIELD.targets[:variables], strict=False)
    }
    dataset = xr.Dataset(
        {**values, "float": ("profile", [f"P{number}" for number in platforms])},
        {
            "z": ("z", FIELD.depths, {"standard_name": "depth", "units": "m", "positive": "down"}),
            "time": ("profile", np.full(len(cells), FIELD.times[1]), {"standard_name": "time"}),
            "lat": ("profile", FIELD.latitude[row], {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": (
                "profile",
                FIELD.longitude[column],
                {"standard_name": "longitude", "units": "degrees_east"},
            ),
        },
        {"featureType": "profile", "Conventions": "CF-1.11"},
    )
    dataset["float"].attrs["cf_role"] = "trajectory_id"
    for name, standard_name, units in zip(("t", "s"), NAMES, ("degC", "1"), strict=True):
        if name in dataset:
            dataset[name].attrs = {
                "standard_name": standard_name,
                "units": units,
                "coordinates": "time lat lon",
            }
    if "s" in dataset:
        flags = np.ones(dataset["s"].shape, np.int8)
        flags[BAD] = 4
        attributes = {"standard_name": "status_flag", "flag_values": np.array([1, 4], np.int8)}
        dataset["s_qc"] = ("profile", "z"), flags, attributes | {"flag_meanings": "good bad"}
        dataset["s"].attrs["ancillary_variables"] = "s_qc"
    dataset.to_netcdf(path)


def arguments(folder: Path, *more: str) -> list[str]:
    return [
        "checkpoint=run/checkpoints/last.ckpt", "surface=none", "times=[2000-02-14,2000-02-14]", "window=20D",
        "ensemble_size=4", "region.longitude=[-60,120]", "region.latitude=[-60,60]", "model.sampler.steps=2",
        "trainer.accelerator=cpu", "figure_depths=[0]", "bootstrap_samples=200", f"hydra.run.dir={folder / 'hydra'}", *more,
    ]  # fmt: skip


def predicted(run_script: RunScript, folder: Path, *more: str) -> str:
    done = run_script("predict", *arguments(folder, *more), folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_both_variables_are_read_predicted_scored_and_drawn(run_script: RunScript, folder: Path) -> None:
    said = predicted(
        run_script,
        folder,
        "observations=[both.nc,temperature.nc]",
        "output=all.nc",
        "withhold=0.3",
        "members=true",
        "quantiles=[0.1,0.9]",
    )
    assert "Profiles of temperature in 2 files" in said
    assert "Profiles of salinity in 2 files" in said
    assert "skipped for salinity: temperature.nc" in said
    assert "density inversions" in said
    with xr.open_dataset(folder / "all.nc") as output:
        output.load()
    for name, standard_name, variable in zip(("temperature", "salinity"), NAMES, FIELD.targets, strict=True):
        assert output[name].attrs["standard_name"] == standard_name
        assert output[name].attrs["units"] == variable.attrs["units"]
        ocean = np.isfinite(output[name].values)
        assert 0.2 < ocean.mean() < 1
        for what in ("spread", "first_guess", "first_guess_error"):
            assert (np.isfinite(output[f"{name}_{what}"].values) == ocean).all()
        members = output[f"{name}_members"].mean("realization").values[ocean]
        np.testing.assert_allclose(members, output[name].values[ocean], rtol=1e-5)
        low, high = output[f"{name}_quantiles"].transpose("quantile", ...).values
        assert (low[ocean] <= high[ocean]).all()
        with (folder / f"all_{name}_scores.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {("OI", ""), ("IDW", ""), ("model", "mean of 4")} <= {
            (row["method"], row["estimate"]) for row in rows
        }
        assert list((folder / "all_figures" / name).glob("map_ema_0m_*.png"))
        assert list((folder / "all_figures" / name).glob("section_ema_*.png"))
        assert (folder / "all_figures" / name / "withheld_profiles.png").exists()
    # Values of salinity near 35, of temperature in degrees.
    assert 33 < float(output["salinity_first_guess"].mean()) < 37
    page = (folder / "all.html").read_text()
    assert "Temperature, EMA mean" in page
    assert "Salinity, EMA mean" in page
    # The same platforms are hidden for both, as far as they measure both.
    hidden = {}
    for name in ("temperature", "salinity"):
        with (folder / f"all_{name}_withheld.csv").open() as file:
            hidden[name] = {row["platform"] for row in csv.DictReader(file)}
    floats = {f"P{number}" for number in FLOATS if number != BAD}
    assert hidden["salinity"] == hidden["temperature"] & floats
    assert hidden["salinity"]


def test_a_profile_without_good_salinity_is_one_of_temperature(run_script: RunScript, folder: Path) -> None:
    predicted(run_script, folder, "observations=[both.nc,temperature.nc]", "output=counts.zarr")
    with xr.open_dataset(folder / "counts.zarr", engine="zarr", chunks=None) as output:
        counts = {
            name: output[f"{name}_number_of_observations"].isel(time=0, depth=0).values
            for name in ("temperature", "salinity")
        }
    assert counts["temperature"][counts["temperature"] > 0].sum() == 30
    assert counts["salinity"][counts["salinity"] > 0].sum() == len(FLOATS) - 1


def test_salinity_is_estimated_where_no_file_has_any(run_script: RunScript, folder: Path) -> None:
    said = predicted(run_script, folder, "observations=temperature.nc", "output=alone.zarr")
    assert "salinity: no profile" in said
    with xr.open_dataset(folder / "alone.zarr", engine="zarr", chunks=None) as output:
        assert np.isfinite(output["salinity"].values).mean() > 0.2
        assert not (output["salinity_number_of_observations"].values > 0).any()


def test_the_columns_of_a_table_are_those_of_both_variables(run_script: RunScript, folder: Path) -> None:
    with xr.open_dataset(folder / "both.nc") as both:
        frame = both[["t", "s", "float"]].to_dataframe().reset_index()
    frame = frame.rename(columns={"z": "depth", "t": "T0", "s": "S0"})
    frame[["time", "lat", "lon", "float", "depth", "T0", "S0"]].to_csv(folder / "table.csv", index=False)
    predicted(
        run_script,
        folder,
        "observations=table.csv",
        "columns.value=T0",
        "columns.standard_name=sea_water_temperature",
        "columns.salinity=S0",
        "output=table.zarr",
    )
    with xr.open_dataset(folder / "table.zarr", engine="zarr", chunks=None) as output:
        for name in ("temperature", "salinity"):
            counts = output[f"{name}_number_of_observations"].isel(time=0, depth=0).values
            assert counts[counts > 0].sum() == len(FLOATS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["standard_name=sea_water_temperature"], "expected one for each of temperature, salinity"),
        (["standard_name={so: sea_water_practical_salinity}"], "has the key 'so'"),
        (["standard_name={salinity: sea_water_density}"], "which profiles cannot be converted to"),
        (["times=[2003-01-01,2003-01-01]"], "the nearest is"),
    ],
)
def test_bad_input_is_one_line(
    run_script: RunScript, folder: Path, overrides: list[str], message: str
) -> None:
    options = arguments(folder, "observations=[both.nc,temperature.nc]", "output=bad.zarr", *overrides)
    done = run_script("predict", *options, folder=folder)
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert message in error

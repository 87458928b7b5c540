"""The whole job: profiles and surface fields to output, scores, figures and page, with a tiny model."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
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
FIELD = synthetic_field(times=4, depths=3, height=30, width=60)
TIMES = ("2000-02-14", "2000-03-15")
COMMON = (
    "times=[2000-02-14,2000-03-15]",
    "every=30D",
    "window=20D",
    "ensemble_size=4",
    "region.longitude=[-60,120]",
    "region.latitude=[-60,60]",
    "model.sampler.steps=3",
    "trainer.accelerator=cpu",
    "figure_depths=[0]",
    "bootstrap_samples=200",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, a table of profiles of 40 platforms, and surface fields."""
    folder = tmp_path_factory.mktemp("prediction")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(
            "train",
            [
                "data=synthetic", "data.field.times=4", "data.field.depths=3", "data.field.height=30", "data.field.width=60",
                "data.patch_size=16", "data.validation_patches=4", "data/validation=time_range",
                "data.validation.start='2000-04-01'", "data.validation.stop='2000-04-30'", "data.augmentation=null",
                "model/denoiser=unet_tiny", "model/ema=quick", "model/first_guess=oi", "model.sampler.steps=2",
                "trainer.max_steps=3", "trainer.val_check_interval=3", "trainer.accelerator=cpu",
                "trainer.precision=32-true", "logger=csv", "callbacks.progress=null",
                "callbacks.reconstruction.panel_samples=1", "callbacks.reconstruction.panel_depths=[0]",
                f"output_dir={folder / 'run'}",
            ],
        )  # fmt: skip
    train(cfg)
    generator = np.random.default_rng(0)
    rows = []
    for platform in range(40):
        latitude, longitude = generator.uniform(-55, 55), generator.uniform(-60, 120)
        for month in (1, 2):
            day = FIELD.times[month] + np.timedelta64(int(generator.integers(-8, 8)), "D")
            here = FIELD.target.isel(time=month).sel(latitude=latitude, longitude=longitude, method="nearest")
            rows += [
                (str(day)[:10], latitude, longitude, f"P{platform}", depth, value)
                for depth, value in zip(FIELD.depths, here.values, strict=True)
                if np.isfinite(value)
            ]
    # One value on land.
    row, column = np.argwhere(np.isnan(FIELD.target.values[0, 0, 8:22, 24:46]))[0] + (8, 24)
    rows.append(("2000-02-14", FIELD.latitude[row], FIELD.longitude[column], "P0", FIELD.depths[0], 5.0))
    header = "time,latitude,longitude,platform,depth,temperature"
    lines = [",".join(map(str, row)) for row in rows]
    (folder / "profiles.csv").write_text("\n".join([header, *lines]) + "\n")
    FIELD.surface[0].to_dataset().to_netcdf(folder / "surface.nc")
    return folder


def arguments(folder: Path, *more: str) -> list[str]:
    inputs = ("checkpoint=run/checkpoints/last.ckpt", "observations=profiles.csv", "surface=surface.nc")
    return [*inputs, *COMMON, f"hydra.run.dir={folder / 'hydra'}", *more]


def predicted(run_script: RunScript, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    done = run_script("predict", *arguments(folder, *more), folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def opened(path: Path) -> xr.Dataset:
    engine = "zarr" if path.suffix == ".zarr" else None
    with xr.open_dataset(path, engine=engine, chunks=None) as dataset:
        return dataset.load()


def test_output_scores_figures_and_page_are_written_and_nothing_is_computed_twice(
    run_script: RunScript, folder: Path
) -> None:
    done = predicted(
        run_script, folder, "output=all.zarr", "withhold=0.2", "quantiles=[0.1,0.9]", "members=true"
    )
    assert "loaded the EMA weights" in done.stdout
    output = opened(folder / "all.zarr")
    assert output.time.values.astype("datetime64[D]").astype(str).tolist() == list(TIMES)
    ocean = np.isfinite(output.temperature.values)
    assert 0.2 < ocean.mean() < 1
    assert (np.isfinite(output.temperature_spread.values) == ocean).all()
    np.testing.assert_allclose(
        output.temperature_members.mean("realization").values[ocean],
        output.temperature.values[ocean],
        rtol=1e-5,
    )
    low, high = output.temperature_quantiles.transpose("quantile", ...).values
    assert (low[ocean] <= high[ocean]).all()
    assert output.number_of_observations.sum() > 0
    assert output.attrs["weights"] == "ema"
    with (folder / "all_scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    methods = {(row["method"], row["estimate"]) for row in rows}
    assert {("OI", ""), ("IDW", ""), ("model", "mean of 4"), ("model", "one sample")} <= methods
    ratio = next(row for row in rows if row["method"] == "OI" and row["score"] == "rmse_ratio")
    assert float(ratio["value"]) == 1
    with (folder / "all_withheld.csv").open() as file:
        hidden = {row["platform"] for row in csv.DictReader(file)}
    assert 1 <= len(hidden) <= 12
    assert list((folder / "all_figures").glob("map_ema_0m_*.png"))
    assert "</html>" in (folder / "all.html").read_text()
    again = predicted(
        run_script, folder, "output=all.zarr", "withhold=0.2", "quantiles=[0.1,0.9]", "members=true"
    )
    assert "complete" in again.stdout
    refused = run_script("predict", *arguments(folder, "output=all.zarr", "seed=7"), folder=folder)
    assert refused.returncode == 1
    assert "overwrite=true" in refused.stderr


def test_both_variants_start_from_the_same_noise_and_have_the_same_first_guess(
    run_script: RunScript, folder: Path
) -> None:
    done = predicted(run_script, folder, "output=both.nc", "weights=[standard,ema]")
    assert "left out: 1 values" in done.stdout
    output = opened(folder / "both.nc")
    assert {"temperature_standard", "temperature_ema", "temperature_first_guess"} <= set(output)
    assert not np.array_equal(output.temperature_standard, output.temperature_ema, equal_nan=True)
    assert list((folder / "both_figures").glob("map_ema_minus_standard_*.png"))


def test_a_region_cut_out_of_a_larger_one_has_its_first_guess_and_observations(
    run_script: RunScript, folder: Path
) -> None:
    options = ("neighbours=500", "times=[2000-02-14,2000-02-14]")
    predicted(run_script, folder, "output=large.zarr", *options)
    predicted(run_script, folder, "output=small.zarr", *options, "region.longitude=[0,60]")
    large, small = opened(folder / "large.zarr"), opened(folder / "small.zarr")
    part = large.sel(longitude=small.longitude)
    xr.testing.assert_equal(part.number_of_observations, small.number_of_observations)


@pytest.mark.end_to_end
def test_two_processes_write_the_bits_of_one(run_script: RunScript, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    for name, devices in (("one", 1), ("two", 2)):
        command = [sys.executable, str(ROOT / "scripts/predict.py"), *arguments(folder / name)]
        command += [f"output={name}.zarr", f"trainer.devices={devices}"]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
    one, two = opened(folder / "one.zarr"), opened(folder / "two.zarr")
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, two[name].values, err_msg=str(name))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["times=[2000-03-15,2000-02-14]"], "are reversed"),
        (["times=[2003-01-01,2003-02-01]", "surface=none"], "the nearest is"),
        (["times=[2003-01-01,2003-02-01]"], "does not cover 2003-01-01"),
        (["region.longitude=[0,3]", "region.latitude=[1,1.5]"], "holds no cell of the grid"),
        (["observations='*.nothing'"], "expected a file, a quoted glob or a folder"),
        (["surface=null"], "set surface=FILES"),
        (["output=all.tif"], "ends in .zarr or .nc"),
        (["weights=ema_0.5"], "0.5"),
        (["overlap=0.9"], "overlap=0.9; expected a share"),
        (["section={longitude: 170}"], "crosses fewer than two cells"),
        (["window=hello"], "window=hello is no duration"),
        (["standard_name=sea_water_potential_temperature"], "no salinity for the conversion"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(
    run_script: RunScript, folder: Path, overrides: list[str], message: str
) -> None:
    before = sorted(folder.glob("bad*"))
    done = run_script("predict", *arguments(folder, "output=bad.zarr", *overrides), folder=folder)
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert message in error
    assert sorted(folder.glob("bad*")) == before

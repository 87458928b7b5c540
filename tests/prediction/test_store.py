"""The output of a prediction: what was written is read back, after any kill, by any number of processes."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from depthdif import UserError
from depthdif.data.variables import Variable
from depthdif.diffusion.ensemble import Ensemble
from depthdif.prediction.grid import Grid
from depthdif.prediction.output_plan import OutputPlan
from depthdif.prediction.store import PredictionStore

SHAPE = (3, 5, 7)
SUFFIXES = (".zarr", ".nc")


def grid() -> Grid:
    _, height, width = SHAPE
    return Grid(
        latitude=np.arange(height) * 2.0 - 5,
        longitude=np.arange(width) * 2.0 + 31,
        depths=np.array([0.0, 10, 50]),
        ocean_mask=np.random.default_rng(0).random(SHAPE) < 0.8,
        rows=np.arange(height),
        columns=np.arange(width),
        period=360.0,
        wraps=False,
    )


def make_plan(path: Path, **changes: Any) -> OutputPlan:
    times = changes.pop("number_of_times", 3)
    plan = OutputPlan(
        path=path,
        variables=(Variable("temperature", "degree_Celsius", "sea_water_temperature"),),
        grid=grid(),
        times=np.datetime64("2016-01-01T12", "s") + np.arange(times) * np.timedelta64(7, "D"),
        variants=("standard", "ema_0.99"),
        ensemble_size=4,
        spread=True,
        quantiles=(0.05, 0.95),
        members=True,
        first_guess=True,
        attributes={"source": "test", "history": "test"},
        identity={"seed": 0, "observations": ["a.nc"]},
    )
    return dataclasses.replace(plan, **changes)


def fields_at(plan: OutputPlan, number: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(number)
    fields = {"number_of_observations": generator.integers(0, 9, SHAPE)}
    fields |= plan.first_guess_fields(generator.normal(size=SHAPE), generator.random(SHAPE))
    for variant in plan.variants:
        members = generator.normal(size=(1, plan.ensemble_size, *SHAPE)).astype(np.float32)
        fields |= plan.ensemble_fields(Ensemble(members), variant)
    return fields


def write_all(plan: OutputPlan, **options: bool) -> Path:
    store = PredictionStore.open(plan, **options)
    for number in np.flatnonzero(~store.finished):
        store.write(int(number), fields_at(plan, int(number)))
    return store.finish()


def opened(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="zarr" if path.is_dir() else "netcdf4") as dataset:
        return dataset.load()


class Blocking(Mapping[str, np.ndarray]):
    """Fields of which the last one never comes."""

    def __init__(self, fields: dict[str, np.ndarray]) -> None:
        self.fields, self.left = fields, len(fields)

    def __getitem__(self, name: str) -> np.ndarray:
        self.left -= 1
        if not self.left:
            print("half", flush=True)
            time.sleep(600)
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


def start(plan: OutputPlan, mode: str) -> subprocess.Popen[str]:
    """This file as a program: writes all times, those of one parity, or stops in the middle of time 1."""
    command = [sys.executable, __file__, str(plan.path), str(len(plan.times)), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def program(path: str, times: str, mode: str) -> None:
    plan = make_plan(Path(path), number_of_times=int(times))
    store = PredictionStore.open(plan, create=False)
    print("ready", flush=True)
    for number in map(int, np.flatnonzero(~store.finished)):
        fields = fields_at(plan, number)
        if mode == "half" and number == 1:
            store.write(number, Blocking(fields))
        if mode in ("half", "all", "even" if number % 2 == 0 else "odd"):
            store.write(number, fields)
            print("written", flush=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_written_is_read_back_with_missing_cells_outside_the_ocean(
    tmp_path: Path, suffix: str
) -> None:
    plan = make_plan(tmp_path / "new" / f"ocean{suffix}")
    path = write_all(plan)
    dataset = opened(path)
    np.testing.assert_array_equal(dataset["time"], plan.times)
    for number in range(3):
        for name, values in fields_at(plan, number).items():
            expected = np.where(plan.grid.ocean_mask, values, np.nan).astype(np.float32)
            written = dataset[name].isel(time=number)
            np.testing.assert_array_equal(written.values.astype(np.float32), expected, err_msg=name)
            assert written.dims[-3:] == ("depth", "latitude", "longitude")
    assert [child.name for child in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_run_killed_in_the_middle_of_a_time_continues_as_if_uninterrupted(
    tmp_path: Path, suffix: str
) -> None:
    plan = make_plan(tmp_path / f"killed{suffix}")
    PredictionStore.open(plan)
    process = start(plan, "half")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)] == ["ready\n", "written\n", "half\n"]
    kill(process)

    store = PredictionStore.open(plan)
    assert store.finished.tolist() == [True, False, False]
    assert not plan.path.exists()
    with pytest.raises(RuntimeError, match=r"times \[1, 2\] are not written"):
        store.finish()
    chunk = store.folder / "data.zarr" / "temperature_standard" / "0.0.0.0"
    half_written = chunk.with_name("1.0.0.0")
    before = chunk.stat().st_mtime_ns
    assert half_written.exists()
    for number in (1, 2):
        store.write(number, fields_at(plan, number))
    assert chunk.stat().st_mtime_ns == before
    store.finish()
    whole = write_all(make_plan(tmp_path / f"whole{suffix}"))
    xr.testing.assert_identical(opened(plan.path), opened(whole))


def test_run_killed_at_any_moment_continues_as_if_uninterrupted(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "killed.zarr", number_of_times=60)
    PredictionStore.open(plan)
    finished = 0
    for written, delay in ((1, 0.0), (3, 0.004), (2, 0.011)):
        process = start(plan, "all")
        assert process.stdout is not None
        for _ in range(1 + written):
            process.stdout.readline()
        time.sleep(delay)
        kill(process)
        count = int(PredictionStore.open(plan).finished.sum())
        assert count >= finished + written
        finished = count
    write_all(plan)
    whole = write_all(make_plan(tmp_path / "whole.zarr", number_of_times=60))
    xr.testing.assert_identical(opened(plan.path), opened(whole))


def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "two.zarr", number_of_times=8)
    store = PredictionStore.open(plan)
    processes = [start(plan, mode) for mode in ("even", "odd")]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    store.finish()
    one = write_all(make_plan(tmp_path / "one.zarr", number_of_times=8))
    xr.testing.assert_identical(opened(plan.path), opened(one))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_complete_output_of_the_same_run_is_left_alone(tmp_path: Path, suffix: str) -> None:
    plan = make_plan(tmp_path / f"ocean{suffix}")
    path = write_all(plan)
    modified = path.stat().st_mtime_ns
    for create in (True, False):
        store = PredictionStore.open(
            make_plan(path, attributes={"history": "later"}), overwrite=True, create=create
        )
        assert store.complete
        assert store.finished.all()
        assert store.finish() == path
    assert path.stat().st_mtime_ns == modified
    assert opened(path).attrs["history"] == "test"


CHANGES = (
    ({"identity": {"seed": 1, "observations": ["a.nc"]}}, "its seed is 0, not 1"),
    ({"identity": {"seed": 0, "observations": ["b.nc"]}}, r"its observations is \['a.nc'\], not \['b.nc'\]"),
    (
        {"number_of_times": 4},
        r"its time is 2016-01-01.* to 2016-01-15.* \(3\), not 2016-01-01.* to 2016-01-22",
    ),
    ({"grid": dataclasses.replace(grid(), latitude=np.arange(5) * 1.0)}, "its latitude is -5.0 to 3.0"),
    ({"quantiles": ()}, r"its quantile is 0.05 to 0.95 \(2\), not none"),
    ({"variants": ("ema",)}, "its variables is"),
)


@pytest.mark.parametrize(("changes", "message"), CHANGES)
@pytest.mark.parametrize("complete", [True, False])
def test_output_of_another_run_is_refused_and_named(
    tmp_path: Path, changes: dict[str, Any], message: str, complete: bool
) -> None:
    plan = make_plan(tmp_path / "ocean.zarr")
    if complete:
        write_all(plan)
    else:
        PredictionStore.open(plan).write(0, fields_at(plan, 0))
    with pytest.raises(UserError, match=f"another run: {message}.*; set overwrite=true"):
        PredictionStore.open(make_plan(plan.path, **changes))
    store = PredictionStore.open(plan)
    assert store.finished[0]
    assert store.complete == complete


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_foreign_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ocean{suffix}"
    path.write_text("mine")
    with pytest.raises(UserError, match="is no output of a prediction; set overwrite=true"):
        PredictionStore.open(make_plan(path))
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_overwritten_output_stays_until_the_new_one_is_complete(tmp_path: Path, suffix: str) -> None:
    old = make_plan(tmp_path / f"ocean{suffix}", variants=("ema",))
    new = make_plan(old.path, identity={"seed": 1})
    before = opened(write_all(old))
    store = PredictionStore.open(new, overwrite=True)
    for number in range(3):
        store.write(number, fields_at(new, number))
        xr.testing.assert_identical(opened(old.path), before)
    store.finish()
    assert "temperature_standard" in opened(new.path)
    assert list(tmp_path.iterdir()) == [new.path]


# Two renames give the old and the new output their names; the third one only takes away what a NetCDF file was made from.
@pytest.mark.parametrize(
    ("suffix", "failing"), [(".zarr", 0), (".zarr", 1), (".nc", 0), (".nc", 1), (".nc", 2)]
)
def test_no_output_is_lost_when_a_run_is_killed_while_it_replaces_one(
    tmp_path: Path, suffix: str, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (make_plan(tmp_path / f"ocean{suffix}", identity={"seed": seed}) for seed in (0, 1))
    write_all(old)
    store = PredictionStore.open(new, overwrite=True)
    for number in range(3):
        store.write(number, fields_at(new, number))

    rename, renamed = Path.rename, []

    def killed_at(source: Path, target: Path) -> Path:
        if len(renamed) == failing:
            raise KeyboardInterrupt
        renamed.append(source)
        return rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed_at)
        with pytest.raises(KeyboardInterrupt):
            store.finish()
    is_new = failing == 2
    assert PredictionStore.open(new if is_new else old).complete
    assert write_all(new, overwrite=True) == new.path
    assert PredictionStore.open(new).complete
    assert list(tmp_path.iterdir()) == [new.path]


def test_markers_without_data_do_not_count(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "ocean.zarr")
    store = PredictionStore.open(plan)
    store.write(0, fields_at(plan, 0))
    (store.folder / "data.zarr").rename(tmp_path / "elsewhere")
    assert not PredictionStore.open(plan).finished.any()


def test_time_that_is_written_again_does_not_count_until_it_is_whole(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "ocean.zarr")
    store = PredictionStore.open(plan)
    store.write(0, fields_at(plan, 0))
    fields = fields_at(plan, 0)
    fields["temperature_standard_spread"] = fields["temperature_standard_spread"][:2]
    with pytest.raises(
        ValueError, match=r"temperature_standard_spread has shape \(2, 5, 7\), not \(3, 5, 7\)"
    ):
        store.write(0, fields)
    assert not PredictionStore.open(plan).finished.any()


def test_other_variables_than_planned_are_refused(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "ocean.zarr")
    store = PredictionStore.open(plan)
    fields = fields_at(plan, 0)
    fields["salinity"] = fields.pop("temperature_standard")
    with pytest.raises(ValueError, match="salinity', 'temperature_standard"):
        store.write(0, fields)


def test_further_results_of_a_time_survive_until_the_end(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "ocean.nc")
    np.savez(PredictionStore.open(plan).extra(1), rows=np.arange(3))
    with np.load(PredictionStore.open(plan).extra(1)) as found:
        np.testing.assert_array_equal(found["rows"], np.arange(3))


def test_place_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written .*set output"):
        PredictionStore.open(make_plan(tmp_path / "file" / "ocean.zarr"))


def test_chunks_are_whole_columns_of_one_time(tmp_path: Path) -> None:
    # 80 levels of 300 x 200 cells do not fit into a chunk.
    shape = (80, 300, 200)
    big = dataclasses.replace(
        grid(),
        latitude=np.linspace(-60, 60, 300),
        longitude=np.linspace(0, 100, 200),
        depths=np.arange(80.0),
        ocean_mask=np.ones(shape, bool),
    )
    plan = make_plan(tmp_path / "ocean.zarr", grid=big, number_of_times=1)
    for name, variable in PredictionStore.open(plan).variables.items():
        *leading, depths, rows, columns = variable.chunks
        assert (set(leading), depths) == ({1}, 80), name
        assert 2**20 < 4 * depths * rows * columns <= 2**22


if __name__ == "__main__":
    program(*sys.argv[1:])

"""The output of a prediction, written time by time by any number of processes, in a way that a killed run can go on."""

from __future__ import annotations

import itertools
import json
import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numcodecs import Blosc

from depthdif import UserError
from depthdif.files import near
from depthdif.prediction.cf_metadata import IDENTITY, coordinates, variables
from depthdif.prediction.netcdf import write_netcdf
from depthdif.prediction.output_plan import OutputPlan

_DATA, _REPLACED = "data.zarr", "replaced"
_ABSENT, _OURS = "is not there", "belongs to this run"
_NO_OUTPUT = "exists and is no output of a prediction"
_REMEDY = "set overwrite=true to replace it, or another output"


class PredictionStore:
    """The working folder of an output, beside it (`NAME.zarr.part`), until every time is complete.

    A time is complete when its marker is there, which is written after its data; a half-written time is written again. The
    output appears under its name, and replaces an older one, when all of it is complete.

    Attributes:
        plan: of the output.
        complete: whether the output is there already, so that nothing is left to do.
        finished: (T,) bool, the times that were complete when the store was opened.
    """

    def __init__(self, plan: OutputPlan, complete: bool) -> None:
        self.plan, self.complete = plan, complete
        self.variables = variables(plan)
        self.folder = _folder(plan.path)
        markers = [complete or self._marker(number).exists() for number in range(len(plan.times))]
        self.finished = np.array(markers, bool)
        names = [] if complete else self.variables
        self._arrays = {name: zarr.open_array(self._data / name, mode="r+", zarr_format=2) for name in names}

    @classmethod
    def open(cls, plan: OutputPlan, overwrite: bool = False, create: bool = True) -> PredictionStore:
        """Create the store of a run, or continue it.

        Of several processes, one creates (`create`), and the others open when it is done, before any time is written.

        Args:
            overwrite: replace the output of another run, when this one is complete.

        Raises:
            UserError: there is an output of another run, finished or not, and `overwrite` is false; or no place to write to.
        """
        path, folder = plan.path, _folder(plan.path)
        if create:
            _put_back(path)
        output, part = _difference(path, plan), _difference(folder / _DATA, plan)
        if not create:
            return cls(plan, complete=output == _OURS)
        if not overwrite and output not in (_ABSENT, _OURS):
            raise UserError(f"output={near(path)} {output}; {_REMEDY}")
        if not overwrite and output == _ABSENT and part not in (_ABSENT, _OURS):
            raise UserError(f"output={near(path)} is unfinished, and {part}; {_REMEDY}")
        if output == _OURS:
            # What a run that was killed at its end left; the work of another run stays.
            if part in (_ABSENT, _OURS):
                _remove(folder)
        elif part != _OURS:
            _remove(folder)
            try:
                _create(plan, folder)
            except OSError as error:
                raise UserError(
                    f"output={path} cannot be written ({error}); set output to a place that can be"
                ) from error
        return cls(plan, complete=output == _OURS)

    def write(self, number: int, fields: Mapping[str, np.ndarray]) -> None:
        """Write all variables of time `number`; then it is complete. Cells outside the ocean become missing.

        Args:
            fields: by name, (D, H, W), or (Q, D, H, W) and (E, D, H, W) for quantiles and members.

        Raises:
            ValueError: not the variables of the plan, or of another shape.
        """
        if names := self.variables.keys() ^ fields.keys():
            raise ValueError(f"variables {sorted(names)} are either not given or not in the plan")
        self._marker(number).unlink(missing_ok=True)
        oceans = [self.plan.grid.ocean_of(each) for each in range(len(self.plan.variables))]
        for name, variable in self.variables.items():
            ocean = oceans[variable.number]
            leading = variable.shape[: -len(ocean.shape) - 1]
            values = fields[name]
            if values.shape != (*leading, *ocean.shape):
                raise ValueError(f"{name} has shape {values.shape}, not {(*leading, *ocean.shape)}")
            for index, rows in itertools.product(np.ndindex(leading), variable.bands):
                band = np.full_like(ocean[:, rows], variable.fill, variable.fill.dtype)
                np.copyto(band, values[index][:, rows], where=ocean[:, rows])
                self._arrays[name][(*index, number, slice(None), rows)] = band
        self._marker(number).touch()

    def extra(self, number: int) -> Path:
        """Path of an .npz file for further results of time `number`, to be written before `write` and read before `finish`."""
        return self.folder / "extra" / f"{number:06d}.npz"

    def finish(self) -> Path:
        """Give the output its name, when all times are complete, and remove the working folder; called by one process.

        Raises:
            RuntimeError: a time is not complete.
        """
        path = self.plan.path
        if self.complete:
            return path
        missing = [number for number in range(len(self.plan.times)) if not self._marker(number).exists()]
        if missing:
            raise RuntimeError(f"{path}: times {missing} are not written")
        if path.suffix == ".nc":
            result = self.folder / "output.nc"
            write_netcdf(self._arrays, self.plan, self.variables, result)
        else:
            result = self._data
            zarr.consolidate_metadata(result, zarr_format=2)
        if path.exists():
            path.rename(self.folder / _REPLACED)
        result.rename(path)
        _remove(self.folder)
        self.complete = True
        return path

    @property
    def _data(self) -> Path:
        return self.folder / _DATA

    def _marker(self, number: int) -> Path:
        return self.folder / "complete" / f"{number:06d}"


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _put_back(path: Path) -> None:
    """Give an older output its name again, if a run was killed between taking it and giving it to the new one."""
    replaced = _folder(path) / _REPLACED
    if replaced.exists() and not path.exists():
        replaced.rename(path)


def _create(plan: OutputPlan, folder: Path) -> None:
    for part in ("complete", "extra"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    unfinished = folder / "data.unfinished.zarr"
    # Zarr format 2: consolidated metadata are no part of format 3, and NCZarr and many others read 2 only.
    coordinates(plan).to_zarr(unfinished, zarr_format=2, consolidated=False)
    group = zarr.open_group(unfinished, mode="r+", zarr_format=2)
    for name, variable in variables(plan).items():
        group.create_array(
            name,
            shape=variable.shape,
            chunks=variable.chunks,
            dtype=variable.fill.dtype,
            fill_value=variable.fill,
            compressors=Blosc("zstd", clevel=3),
            attributes={**variable.attributes, "_ARRAY_DIMENSIONS": list(variable.dimensions)},
        )
    unfinished.rename(folder / _DATA)


def _remove(folder: Path) -> None:
    """Remove a working folder; its data are renamed first, so that half of them is not taken for those of a run."""
    if (folder / _DATA).exists():
        (folder / _DATA).rename(folder / "removed")
    if folder.exists():
        shutil.rmtree(folder)


def _difference(path: Path, plan: OutputPlan) -> str:
    """`_OURS`, `_ABSENT`, or how the output at a path differs from a plan, in words."""
    if not path.exists():
        return _ABSENT
    options: dict[str, Any] = {"engine": "zarr", "consolidated": False} if path.is_dir() else {}
    try:
        with xr.open_dataset(path, cache=False, **options) as found:
            return _differing(found, plan) if IDENTITY in found.attrs else _NO_OUTPUT
    except (OSError, ValueError):
        return _NO_OUTPUT


def _differing(found: xr.Dataset, plan: OutputPlan) -> str:
    theirs, ours = json.loads(found.attrs[IDENTITY]), json.loads(json.dumps(plan.identity))
    for key in ours | theirs:
        if theirs.get(key) != ours.get(key):
            return _other(key, theirs.get(key), ours.get(key))
    expected = coordinates(plan)
    for name in ("time", "depth", "latitude", "longitude", "quantile", "realization"):
        old, new = (dataset[name].values if name in dataset else np.empty(0) for dataset in (found, expected))
        if not np.array_equal(old, new):
            return _other(name, _range(old), _range(new))
    names, wanted = {str(name) for name in found.data_vars if name not in expected}, set(variables(plan))
    return _other("variables", sorted(names), sorted(wanted)) if names != wanted else _OURS


def _other(key: str, theirs: object, ours: object) -> str:
    old, new = (textwrap.shorten(str(value), 100) for value in (theirs, ours))
    return f"belongs to another run: its {key} is {old}, not {new}"


def _range(values: np.ndarray) -> str:
    return f"{values[0]} to {values[-1]} ({len(values)})" if len(values) else "none"

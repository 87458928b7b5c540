"""Coordinates, variables and attributes of the output of a prediction, by the CF conventions 1.11."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from depthdif.data.variables import Variable
from depthdif.files import sha256
from depthdif.prediction.output_plan import COUNT, OutputPlan
from depthdif.units import canonical_units

CONVENTIONS = "CF-1.11"
IDENTITY = "depthdif_identity"
ENSEMBLE_SIZE = "number_of_realizations"

# Of a chunk before compression: one time, whole columns.
_CHUNK_BYTES = 4 * 2**20


@dataclasses.dataclass(frozen=True)
class OutputVariable:
    """A variable of the output as a library of files wants it; `fill` stands for missing cells.

    `number` is that of the variable of the model which it is about.
    """

    number: int
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    fill: np.float32 | np.int32
    attributes: dict[str, str]

    @property
    def bands(self) -> list[slice]:
        """The rows of each row of chunks, by which a field is copied with little memory."""
        height, rows = self.shape[-2], self.chunks[-2]
        return [slice(first, first + rows) for first in range(0, height, rows)]


def coordinates(plan: OutputPlan) -> xr.Dataset:
    """Coordinates with their bounds, and the global attributes."""
    grid = plan.grid
    axes = {
        "time": (
            plan.times.astype("datetime64[us]"),
            {
                "standard_name": "time",
                "long_name": "time of the predicted field",
                "axis": "T",
                # Days of 86,400 s (CF-1.11 section 4.4).
                "units_metadata": "leap_seconds: none",
            },
        ),
        "depth": (
            grid.depths,
            {"standard_name": "depth", "units": "m", "positive": "down", "axis": "Z", "long_name": "depth"},
        ),
        "latitude": (
            grid.latitude,
            {"standard_name": "latitude", "units": "degrees_north", "axis": "Y", "long_name": "latitude"},
        ),
        "longitude": (
            grid.longitude,
            {"standard_name": "longitude", "units": "degrees_east", "axis": "X", "long_name": "longitude"},
        ),
    }
    if plan.quantiles:
        attributes = {"long_name": "probability of the quantile", "units": "1"}
        axes["quantile"] = (np.asarray(plan.quantiles, np.float64), attributes)
    if plan.members:
        attributes = {"standard_name": "realization", "long_name": "member of the ensemble", "units": "1"}
        axes["realization"] = (np.arange(plan.ensemble_size, dtype=np.int32), attributes)
    dataset = xr.Dataset(coords={name: (name, *axis) for name, axis in axes.items()})
    # A variable here, as xarray would make a scalar coordinate one of every variable, also of the bounds.
    attributes = {"long_name": "number of members that are summarised", "units": "1"}
    dataset[ENSEMBLE_SIZE] = (), np.int32(plan.ensemble_size), attributes
    for name, limit in (("latitude", 90.0), ("longitude", math.inf)):
        if len(dataset[name]) > 1:
            bounds = cell_bounds(dataset[name].values).clip(-limit, limit)
            dataset[f"{name}_bnds"] = (name, "bnds"), bounds
            dataset[name].attrs["bounds"] = f"{name}_bnds"
    for array in dataset.variables.values():
        # Coordinates have no missing value (CF-1.11 section 2.5.1), which xarray would declare.
        array.encoding["_FillValue"] = None
    # Float64, as many programs read no integers of 64 bits; seconds are exact in it.
    dataset["time"].encoding |= {
        "units": "seconds since 1970-01-01 00:00:00",
        "calendar": "standard",
        "dtype": "float64",
    }
    dataset.attrs = {
        "Conventions": CONVENTIONS,
        "title": f"{' and '.join(map(_quantity, plan.variables))} predicted from profiles",
        **plan.attributes,
        IDENTITY: json.dumps(plan.identity),
    }
    return dataset


def cell_bounds(centres: np.ndarray) -> np.ndarray:
    """(N, 2) bounds of cells halfway between their (N,) centres; the outer ones are symmetric about their centre."""
    between = (centres[1:] + centres[:-1]) / 2
    edges = np.concatenate([[2 * centres[0] - between[0]], between, [2 * centres[-1] - between[-1]]])
    return np.stack([edges[:-1], edges[1:]], axis=1)


def variables(plan: OutputPlan) -> dict[str, OutputVariable]:
    """The variables with data, by name."""
    return {
        name: _output_variable(plan, number, name, attributes)
        for number, variable in enumerate(plan.variables)
        for name, attributes in _attributes(plan, variable).items()
    }


def _attributes(plan: OutputPlan, variable: Variable) -> dict[str, dict[str, str]]:
    """The attributes of what the output holds of one variable, by name."""
    quantity, name, count = _quantity(variable), variable.name, plan.count_name(variable)
    common = {"standard_name": variable.standard_name, "units": variable.units}
    # CF-1.11 section 3.1.2: a difference of 1 degC is one of 1 K, a temperature of 1 degC is not one of 1 K.
    is_temperature = canonical_units(variable.units) in ("degree_Celsius", "K")
    value, difference = (
        common | ({"units_metadata": f"temperature: {kind}"} if is_temperature else {})
        for kind in ("on_scale", "difference")
    )
    attributes: dict[str, dict[str, str]] = {}
    first_guess, error = f"{name}_first_guess", f"{name}_first_guess_error"
    for variant in plan.variants:
        mean = plan.mean_name(variable, variant)
        ancillary = [f"{mean}_spread"] * plan.spread + [error] * plan.first_guess + [count]
        attributes[mean] = {
            **value,
            "long_name": f"ensemble mean of {quantity}",
            "coordinates": ENSEMBLE_SIZE,
            "cell_methods": "realization: mean",
            "ancillary_variables": " ".join(ancillary),
            "weights": variant,
        }
        if plan.spread:
            attributes[f"{mean}_spread"] = {
                **difference,
                "long_name": f"ensemble standard deviation of {quantity}",
                "coordinates": ENSEMBLE_SIZE,
                "cell_methods": "realization: standard_deviation",
                "weights": variant,
            }
        if plan.quantiles:
            long_name = f"ensemble quantiles of {quantity}"
            attributes[f"{mean}_quantiles"] = {**value, "long_name": long_name, "weights": variant}
        if plan.members:
            long_name = f"ensemble members of {quantity}"
            attributes[f"{mean}_members"] = {**value, "long_name": long_name, "weights": variant}
    if plan.first_guess:
        attributes[first_guess] = {
            **value,
            "long_name": f"first guess of {quantity}",
            "ancillary_variables": f"{error} {count}",
        }
        attributes[error] = {
            **difference,
            "standard_name": f"{variable.standard_name} standard_error" if variable.standard_name else "",
            "long_name": f"standard error of the first guess of {quantity}",
        }
    of_one = f" of {quantity}" if len(plan.variables) > 1 else ""
    long_name = f"number of observations{of_one} used in the cell"
    attributes[count] = {"standard_name": COUNT, "units": "1", "long_name": long_name}
    return attributes


def _output_variable(plan: OutputPlan, number: int, name: str, attributes: dict[str, str]) -> OutputVariable:
    depths, height, width = plan.grid.shape
    side = max(1, math.isqrt(_CHUNK_BYTES // (4 * depths)))
    # Chunks of like size, not full ones and a narrow rest.
    rows, columns = (math.ceil(size / math.ceil(size / side)) for size in (height, width))
    means = [plan.mean_name(plan.variables[number], variant) for variant in plan.variants]
    # Other dimensions stand before those of space and time (CF-1.11 section 2.4).
    leading: dict[str, int] = {}
    if name in [f"{mean}_quantiles" for mean in means]:
        leading = {"quantile": len(plan.quantiles)}
    elif name in [f"{mean}_members" for mean in means]:
        leading = {"realization": plan.ensemble_size}
    return OutputVariable(
        number=number,
        dimensions=(*leading, "time", "depth", "latitude", "longitude"),
        shape=(*leading.values(), len(plan.times), depths, height, width),
        chunks=(*[1] * len(leading), 1, depths, rows, columns),
        fill=np.int32(-1) if name == plan.count_name(plan.variables[number]) else np.float32(np.nan),
        attributes={key: text for key, text in attributes.items() if text},
    )


def _quantity(variable: Variable) -> str:
    return variable.standard_name.replace("_", " ") or variable.name


def provenance(
    checkpoint: Path,
    weights: Sequence[str],
    seed: int,
    ensemble_size: int,
    window: str,
    observations: str | Sequence[str],
) -> dict[str, str]:
    """Global attributes that say how a prediction was made: program and command, checkpoint and its SHA-256, and settings."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    patterns = [observations] if isinstance(observations, str) else observations
    return {
        "source": f"depthdif {importlib.metadata.version('depthdif')}, a conditional diffusion model",
        "history": f"{now} {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}",
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": sha256(checkpoint),
        "weights": " ".join(weights),
        "seed": str(seed),
        "ensemble_size": str(ensemble_size),
        "observation_window": window,
        "observations": " ".join(patterns),
    }

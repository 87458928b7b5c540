"""Where the profiles of a CF file lie: the layouts of discrete sampling geometries (CF chapter 9, appendix H)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr

from depthdif import UserError
from depthdif.observations.ragged import blocks, pad


class Rectangle:
    """Profiles on dimensions of their own: orthogonal and incomplete multidimensional arrays, or a single profile."""

    def __init__(self, dataset: xr.Dataset, dimensions: tuple[str, ...], samples: str) -> None:
        # The longest first: blocks are cut along it.
        self.dimensions = tuple(sorted(dimensions, key=lambda name: -dataset.sizes[name]))
        self.samples_dimension = samples
        self.sizes = {name: dataset.sizes[name] for name in self.dimensions}
        self.width = dataset.sizes[samples]

    def profiles(self, variable: xr.Variable) -> xr.Variable:
        """A variable of the profiles, with dimension N.

        Raises:
            UserError: a variable with other dimensions.
        """
        variable = _without_single(variable, {*self.sizes, self.samples_dimension})
        _check_dimensions(variable, self.dimensions)
        values = variable.set_dims(self.sizes).transpose(*self.dimensions).values
        return xr.Variable(("profile",), values.reshape(-1), variable.attrs)

    def blocks(self) -> Iterator[slice]:
        """Profiles that are read together."""
        outer = self.sizes[self.dimensions[0]] if self.dimensions else 1
        inner = math.prod(self.sizes[name] for name in self.dimensions[1:])
        for block in blocks(np.full(outer, inner * self.width)):
            yield slice(block.start * inner, block.stop * inner)

    def samples(self, variable: xr.Variable, block: slice) -> xr.Variable:
        """A variable of the samples of a block of n profiles, with dimensions (n, L)."""
        variable = _without_single(variable, {*self.sizes, self.samples_dimension})
        _check_dimensions(variable, (*self.dimensions, self.samples_dimension))
        sizes = dict(self.sizes)
        if self.dimensions:
            inner = math.prod(list(self.sizes.values())[1:])
            outer = slice(block.start // inner, block.stop // inner)
            sizes[self.dimensions[0]] = outer.stop - outer.start
            variable = variable.isel({self.dimensions[0]: outer}, missing_dims="ignore")
        sizes[self.samples_dimension] = self.width
        values = variable.set_dims(sizes).transpose(*sizes).values
        return xr.Variable(("profile", "sample"), values.reshape(-1, self.width), variable.attrs)

    def present(self, block: slice) -> np.ndarray:
        """(n, L) bool, samples that exist."""
        return np.ones((block.stop - block.start, self.width), bool)


class Ragged:
    """Profiles one after another along one dimension of samples: contiguous, by the length of each, or indexed.

    A profile may itself belong to a station or trajectory, whose number an index variable of the profiles gives.
    """

    def __init__(self, dataset: xr.Dataset, samples: str, count: str | None, index: str | None) -> None:
        self.dataset, self.samples_dimension = dataset, samples
        self.order: np.ndarray | None = None
        if count is not None:
            self.dimension = str(dataset.variables[count].dims[0])
            self.lengths = _integers(dataset.variables[count], 0)
            expected = dataset.sizes[samples]
            if self.lengths.sum() > expected:
                raise UserError(
                    f"{count} adds up to {self.lengths.sum()} samples, but {samples} has {expected}"
                )
        else:
            variable = dataset.variables[str(index)]
            self.dimension = str(variable.attrs["instance_dimension"])
            number, profiles = _integers(variable, -1), dataset.sizes[self.dimension]
            (belongs,) = np.nonzero((number >= 0) & (number < profiles))
            self.order = belongs[np.argsort(number[belongs], kind="stable")]
            self.lengths = np.bincount(number[belongs], minlength=profiles)
        self.start = np.concatenate([[0], np.cumsum(self.lengths)])
        self.parent = next(
            (
                name
                for name, variable in dataset.variables.items()
                if "instance_dimension" in variable.attrs and variable.dims == (self.dimension,)
            ),
            None,
        )

    def profiles(self, variable: xr.Variable) -> xr.Variable:
        """A variable of the profiles, or of their stations or trajectories, with dimension N.

        Raises:
            UserError: a variable with other dimensions.
        """
        dimensions: tuple[str, ...] = (self.dimension,)
        if self.parent is not None:
            parent = self.dataset.variables[self.parent]
            dimensions = (self.dimension, str(parent.attrs["instance_dimension"]))
            if dimensions[1] in variable.dims:
                number = _integers(parent, -1)
                if (number < 0).any() or (number >= self.dataset.sizes[dimensions[1]]).any():
                    raise UserError(f"{self.parent} gives no {dimensions[1]} for some profiles")
                variable = variable.isel({dimensions[1]: number})
                return xr.Variable(("profile",), variable.values, variable.attrs)
        variable = _without_single(variable, {*dimensions, self.samples_dimension})
        _check_dimensions(variable, dimensions)
        values = variable.set_dims({self.dimension: len(self.lengths)}).values
        return xr.Variable(("profile",), values, variable.attrs)

    def blocks(self) -> Iterator[slice]:
        """Profiles that are read together."""
        return blocks(self.lengths)

    def samples(self, variable: xr.Variable, block: slice) -> xr.Variable:
        """A variable of the samples of a block of n profiles, with dimensions (n, L)."""
        _check_dimensions(variable, (self.samples_dimension,))
        which = slice(self.start[block.start], self.start[block.stop])
        # The samples of a profile lie anywhere in an indexed file, which is read whole.
        values = variable[which].values if self.order is None else variable.values[self.order[which]]
        return xr.Variable(("profile", "sample"), pad(values, self.lengths[block]), variable.attrs)

    def present(self, block: slice) -> np.ndarray:
        """(n, L) bool, samples that exist."""
        return pad(np.ones(self.lengths[block].sum(), bool), self.lengths[block])


Layout = Rectangle | Ragged


def layout_of(dataset: xr.Dataset, data: xr.Variable, samples: str) -> Layout:
    """The layout of a data variable whose samples of a profile lie along the dimension `samples`."""
    if data.dims == (samples,):
        for name, variable in dataset.variables.items():
            if variable.attrs.get("sample_dimension") == samples:
                return Ragged(dataset, samples, str(name), None)
        for name, variable in dataset.variables.items():
            if "instance_dimension" in variable.attrs and variable.dims == (samples,):
                return Ragged(dataset, samples, None, str(name))
    if samples not in data.dims:
        raise UserError(
            f"the values lie on {_listed(data.dims)} and their depths on {samples}; expected a dimension of samples in common"
        )
    return Rectangle(dataset, tuple(str(name) for name in data.dims if name != samples), samples)


def _integers(variable: xr.Variable, fill: int) -> np.ndarray:
    """Counts and indices, `fill` where missing."""
    values = variable.values.astype(np.int64)
    for name in ("_FillValue", "missing_value"):
        values[variable.values == variable.attrs.get(name)] = fill
    return np.maximum(values, fill)  # the default fill value is negative


def _without_single(variable: xr.Variable, known: set[str]) -> xr.Variable:
    """Without dimensions of size 1 that the profiles do not have, such as that of a single latitude."""
    return variable.squeeze(
        [name for name, size in variable.sizes.items() if size == 1 and name not in known]
    )


def _check_dimensions(variable: xr.Variable, allowed: tuple[str, ...]) -> None:
    if not set(variable.dims) <= set(allowed):
        name = variable.attrs.get("standard_name", variable.attrs.get("long_name", "a variable"))
        raise UserError(
            f"{name} lies on the dimensions {_listed(variable.dims)}; expected {_listed(allowed)}, or fewer, in a file of "
            "profiles"
        )


def _listed(dimensions: tuple[object, ...]) -> str:
    return f"({', '.join(map(str, dimensions))})"

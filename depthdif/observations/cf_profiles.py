"""Profiles from CF files with discrete sampling geometries: orthogonal, incomplete, contiguous and indexed ragged arrays.

Source: CF conventions 1.11, chapter 9 and appendix H.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from depthdif import UserError
from depthdif.observations import cf_decoding
from depthdif.observations.cf_flags import flag_variables, good_flags
from depthdif.observations.cf_layout import Layout, layout_of
from depthdif.observations.cf_platforms import platforms
from depthdif.observations.profiles import RawProfiles
from depthdif.observations.quality import Quality
from depthdif.observations.ragged import own_platforms
from depthdif.observations.refusals import Refusals

_FEATURES = ("profile", "trajectoryprofile", "timeseriesprofile")
_PRESSURES = ("sea_water_pressure", "sea_water_pressure_due_to_sea_water")
# Standard names of the vertical coordinate. The first that a file has is taken: a depth needs no conversion.
_VERTICAL = ("depth", *_PRESSURES, "height", "altitude")
# Other standard names under which files hold a wanted one.
_SYNONYMS = {"sea_water_practical_salinity": ("sea_water_salinity",)}


def reads(dataset: xr.Dataset) -> bool:
    """Whether the `featureType` of a file is profile, trajectoryProfile or timeSeriesProfile, in any case."""
    # Argo files are trajectoryProfile too, but their data mode says which of two variables counts.
    if "DATA_MODE" in dataset.variables:
        return False
    named = {str(name).lower(): value for name, value in dataset.attrs.items()}
    return str(named.get("featuretype", "")).strip().lower() in _FEATURES


def read(
    dataset: xr.Dataset, wanted: Sequence[str], quality: Quality, refusals: Refusals
) -> Iterator[RawProfiles]:
    """Profiles of a file, block by block; `dataset` is opened lazily with `decode_cf=False`.

    Args:
        wanted: standard names of variables to take values of, as far as the file has them.
        quality: which flags of values, depths, times and positions are good. Values without flags are taken, and noted.

    Raises:
        UserError: none of the variables, no time, position or depth, or not one for each profile; units or flags that are not
            known.
    """
    file = _File.of(dataset, wanted, quality)
    time, latitude, longitude, good = file.positions(refusals)
    platform = platforms(dataset, file.layout)
    platform = np.where(platform == "", own_platforms(time, latitude, longitude), platform)
    for block in file.layout.blocks():
        (rows,) = np.nonzero(good[block])
        if len(rows):
            chosen = block.start + rows
            where = time[chosen], latitude[chosen], longitude[chosen], platform[chosen]
            depth, values = file.samples(block, rows, refusals)
            yield RawProfiles(*where, depth, file.is_pressure, values)


@dataclasses.dataclass(frozen=True, eq=False)
class _File:
    """The variables of a file of profiles.

    Attributes:
        data: variable by wanted standard name.
        vertical: the vertical coordinate.
        places: the variables of time, latitude and longitude of the profiles.
    """

    dataset: xr.Dataset
    quality: Quality
    layout: Layout
    data: dict[str, xr.Variable]
    vertical: xr.Variable
    is_pressure: bool
    places: dict[str, xr.Variable]

    @classmethod
    def of(cls, dataset: xr.Dataset, wanted: Sequence[str], quality: Quality) -> _File:
        """Find the variables; see `read` for the errors."""
        data: dict[str, xr.Variable] = {}
        for standard_name in wanted:
            names = _named(dataset, standard_name, *_SYNONYMS.get(standard_name, ()))
            if len(names) > 1:
                raise UserError(
                    f"{' and '.join(names)} have the standard_name {standard_name}; expected one such variable: remove the "
                    "others, e.g. with ncks -x -v NAME IN.nc OUT.nc"
                )
            if names:
                data[standard_name] = dataset.variables[names[0]]
        if not data:
            raise UserError(f"no variable with standard_name {' or '.join(wanted)}")
        first = next(iter(data.values()))
        vertical = next(
            (
                found
                for name in _VERTICAL
                for found in _coordinates(dataset, first, name)
                if _share(found, first)
            ),
            None,
        )
        if vertical is None:
            raise UserError(
                f"no vertical coordinate of the samples; expected a variable with standard_name {', '.join(_VERTICAL)}"
            )
        samples = _sample_dimension(dataset, first, vertical)
        places = {}
        for role in ("time", "latitude", "longitude"):
            # Gliders have times and positions of their samples beside those of their profiles.
            found = [place for place in _coordinates(dataset, first, role) if samples not in place.dims]
            if not found:
                raise UserError(
                    f"no {role} of the profiles; expected a variable with standard_name {role}, one value a profile"
                )
            places[role] = found[0]
        is_pressure = vertical.attrs["standard_name"] in _PRESSURES
        return cls(dataset, quality, layout_of(dataset, first, samples), data, vertical, is_pressure, places)

    def positions(self, refusals: Refusals) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Time, latitude, longitude and whether all three are good, (N,) each; what is refused is counted."""
        time = cf_decoding.times(self.layout.profiles(self.places["time"]))
        latitude, longitude = (
            cf_decoding.numbers(self.layout.profiles(self.places[role])) for role in ("latitude", "longitude")
        )
        flagged = np.ones(len(time), bool)
        for variable in self.places.values():
            for flags in flag_variables(self.dataset, variable):
                flagged &= good_flags(self.layout.profiles(flags), self.quality.position)[0]
        dated, placed = ~np.isnat(time), (np.abs(latitude) <= 90) & (np.abs(longitude) <= 360)
        refusals.profiles("no time", int((~dated).sum()))
        refusals.profiles("no position", int((dated & ~placed).sum()))
        refusals.profiles("flag of time or position", int((dated & placed & ~flagged).sum()))
        return time, latitude, longitude, dated & placed & flagged

    def samples(
        self, block: slice, rows: np.ndarray, refusals: Refusals
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Depth or pressure, and values by standard name, (n, L) of some rows of a block; what is refused is counted and NaN."""
        depth = cf_decoding.numbers(self.layout.samples(self.vertical, block))[rows]
        depth = cf_decoding.vertical(depth, self.vertical.attrs, self.is_pressure)
        depth[~self.layout.present(block)[rows]] = np.nan
        usable, _ = self._flags(self.vertical, block, rows)
        values, unflagged = {}, np.zeros(depth.shape, bool)
        for name, variable in self.data.items():
            value = cf_decoding.numbers(self.layout.samples(variable, block))[rows]
            value = cf_decoding.physical(value, str(variable.attrs.get("units", "")), name)
            there = np.isfinite(value) & np.isfinite(depth)
            good, absent = self._flags(variable, block, rows)
            refusals.samples("flag of the depth", int((there & ~usable).sum()))
            refusals.samples("no flag", int((there & usable & absent).sum()))
            refusals.samples("flag of the value", int((there & usable & ~absent & ~good).sum()))
            values[name] = np.where(there & usable & good, value, np.nan)
            if not flag_variables(self.dataset, variable):
                unflagged |= there
        if unflagged.any():
            refusals.note("without quality flags", int(unflagged.sum()))
        return np.where(usable, depth, np.nan), values

    def _flags(self, variable: xr.Variable, block: slice, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where all flags of a variable are good and where one is missing, (n, L) bool of some rows of a block."""
        absent = np.zeros_like(self.layout.present(block)[rows])
        usable = ~absent
        for flags in flag_variables(self.dataset, variable):
            if self.layout.samples_dimension in flags.dims:
                good, none = good_flags(self.layout.samples(flags, block), self.quality.good)
            else:
                good, none = good_flags(self.layout.profiles(flags)[block, None], self.quality.good)
            usable, absent = usable & good[rows], absent | none[rows]
        return usable, absent


def _named(dataset: xr.Dataset, *standard_names: str) -> list[str]:
    """Names of the variables with one of some standard names."""
    return [
        str(name)
        for name, variable in dataset.variables.items()
        if variable.attrs.get("standard_name") in standard_names
    ]


def _coordinates(dataset: xr.Dataset, data: xr.Variable, standard_name: str) -> list[xr.Variable]:
    """Variables with a standard name, those among the `coordinates` or dimensions of the data first."""
    listed = {*str(data.attrs.get("coordinates", "")).split(), *map(str, data.dims)}
    names = sorted(_named(dataset, standard_name), key=lambda name: name not in listed)
    return [dataset.variables[name] for name in names]


def _share(first: xr.Variable, second: xr.Variable) -> bool:
    """Whether two variables have a dimension in common."""
    return bool(set(first.dims) & set(second.dims))


def _sample_dimension(dataset: xr.Dataset, data: xr.Variable, vertical: xr.Variable) -> str:
    """The dimension along which the samples of a profile lie."""
    if vertical.ndim == 1:
        return str(vertical.dims[0])
    taken: set[object] = set()
    for role in ("time", "latitude", "longitude"):
        for place in _coordinates(dataset, data, role)[:1]:
            taken |= set(place.dims)
    left = [name for name in data.dims if name not in taken]
    if len(left) != 1:
        raise UserError(
            f"the values lie on ({', '.join(map(str, data.dims))}), and time and position do not leave one of these for the "
            "samples of a profile; expected one time, latitude and longitude for each profile"
        )
    return str(left[0])

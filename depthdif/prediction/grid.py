"""The grid of a prediction: a region of the grid of a field, with its depths and its ocean."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from depthdif import UserError
from depthdif.data.compatibility import check_depths
from depthdif.data.field import OceanField, open_field
from depthdif.data.patches import Box
from depthdif.data.variables import channels_of
from depthdif.first_guess.climatology import spacing


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """D depths and H x W cells.

    Attributes:
        latitude: (H,) float64 degrees north, ascending.
        longitude: (W,) float64 degrees east, ascending, also across the date line (179, 181).
        depths: (D,) float64 metres below the surface, ascending.
        ocean_mask: (C, H, W) bool, the depths of the first variable, then of the next.
        rows, columns: (H,) and (W,) int64, the numbers of rows and columns in the whole grid, of which this is a region.
        period: degrees of longitude after which a place is the same place.
        wraps: whether the last column is the western neighbour of the first.
    """

    latitude: np.ndarray
    longitude: np.ndarray
    depths: np.ndarray
    ocean_mask: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    period: float
    wraps: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Depths, rows and columns."""
        return len(self.depths), len(self.latitude), len(self.longitude)

    def ocean_of(self, number: int) -> np.ndarray:
        """(D, H, W) bool, the ocean of variable `number`."""
        return self.ocean_mask[channels_of(number, len(self.depths))]

    @property
    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Latitude and longitude as the conditions of a patch have them, float32."""
        return self.latitude.astype(np.float32), self.longitude.astype(np.float32)

    @classmethod
    def of_region(cls, field: OceanField, region: Box) -> Grid:
        """The cells of a field in a region; ocean is that of the field, or where it is defined at its first time.

        Raises:
            UserError: a region without a cell, or without ocean.
        """
        cells = region.select(field).cells
        rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
        if not cells.any():
            raise UserError(
                f"{_described(region)} holds no cell of the grid, which covers latitude {field.latitude[0]:g} to "
                f"{field.latitude[-1]:g} and longitude {field.longitude[0]:g} to {field.longitude[-1]:g}; set region inside "
                "of it, or grid=FILE with another grid"
            )
        wraps = field.wraps and len(columns) == len(field.longitude)
        longitude = field.longitude[columns]
        if not wraps:
            # From the west of the region, which may lie on the other side of the seam of the grid.
            eastward = (longitude - region.longitude[0]) % field.period
            order = np.argsort(eastward)
            columns, eastward = columns[order], eastward[order]
            longitude = field.longitude[columns[0]] + eastward - eastward[0]
        place = slice(None), rows[:, None], columns
        if field.ocean is not None:
            ocean = field.ocean[place]
        else:
            ocean = np.concatenate([np.isfinite(array.variable[0].values[place]) for array in field.targets])
        if not ocean.any():
            raise UserError(f"{_described(region)} holds no ocean; set another region")
        return cls(
            field.latitude[rows],
            longitude,
            field.depths,
            ocean,
            rows,
            columns,
            field.period,
            wraps,
        )

    def check_trained(self, state: Mapping[str, Any], needs_domain: bool) -> None:
        """Check against the `state` of the data that a model was trained on (`OceanDataModule.state_dict`).

        `needs_domain` says whether the model knows positions or has a climatology, which end where its training field ends.

        Raises:
            UserError: other depths, or cells outside the domain of the training field.
        """
        check_depths(state["depths"], self.depths.tolist())
        domain = state["domain"]
        cell = spacing(self.latitude) if len(self.latitude) > 1 else 1.0
        # A domain that is not periodic is half as wide as its period.
        period, globe = domain["period"], self.period
        width = period if self.wraps or period >= globe else period / 2
        east = (self.longitude - domain["west"] + cell) % globe - cell
        outside = (self.latitude < domain["south"] - cell) | (self.latitude > domain["north"] + cell)
        beyond = (east > width + cell) & (width < globe)
        if needs_domain and (outside.any() or beyond.any()):
            raise UserError(
                f"the region covers latitude {self.latitude[0]:g} to {self.latitude[-1]:g} and longitude {self.longitude[0]:g} "
                f"to {self.longitude[-1]:g}, but the checkpoint was trained on latitude {domain['south']:g} to "
                f"{domain['north']:g} and {width:g} degrees of longitude from {domain['west']:g}, outside of which its "
                "climatology and positions mean nothing; set region.longitude and region.latitude inside of it"
            )


def field_of_grid(path: str | None, data: DictConfig) -> OceanField:
    """The field that gives grid and ocean: of a file, or by default that of the `data` that a model was trained on.

    Raises:
        FileNotFoundError, UserError: no such file, or no such variable on a regular grid in it.
    """
    if path is None and "field" in data:
        return instantiate(data.field)
    options = {name: data.get(name) for name in ("variable", "max_depth", "periodic_longitude")}
    if path is None:
        path = instantiate(data.path) if isinstance(data.path, DictConfig) else data.path
        options["coordinates"] = data.get("coordinates")
    return open_field(path, **options)


def _described(region: Box) -> str:
    (west, east), (south, north) = region.longitude, region.latitude
    return f"region.longitude=[{west:g},{east:g}] region.latitude=[{south:g},{north:g}]"

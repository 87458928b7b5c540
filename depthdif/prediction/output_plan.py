"""What the output of a prediction holds: its variables on its grid at its times, and the run that it belongs to."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from depthdif import UserError
from depthdif.data.variables import Variable, channels_of
from depthdif.diffusion.ensemble import Ensemble
from depthdif.prediction.grid import Grid

COUNT = "number_of_observations"  # the standard_name, and of a single variable the name
SUFFIXES = (".zarr", ".nc")

Fields = dict[str, np.ndarray]
"""Arrays of one time by the name of their variable: (D, H, W), with the quantiles or members before."""


@dataclasses.dataclass(frozen=True, eq=False)
class OutputPlan:
    """The layout of an output, and its attributes.

    Args:
        path: of the output, a Zarr store or a NetCDF file by its suffix.
        variables: those of the model.
        times: (T,) datetime64.
        variants: of the weights. The variables of a single one have the plain name; of several, that of the variant in it.
        ensemble_size: E, how many members there are; `spread`, whether two of them are independent.
        quantiles: (Q,) probabilities.
        members: whether they are kept.
        first_guess: whether the model has one.
        attributes: global attributes, such as `provenance` makes them.
        identity: what defines the run, as plain values of JSON: its checkpoint, observations and settings. Together with the
            coordinates and variables it tells whether an output on disk belongs to this run.

    Raises:
        UserError: another suffix, or quantiles without two independent members.
    """

    path: Path
    variables: tuple[Variable, ...]
    grid: Grid
    times: np.ndarray
    variants: tuple[str, ...]
    ensemble_size: int
    spread: bool
    quantiles: tuple[float, ...]
    members: bool
    first_guess: bool
    attributes: Mapping[str, str]
    identity: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.path.suffix not in SUFFIXES:
            raise UserError(
                f"output={self.path}; expected a name that ends in .zarr or .nc, such as output={self.path.with_suffix('.zarr')}"
            )
        if self.quantiles and not self.spread:
            raise UserError(
                f"quantiles={list(self.quantiles)} need at least two independent members; set ensemble_size=8, or "
                "quantiles=[] to leave them out"
            )

    def mean_name(self, variable: Variable, variant: str) -> str:
        """Name of the ensemble mean of a variant; with a suffix, that of its spread, quantiles and members."""
        # CF recommends letters, digits and underscores only (section 2.3): ema_0.99 is ema_0_99.
        letters = re.sub(r"\W", "_", variant)
        return f"{variable.name}_{letters}" if len(self.variants) > 1 else variable.name

    def count_name(self, variable: Variable) -> str:
        """Name of the number of observations of a variable in each cell."""
        return f"{variable.name}_{COUNT}" if len(self.variables) > 1 else COUNT

    def ensemble_fields(self, ensemble: Ensemble, variant: str) -> Fields:
        """The variables of a variant at one time from its `ensemble` of one patch, the whole grid.

        Statistics are taken level by level, as those of the whole ensemble at once need several times its memory.
        """
        if ensemble.has_spread != self.spread:
            raise ValueError(f"plan.spread={self.spread}, but the ensemble's is {ensemble.has_spread}")
        fields: Fields = {}
        for variable, channels in self._channels():
            fields |= self._statistics(ensemble.part(channels), self.mean_name(variable, variant))
        return fields

    def _channels(self) -> Iterator[tuple[Variable, slice]]:
        """Each variable with its channels."""
        for number, variable in enumerate(self.variables):
            yield variable, channels_of(number, len(self.grid.depths))

    def _statistics(self, ensemble: Ensemble, name: str) -> Fields:
        """The variables of one variable of the model, whose mean has a `name`."""
        shape = self.grid.shape
        mean = np.empty(shape, np.float32)
        spread = np.empty(shape, np.float32)
        quantiles = np.empty((len(self.quantiles), *shape), np.float32)
        for depth in range(shape[0]):
            level = dataclasses.replace(ensemble, members=ensemble.members[:, :, depth : depth + 1])
            mean[depth] = level.mean[0, 0]
            if (std := level.std) is not None:
                spread[depth] = std[0, 0]
            if self.quantiles and (values := level.quantiles(self.quantiles)) is not None:
                quantiles[:, depth] = values[0, :, 0]
        return (
            {name: mean}
            | ({f"{name}_spread": spread} if self.spread else {})
            | ({f"{name}_quantiles": quantiles} if self.quantiles else {})
            | ({f"{name}_members": ensemble.members[0]} if self.members else {})
        )

    def first_guess_fields(self, estimate: np.ndarray, error: np.ndarray) -> Fields:
        """The variables of the first guess at one time from its `estimate` and standard `error`, (C, H, W)."""
        return {
            f"{variable.name}_{suffix}": values[channels]
            for variable, channels in self._channels()
            for suffix, values in (("first_guess", estimate), ("first_guess_error", error))
        }

    def count_fields(self, count: np.ndarray) -> Fields:
        """The numbers of observations at one time, from those of all channels (C, H, W)."""
        return {self.count_name(variable): count[channels] for variable, channels in self._channels()}

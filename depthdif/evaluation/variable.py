"""One variable of an evaluation: its channels of a batch, in its own units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.normalization import Standardization
from depthdif.data.variables import Variable, channels_of, part_of_batch
from depthdif.evaluation.tally import GaussianForecast, Grid, Truth
from depthdif.first_guess.protocol import FirstGuessResult
from depthdif.scores.spectra import WindowSpectra
from depthdif.scores.volume import layer_thickness


@dataclass(frozen=True, eq=False)
class EvaluatedVariable:
    """A variable with its channels, their standardisation, and the grid of its tallies."""

    variable: Variable
    channels: slice
    standardization: Standardization
    grid: Grid

    @classmethod
    def all_of(cls, data: OceanDataModule) -> list[EvaluatedVariable]:
        """Every variable of the data."""
        field, spectra = (
            data.field,
            WindowSpectra.from_grid(data.patch_size, data.field.latitude, data.field.longitude),
        )
        variables = []
        for number, variable in enumerate(data.variables):
            channels = channels_of(number, len(data.depths))
            standardization = data.standardization.part(channels)
            grid = Grid(
                latitude=field.latitude,
                longitude=field.longitude,
                ocean=field.surface_ocean_mask,
                thickness=layer_thickness(field.depths),
                scale=float(standardization.std.max()),
                spectra=spectra,
                period=field.period,
            )
            variables.append(cls(variable, channels, standardization, grid))
        return variables

    def batch(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch with the channels of this variable alone."""
        return part_of_batch(batch, self.channels)

    def truth(self, batch: Mapping[str, Tensor]) -> Truth:
        """The truth of a batch of all variables."""
        return Truth.from_batch(self.batch(batch), self.standardization)

    def forecast(self, result: FirstGuessResult) -> GaussianForecast:
        """A first guess of all variables with its error."""
        return GaussianForecast.from_first_guess(
            result.estimate[:, self.channels], result.error_variance[:, self.channels], self.standardization
        )

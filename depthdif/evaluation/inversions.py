"""Density inversions of truth, baselines and model over the patches of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.variables import channels_of
from depthdif.evaluation.result import Method
from depthdif.scores.density import Inversions, SeawaterVariables, density_inversions

Array = NDArray[np.floating]
_ZERO_CELSIUS = 273.15


class InversionCounts:
    """Counts of each method, over all patches and members; none where the variables are not temperature and salinity.

    Attributes:
        of_methods: `Inversions` by method.
    """

    def __init__(self, data: OceanDataModule) -> None:
        named = [(variable.standard_name, variable.units) for variable in data.variables]
        self._seawater, self._depths = SeawaterVariables.among(named), data.depths
        self.of_methods: dict[Method, Inversions] = {}

    def add(self, method: Method, fields: Array, batch: Mapping[str, Tensor]) -> None:
        """Count those of `fields` (B, C, H, W), or of members (B, E, C, H, W), of a batch, in units of the variables."""
        if self._seawater is None:
            return
        latitude, longitude = batch["latitude"].numpy(), batch["longitude"].numpy()
        ocean = batch["ocean_mask"].numpy()
        if fields.ndim == 5:
            latitude, longitude, ocean = latitude[:, None], longitude[:, None], ocean[:, None]
        fields = np.where(ocean, fields, np.nan)
        temperature, salinity = (
            fields[..., channels_of(number, len(self._depths)), :, :]
            for number in (self._seawater.temperature, self._seawater.salinity)
        )
        if self._seawater.is_kelvin:
            temperature = temperature - _ZERO_CELSIUS
        found = density_inversions(
            temperature, salinity, self._depths, latitude, longitude, self._seawater.temperature_name
        )
        before = self.of_methods.get(method, Inversions(0, 0))
        self.of_methods[method] = Inversions(before.unstable + found.unstable, before.pairs + found.pairs)

    def drop(self, *methods: Method) -> None:
        """Forget methods that cannot be scored."""
        for method in methods:
            self.of_methods.pop(method, None)

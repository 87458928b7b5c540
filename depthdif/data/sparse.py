"""A gridded field masked to profiles: what a training from observations alone sees of an ocean whose truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
from rich.progress import track

from depthdif import UserError, check_integer
from depthdif.data.anomalies import SimulatedAnomalies
from depthdif.data.field import OceanField
from depthdif.data.profiles import ProfileSampler

# Keeps these draws apart from those of patches with the same seed.
_MEASURED = 5


@dataclasses.dataclass(frozen=True)
class MaskedToProfiles:
    """Keeps of each time of a field the cells that `profiles` measures, with their errors; surface fields stay as they are.

    The profiles of a time depend on the seed and the number of the time alone: every epoch sees the same ones.

    Args:
        profiles: its density is the share of the ocean columns of the whole field.
        seed: of the columns and errors.

    Raises:
        UserError: a seed that is no whole number of at least 0.
    """

    profiles: ProfileSampler
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("data.masked_to.seed", self.seed, 0)

    def __call__(self, field: OceanField) -> OceanField:
        """The sparse field, in memory; its `ocean` is where the field is defined at any time.

        Raises:
            UserError: a field that is sparse already.
        """
        if field.is_sparse:
            raise UserError(
                "data.masked_to is set, but the field holds profiles alone; set data/masked_to=none"
            )
        masked = [np.full(array.shape, np.nan, np.float32) for array in field.targets]
        ocean = np.zeros((field.channels, *field.target.shape[2:]), bool)
        for time in track(range(len(field.times)), "masking to profiles", transient=True):
            values = np.concatenate([array.variable[time].values for array in field.targets])
            ocean |= np.isfinite(values)
            if np.isfinite(values).any():
                generator = np.random.default_rng([self.seed, _MEASURED, time])
                measured = self.profiles.observe(values, generator, len(masked))
                for array, part in zip(masked, np.split(measured, len(masked)), strict=True):
                    array[time] = part
        target, *further = (
            array.copy(data=values) for array, values in zip(field.targets, masked, strict=True)
        )
        return dataclasses.replace(field, target=target, further=tuple(further), ocean=ocean)


def check_sparse(field: OceanField, profiles: ProfileSampler, anomalies: SimulatedAnomalies | None) -> None:
    """Raise UserError where a sparse field has no measured column, or options that suit a dense one alone."""
    if not any(np.isfinite(array.values).any() for array in field.targets):
        raise UserError(
            f"no profile of {' or '.join(variable.name for variable in field.variables)} lies in the field; choose other files, "
            "times or a larger region"
        )
    if any(profiles.of_each("error", len(field.targets))):
        raise UserError(
            f"data.profiles.error={profiles.error}, but the field holds profiles, which have their errors already; set "
            "data.profiles.error=0"
        )
    if anomalies is not None:
        raise UserError(
            "data.anomalies is set, but the field holds profiles, to which nothing can be added; set data/anomalies=none"
        )


def has_hidden_profiles(target: np.ndarray, density: float = 0.0) -> bool:
    """Whether a patch (C, H, W) of a sparse field has profiles to hide where a share `density`, at least one, is shown."""
    columns = int(np.isfinite(target).any(axis=0).sum())
    return columns > max(1, round(density * columns))

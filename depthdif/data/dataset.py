"""The conditions of the model, and samples as pure functions of (seed, number of the draw).

Lightning is not imported here: worker processes load this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from depthdif import UserError
from depthdif.data.anomalies import SimulatedAnomalies
from depthdif.data.augmentation import Mirrors
from depthdif.data.field import OceanField
from depthdif.data.normalization import Standardization
from depthdif.data.patches import Patch, PatchSet, cut, ocean_of_patch, patch_longitude, read_patch
from depthdif.data.profiles import ProfileSampler
from depthdif.data.sparse import has_hidden_profiles
from depthdif.first_guess.climatology import Climatology
from depthdif.first_guess.protocol import FirstGuess, PatchData
from depthdif.first_guess.regressions import Regressions

Sample = dict[str, Any]
Batch = dict[str, torch.Tensor]

# Keys that keep the random streams of one seed apart.
TRAINING, VALIDATION, VALIDATION_LAYOUT, AUGMENTATION, SURFACE = range(5)

# Draws until a patch contains ocean: a field may be missing at some times.
_MAX_REDRAWS = 100


@dataclasses.dataclass(frozen=True)
class Conditioner:
    """Makes the conditions of the data contract (docs/data.md) from physical units, for training and prediction.

    All but the first guess, which is made for a batch (`with_first_guess`). The standardisations have the C channels of the
    target and the S of the surface, the climatology has both in this order. Climatology and the regressions of the first guess
    are optional.
    """

    standardization: Standardization
    surface_standardization: Standardization
    climatology: Climatology | None = None
    regressions: Regressions | None = None

    def __call__(
        self,
        observations: np.ndarray,
        surface: np.ndarray,
        ocean_mask: np.ndarray,
        latitude: np.ndarray,
        longitude: np.ndarray,
        day_of_year: float | np.floating,
    ) -> dict[str, Any]:
        """The conditions of one patch.

        Observations (C, H, W) and surface (S, H, W) are in the units of their fields, NaN where not observed or missing; the
        ocean mask (C, H, W) is bool; latitude (H,) and longitude (W,) are float32 degrees, ascending; days count from 1 to 366.
        """
        observed_mask, surface_mask = np.isfinite(observations), np.isfinite(surface)
        observations = self.standardization.standardize(observations)
        surface = self.surface_standardization.standardize(surface)
        centre = [(latitude[0] + latitude[-1]) / 2, ((longitude[0] + longitude[-1]) / 2 + 180) % 360 - 180]
        return {
            "observations": np.where(observed_mask, observations, np.float32(0)),
            "observed_mask": observed_mask,
            "ocean_mask": ocean_mask,
            "surface": np.where(surface_mask, surface, np.float32(0)),
            "surface_mask": surface_mask,
            "latitude": latitude,
            "longitude": longitude,
            **self._backgrounds(ocean_mask, latitude, longitude, float(day_of_year)),
            **self._regressions(surface_mask),
            "coordinates": np.array(centre, np.float32),
            "day_of_year": np.float32(day_of_year),
        }

    def _regressions(self, surface_mask: np.ndarray) -> dict[str, np.ndarray]:
        """Those on the surface fields that are defined anywhere in the patch."""
        if self.regressions is None:
            return {}
        slopes, covariance = self.regressions.given(np.any(surface_mask, axis=(1, 2)))
        return {"surface_slopes": slopes, "level_covariance": covariance}

    def _backgrounds(
        self, ocean_mask: np.ndarray, latitude: np.ndarray, longitude: np.ndarray, day_of_year: float
    ) -> dict[str, np.ndarray]:
        """The standardised climatology of target and surface; 0, which is the mean profile, where it is undefined."""
        if self.climatology is None:
            return {}
        values = self.climatology(latitude, longitude, day_of_year)
        channels = len(ocean_mask)
        target = self.standardization.standardize(values[:channels])
        surface = self.surface_standardization.standardize(values[channels:])
        return {
            "background": np.where(ocean_mask, np.nan_to_num(target), np.float32(0)),
            "surface_background": np.nan_to_num(surface),
        }


class PatchCutter:
    """Cuts patches of a field into samples of the data contract (docs/data.md).

    `patch_size` is rows and columns; the conditioner makes the conditions and standardises the target, to which `anomalies` are
    added first. Samples hold the `coast_distance` of their cells, (1, H, W) km, where that of the field (H, W) is given.
    """

    def __init__(
        self,
        field: OceanField,
        patch_size: tuple[int, int],
        conditioner: Conditioner,
        anomalies: SimulatedAnomalies | None = None,
        coast_distance: np.ndarray | None = None,
    ) -> None:
        self._coast_distance = coast_distance
        self._field = field
        self._patch_size = patch_size
        self._conditioner = conditioner
        self._anomalies = anomalies
        self._latitude = field.latitude.astype(np.float32)
        self._days = field.days
        self._day_of_year = field.day_of_year

    def read(self, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        """Target (C, H, W) and surface (S, H, W), physical units, NaN where missing."""
        return read_patch(self._field, patch, self._patch_size)

    def sample(
        self,
        patch: Patch,
        values: tuple[np.ndarray, np.ndarray],
        profiles: ProfileSampler,
        generator: np.random.Generator,
        index: int,
        withheld: bool = False,
    ) -> Sample:
        """The sample number `index`: a patch that was read, with what `profiles` observes of it.

        With `withheld` the target of a sparse field are the cells that are not observed alone.
        """
        target, surface = values
        ocean_mask = ocean_of_patch(self._field, patch, self._patch_size, target)
        height, width = self._patch_size
        latitude = self._latitude[patch.row : patch.row + height]
        longitude = patch_longitude(self._field, patch, width)
        observable = target
        if self._anomalies is not None:
            anomalies, unresolved = self._anomalies(
                target, self._field.depths, latitude, longitude, generator
            )
            target = target + anomalies
            observable = target + unresolved
        conditions = self._conditioner(
            profiles.observe(observable, generator, len(self._field.targets)),
            surface,
            ocean_mask,
            latitude,
            longitude,
            self._day_of_year[patch.time],
        )
        standardized = self._conditioner.standardization.standardize(target)
        target_mask = np.isfinite(target)
        if withheld and self._field.is_sparse:
            target_mask &= ~conditions["observed_mask"]
        return {
            "target": np.where(target_mask, standardized, np.float32(0)),
            "target_mask": target_mask,
            **conditions,
            **self._coast(patch),
            "time": self._days[patch.time],
            "index": np.int64(index),
        }

    def without_surface(
        self, values: tuple[np.ndarray, np.ndarray], missing: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """A patch that was read, without the channels of some surface variables at all offsets."""
        if not missing:
            return values
        target, surface = values
        names = [str(array.name) for array in self._field.surface] * len(self._field.surface_offsets)
        gone = np.isin(names, list(missing))
        return target, np.where(gone[:, None, None], np.float32(np.nan), surface)

    def is_usable(self, values: tuple[np.ndarray, np.ndarray]) -> bool:
        """Whether a patch that was read has ocean, or of a sparse field profiles to show and to hide."""
        return has_hidden_profiles(values[0]) if self._field.is_sparse else bool(np.isfinite(values[0]).any())

    def _coast(self, patch: Patch) -> dict[str, np.ndarray]:
        if self._coast_distance is None:
            return {}
        return {"coast_distance": cut(self._coast_distance[None], self._field, patch, self._patch_size)}


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingPatches(Dataset[Sample]):
    """An endless set of random patches: sample n depends on (seed, n) alone, in every process and at any time.

    `length` is the number of draws in an epoch; greater indices are valid too. Augmentation None leaves the samples unchanged;
    `surface_dropout` is the probability of each surface variable to be missing in a sample.
    """

    patches: PatchSet
    profiles: ProfileSampler
    cutter: PatchCutter
    length: int
    seed: int
    augmentation: Mirrors | None = None
    surface_dropout: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, draw: int) -> Sample:
        generator = np.random.default_rng([self.seed, TRAINING, draw])
        for _ in range(_MAX_REDRAWS):
            patch = self.patches.draw(generator)
            values = self.cutter.read(patch)
            if self.cutter.is_usable(values):
                if any(self.surface_dropout.values()):
                    # A random stream of its own, like that of the augmentation.
                    draws = np.random.default_rng([self.seed, SURFACE, draw]).random(
                        len(self.surface_dropout)
                    )
                    dropped = [
                        name
                        for name, one in zip(self.surface_dropout, draws, strict=True)
                        if one < self.surface_dropout[name]
                    ]
                    values = self.cutter.without_surface(values, dropped)
                sample = self.cutter.sample(patch, values, self.profiles, generator, draw)
                if self.augmentation is None:
                    return sample
                # A random stream of its own: augmentation does not change patches and profiles.
                return self.augmentation(sample, np.random.default_rng([self.seed, AUGMENTATION, draw]))
        raise UserError(
            f"{_MAX_REDRAWS} training patches in a row contain no ocean, or of a field of profiles fewer than two; most times of "
            "the target seem to be missing: leave these times out of data.path"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPatches(Dataset[Sample]):
    """A list of patches with fixed observed columns: sample i depends on (seed, i) alone.

    The surface variables `surface_missing` are missing in all of them.
    """

    patches: Sequence[Patch]
    profiles: ProfileSampler
    cutter: PatchCutter
    seed: int
    surface_missing: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> Sample:
        generator = np.random.default_rng([self.seed, VALIDATION, index])
        patch = self.patches[index]
        values = self.cutter.without_surface(self.cutter.read(patch), self.surface_missing)
        return self.cutter.sample(patch, values, self.profiles, generator, index, withheld=True)


def collate(samples: Sequence[Sample], first_guess: FirstGuess | None = None) -> Batch:
    """Stack samples into the batch of the data contract, with the first guess if there is one."""
    batch = {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in samples[0]}
    return with_first_guess(batch, PatchData.from_batch(batch), first_guess) if first_guess else batch


def with_first_guess(batch: Batch, patches: PatchData, first_guess: FirstGuess) -> Batch:
    """A batch of the data contract with the first guess of its patches."""
    result = first_guess(patches)
    return {
        **batch,
        "first_guess": result.estimate,
        "first_guess_error": result.error_variance.sqrt(),
        "first_guess_misfit": result.misfit.float(),
    }

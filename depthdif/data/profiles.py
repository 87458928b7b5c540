"""Sparse vertical profiles such as those of Argo floats: the observed cells of a patch, and what is observed there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from depthdif import UserError

# Levels of a profile of few levels, at most.
_FEW_LEVELS = 3


@dataclasses.dataclass(frozen=True)
class ProfileSampler:
    """Random ocean columns, observed as instruments do: some profiles end early, miss levels or have few, and all have errors.

    Each share applies to the profiles independently of the other shares, in this order. With `gap_fraction`,
    `few_levels_fraction` and `error` of 0 the profiles are whole from the top, and exact.

    Args:
        density: share of the ocean columns of a patch that is observed: one number, or a range from which each patch draws
            log-uniformly. Of a sparse field it is the share of the measured columns that are shown.
        shallow_fraction: share that ends above the sea floor or the deepest level, at a level drawn uniformly.
        gap_fraction: share that misses each level between its shallowest and its deepest with probability 1/2.
        few_levels_fraction: share that keeps 1 to 3 of its levels, the number and the levels drawn uniformly.
        error: standard deviation of the errors of the observations, instrument and representativity together, in units of
            the field; one number, or one for each variable. Half of the variance is one Gaussian error of the whole profile, half
            is independent between levels.
        variable_fraction: share of the profiles that measure a variable, where there are several; one number, or one for each
            variable. A profile that would measure none measures one of them, each as likely.

    Raises:
        UserError: a value out of range.
    """

    density: float | Sequence[float] = (0.01, 0.1)
    shallow_fraction: float = 0.3
    gap_fraction: float = 0.0
    few_levels_fraction: float = 0.0
    error: float | Sequence[float] = 0.0
    variable_fraction: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        density = (self.density,) * 2 if isinstance(self.density, int | float) else tuple(self.density)
        if len(density) != 2 or not 0 < density[0] <= density[1] <= 1:
            raise UserError(
                f"data.profiles.density={self.density}; expected a share of the ocean columns or a range within 0 "
                "to 1, e.g. data.profiles.density=[0.01,0.1]"
            )
        for name in ("shallow_fraction", "gap_fraction", "few_levels_fraction"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(
                    f"data.profiles.{name}={value}; expected a number from 0 to 1, e.g. data.profiles.{name}=0.1"
                )
        if not all(0 <= error < math.inf for error in _numbers(self.error)):
            raise UserError(
                f"data.profiles.error={self.error}; expected a standard deviation in units of the field, at least 0, "
                "e.g. data.profiles.error=0.05"
            )
        if not all(0 < share <= 1 for share in _numbers(self.variable_fraction)):
            raise UserError(
                f"data.profiles.variable_fraction={self.variable_fraction}; expected shares above 0 and at most 1, e.g. "
                "data.profiles.variable_fraction=[1,0.7]"
            )
        object.__setattr__(self, "density", (float(density[0]), float(density[1])))

    def observe(self, target: np.ndarray, generator: np.random.Generator, variables: int = 1) -> np.ndarray:
        """Observations (C, H, W) float32 of a target that is NaN outside the ocean, in its units; NaN where not observed.

        Its channels are the depths of each of the `variables`.

        Raises:
            ValueError: the patch contains no ocean.
            UserError: a list in the settings that has not one number for each variable.
        """
        observed = self.sample(np.isfinite(target), generator, variables)
        observations = np.where(observed, target, np.float32(np.nan))
        for values, seen, error in zip(
            np.split(observations, variables),
            np.split(observed, variables),
            self.of_each("error", variables),
            strict=True,
        ):
            if error:
                part, columns = error / math.sqrt(2), seen.any(axis=0)
                values[:, columns] += generator.normal(0, part, np.count_nonzero(columns))
                values[seen] += generator.normal(0, part, np.count_nonzero(seen))
        return observations

    def of_each(self, name: str, variables: int) -> Sequence[float]:
        """A setting for each variable."""
        numbers = _numbers(getattr(self, name))
        if len(numbers) not in (1, variables):
            raise UserError(
                f"data.profiles.{name}={list(numbers)} for {variables} variables; expected one number, or one for each "
                "variable of data.variable"
            )
        return numbers * variables if len(numbers) == 1 else numbers

    def sample(
        self, ocean_mask: np.ndarray, generator: np.random.Generator, variables: int = 1
    ) -> np.ndarray:
        """Observed cells (C, H, W) bool, at least one column, of the ocean mask (C, H, W), shallowest level first.

        A profile has the same levels of all variables that it measures, where they are ocean.

        Raises:
            ValueError: the patch contains no ocean.
        """
        columns = np.flatnonzero(ocean_mask.any(axis=0))
        if not len(columns):
            raise ValueError("the patch contains no ocean; profiles need at least one ocean column")
        low, high = self.density  # type: ignore[misc]
        density = np.exp(generator.uniform(np.log(low), np.log(high)))
        count = max(1, round(density * len(columns)))
        chosen = generator.choice(columns, count, replace=False)
        # (V, D, N), and the levels (D, N) where any variable is ocean.
        by_variable = ocean_mask.reshape(variables, len(ocean_mask) // variables, -1)[..., chosen]
        ocean = by_variable.any(axis=0)
        # Number of levels that each profile keeps: all defined levels, or fewer where it ends early.
        levels = ocean.sum(axis=0)
        shallow = (generator.random(count) < self.shallow_fraction) & (levels > 1)
        kept = np.where(shallow, generator.integers(1, np.maximum(levels, 2)), levels)
        profiles = ocean & (np.cumsum(ocean, axis=0) <= kept)
        # Drawn only where they are wanted, so that they do not change the profiles of a seed elsewhere.
        if self.gap_fraction:
            profiles = _with_gaps(profiles, generator.random(count) < self.gap_fraction, generator)
        if self.few_levels_fraction:
            profiles = _with_few_levels(
                profiles, generator.random(count) < self.few_levels_fraction, generator
            )
        seen = by_variable & profiles
        shares = self.of_each("variable_fraction", variables)
        if variables > 1 and min(shares) < 1:
            seen = _measuring(seen, shares, generator)
        observed = np.zeros((len(ocean_mask), ocean_mask[0].size), bool)
        observed[:, chosen] = seen.reshape(len(ocean_mask), -1)
        return observed.reshape(ocean_mask.shape)


def _numbers(setting: float | Sequence[float]) -> list[float]:
    """One number or several as a list."""
    return [float(value) for value in (setting if isinstance(setting, Sequence) else [setting])]


def _measuring(seen: np.ndarray, shares: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Profiles (V, D, N) bool, each of which keeps a variable with the probability of its share (V,), one at the least."""
    available = seen.any(axis=1)
    draws = np.where(available, generator.random(available.shape), np.inf)
    measures = draws < np.asarray(shares)[:, None]
    # Draws relative to the shares would favour a variable of a small share.
    one = np.where(available, generator.random(available.shape), np.inf).argmin(axis=0)
    measures[one, np.arange(seen.shape[2])] |= ~measures.any(axis=0)
    kept: np.ndarray = seen & measures[:, None]
    return kept


def _with_gaps(profiles: np.ndarray, chosen: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Profiles (D, N) bool, of which the `chosen` (N,) miss each level between first and last with probability 1/2."""
    number = np.cumsum(profiles, axis=0)
    between = (number > 1) & (number < number[-1])
    return profiles & ~(between & chosen & (generator.random(profiles.shape) < 0.5))


def _with_few_levels(profiles: np.ndarray, chosen: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Profiles (D, N) bool, of which the `chosen` (N,) keep 1 to 3 of their levels."""
    number = generator.integers(1, _FEW_LEVELS + 1, len(chosen))
    # Levels in a random order, those of the profile first.
    order = np.where(profiles, generator.random(profiles.shape), 1.0).argsort(axis=0).argsort(axis=0)
    return profiles & ~(chosen & (order >= number))

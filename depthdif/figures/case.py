"""One reconstructed patch as the figures show it, and the water columns whose profiles they draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depthdif.data.normalization import Standardization

Field = NDArray[np.floating]


@dataclass(frozen=True)
class Case:
    """One patch in physical units; (D, H, W) fields hold NaN where they are not defined.

    Attributes:
        title: date and position.
        truth: NaN on land, below the sea floor, and where there is no target.
        observations: NaN where nothing was observed.
        reconstruction: the ensemble mean, or the only member; NaN outside the ocean.
        first_guess: NaN outside the ocean, or None without one.
        latitude: (H,) degrees north.
        longitude: (W,) degrees east, ascending also across the date line.
        member: one member of the ensemble, or None where `reconstruction` is the only one.
    """

    title: str
    truth: Field
    observations: Field
    reconstruction: Field
    first_guess: Field | None
    latitude: Field
    longitude: Field
    member: Field | None = None

    @property
    def error(self) -> Field:
        """Reconstruction minus truth."""
        return self.reconstruction - self.truth

    @property
    def estimates(self) -> dict[str, Field]:
        """The available estimates of the truth by their labels: first guess, member and mean."""
        mean = "reconstruction" if self.member is None else "ensemble mean"
        fields = {"first guess": self.first_guess, "one member": self.member, mean: self.reconstruction}
        return {label: field for label, field in fields.items() if field is not None}

    def rmse(self, estimate: Field, level: int) -> float:
        """Root mean squared error of one level of an estimate over the ocean, NaN where the level has none."""
        ocean = np.isfinite(self.truth[level])
        squares = (estimate[level] - self.truth[level])[ocean] ** 2
        return float(np.sqrt(squares.mean())) if squares.size else float("nan")


def case_of(
    sample: Mapping[str, Tensor],
    reconstruction: Tensor | np.ndarray,
    standardization: Standardization,
    member: Tensor | np.ndarray | None = None,
) -> Case:
    """The case of one sample of the data contract, its reconstruction and one member, both (D, H, W) in physical units."""
    ocean = sample["ocean_mask"]

    def physical(field: Tensor, defined: Tensor) -> np.ndarray:
        return np.where(defined, standardization.restore(field.float()), np.nan)

    day = np.datetime64(int(sample["time"]), "D")
    return Case(
        title=f"{day}   {format_position(*sample['coordinates'].tolist())}",
        truth=physical(sample["target"], sample["target_mask"]),
        observations=physical(sample["observations"], sample["observed_mask"]),
        reconstruction=np.where(ocean, reconstruction, np.nan),
        first_guess=physical(sample["first_guess"], ocean) if "first_guess" in sample else None,
        latitude=sample["latitude"].numpy(),
        longitude=sample["longitude"].numpy(),
        member=None if member is None else np.where(ocean, member, np.nan),
    )


def most_complete_observed_column(case: Case) -> tuple[int, int] | None:
    """Row and column of the observed profile with the most levels, None when nothing was observed."""
    counts = np.isfinite(case.observations).sum(axis=0)
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    return (int(row), int(column)) if counts.max() else None


def column_far_from_observations(case: Case) -> tuple[int, int] | None:
    """Row and column of the deepest ocean farthest, in cells, from every observed column; None when there is no ocean."""
    levels = np.isfinite(case.truth).sum(axis=0)
    if not levels.max():
        return None
    deepest = np.argwhere(levels == levels.max())
    observed = np.argwhere(np.isfinite(case.observations).any(axis=0))
    if not len(observed):
        return tuple(deepest[len(deepest) // 2])
    distance = np.linalg.norm(deepest[:, None] - observed[None], axis=-1).min(axis=1)
    return tuple(deepest[distance.argmax()])


def format_position(latitude: float, longitude: float) -> str:
    """Such as `12.5°S 65.5°E`; longitudes beyond the date line are folded back."""
    folded = (float(longitude) + 180) % 360 - 180
    north, east = "NS"[int(latitude < 0)], "EW"[int(folded < 0)]
    return f"{abs(float(latitude)):.1f}°{north} {abs(folded):.1f}°{east}"

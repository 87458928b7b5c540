"""What the surface fields and the levels of a profile say of the other levels, by regression over the training region."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from depthdif.first_guess.covariance import fill_surface
from depthdif.first_guess.protocol import PatchData, Profiles

# A level of which the others explain a smaller share of variance is not estimated from them.
_LEAST_SHARE = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Regressions:
    """Of the standardised anomalies from the background of a first guess.

    Attributes:
        surface_slopes: (D, S) float32, multiple linear regression of each level on the surface fields.
        level_covariance: (D, D) float32, covariance between levels of the remainder of that regression.
    """

    surface_slopes: np.ndarray
    level_covariance: np.ndarray

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Regressions:
        """From its attributes by name, as tensors or lists."""
        return cls(**{name: np.asarray(state[name], np.float32) for name in state})


def measure_regressions(samples: Callable[[], Iterable[Mapping[str, Any]]], background: str) -> Regressions:
    """Regressions over all ocean cells of some samples of the data contract, which are passed through twice.

    `background` is that of the first guess. As in its use, missing surface cells are interpolated.
    """
    products, moments = np.zeros(()), np.zeros(())
    for anomaly, ocean, surface in _columns(samples(), background):
        products = products + np.einsum("dn,sn,tn->dst", ocean, surface, surface)
        moments = moments + anomaly @ surface.T
    slopes = (np.linalg.pinv(products, hermitian=True) @ moments[..., None])[..., 0]
    squares, count = np.zeros(()), np.zeros(())
    for anomaly, ocean, surface in _columns(samples(), background):
        remainder = np.where(ocean, anomaly - slopes @ surface, 0.0)
        squares = squares + remainder @ remainder.T
        count = count + ocean.astype(np.float64) @ ocean.T
    # Levels of different depths have different cells, so that the covariance may be slightly indefinite.
    values, vectors = np.linalg.eigh(squares / np.maximum(count, 1))
    covariance = (vectors * np.maximum(values, 0)) @ vectors.T
    return Regressions(slopes.astype(np.float32), covariance.astype(np.float32))


def _columns(
    samples: Iterable[Mapping[str, Any]], background: str
) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Anomalies (D, N), 0 outside the ocean, ocean (D, N) bool and surface (S, N) of the cells of each sample, float64."""
    for sample in samples:
        patch, anomaly = PatchData.from_sample(sample), sample["target"].astype(np.float64)
        if background == "climatology":
            patch, anomaly = patch.anomalies(), anomaly - patch.background
        surface = fill_surface(patch.surface, patch.surface_mask)
        depths, ocean = len(anomaly), patch.ocean_mask
        yield (
            np.where(ocean, anomaly, 0.0).reshape(depths, -1),
            ocean.reshape(depths, -1),
            surface.reshape(len(surface), ocean[0].size),
        )


def completed(profiles: Profiles, ocean: np.ndarray, covariance: np.ndarray, nugget: float) -> Profiles:
    """Profiles with the ocean levels that they miss estimated from those that they have.

    With variance c of a level, of which the observed levels explain a share p, their regression x is the posterior mean of
    a prior N(0, c). It is that of an observation x / p with noise c (1 / p - 1), which is returned: the prior is left to the
    interpolation.

    Args:
        profiles: anomalies from background and regression on the surface.
        ocean: (D, N) bool, the levels above the sea floor.
        covariance: (D, D) between levels.
        nugget: noise of the observations, relative to the variance of their level.
    """
    columns = np.flatnonzero((ocean & ~profiles.observed).any(axis=0))
    covariance = covariance.astype(np.float64)
    seen, variance = profiles.observed[:, columns].T, np.diag(covariance)
    across = np.where(seen[:, :, None], covariance, 0.0)
    # Levels without observation have a row of the identity: one stack of systems solves all profiles.
    matrix = np.where(seen[:, None, :], across, 0.0)
    matrix += np.eye(len(variance)) * np.where(seen, (nugget + 1e-6) * variance + 1e-30, 1.0)[:, None, :]
    weights = np.linalg.solve(matrix, across)
    estimate = np.einsum("nkd,kn->dn", weights, profiles.values[:, columns])
    explained = np.einsum("nkd,nkd->dn", weights, across)
    share = np.minimum(explained / np.where(variance > 0, variance, 1.0)[:, None], 1.0)
    added = ocean[:, columns] & ~seen.T & (share > _LEAST_SHARE)
    values, observed, noise = (part.copy() for part in (profiles.values, profiles.observed, profiles.noise))
    safe = np.where(added, share, 1.0)
    values[:, columns] = np.where(added, estimate / safe, values[:, columns])
    noise[:, columns] = np.where(added, 1 / safe - 1, noise[:, columns])
    observed[:, columns] |= added
    return Profiles(profiles.columns, values, observed, noise)

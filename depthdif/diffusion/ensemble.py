"""What an ensemble of reconstructions says of each cell: mean, standard deviation, quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


class EnsembleSummary(NamedTuple):
    """An ensemble of E reconstructions of B patches, in the units of its members; NaN outside the ocean.

    Attributes:
        mean: (B, D, H, W), the best estimate by squared error.
        std: (B, D, H, W) unbiased, from the N independent members (divided by N - 1); None for one, which has no spread.
        quantiles: (B, Q, D, H, W) of the `probabilities`; None for a single member.
        probabilities: (Q,) from 0 to 1.
    """

    mean: Tensor
    std: Tensor | None
    quantiles: Tensor | None
    probabilities: tuple[float, ...]


def summarise(
    members: Tensor,
    ocean_mask: Tensor,
    probabilities: Sequence[float] = PROBABILITIES,
    independent: Tensor | None = None,
) -> EnsembleSummary:
    """Summary of `members` (B, E, D, H, W) where `ocean_mask` (B, D, H, W) holds.

    `independent` (B, N, D, H, W) are those of them that are independent of each other (`ReverseSampler.independent`);
    None is all.

    Raises:
        ValueError: a probability outside 0 to 1.
    """
    if not all(0 <= probability <= 1 for probability in probabilities):
        raise ValueError(
            f"probabilities are {list(probabilities)}: expected numbers from 0 to 1, such as 0.95"
        )
    ocean = ocean_mask[:, None]
    mean = members.mean(dim=1).where(ocean_mask, torch.nan)
    independent = members if independent is None else independent
    if independent.shape[1] == 1:
        return EnsembleSummary(mean, None, None, tuple(probabilities))
    std = independent.std(dim=1).where(ocean_mask, torch.nan)
    # Level by level: to sort takes three times the memory of what is sorted.
    levels = [ensemble_quantiles(level, probabilities) for level in members.unbind(dim=2)]
    quantiles = torch.stack(levels, dim=2).where(ocean, torch.nan)
    return EnsembleSummary(mean, std, quantiles, tuple(probabilities))


def ensemble_quantiles(members: Tensor, probabilities: Sequence[float]) -> Tensor:
    """Quantiles over the members: (B, E, ...) to (B, Q, ...).

    Interpolated between order statistics, number 7 of Hyndman & Fan (1996, doi 10.2307/2684934), which is what NumPy
    does. (`torch.quantile` takes 16 million numbers at most.)
    """
    ordered = members.sort(dim=1).values
    last = members.shape[1] - 1
    places = [probability * last for probability in probabilities]
    between = [
        ordered[:, int(place)].lerp(ordered[:, min(int(place) + 1, last)], place % 1) for place in places
    ]
    return torch.stack(between, dim=1)

"""The first guess of a whole domain: exact in overlapping blocks of cells, each from the profiles nearest to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from depthdif import UserError
from depthdif.first_guess.blocks import Blocks
from depthdif.first_guess.columns import Profiles, count_late
from depthdif.first_guess.covariance import Cells
from depthdif.first_guess.interpolation import Interpolation, Sources, pairs_at_once
from depthdif.first_guess.protocol import FirstGuess, FirstGuessResult, PatchData

# Rows and columns of a block, the largest first. One of the smallest has no more cells than the fewest neighbours.
_SIDES = (32, 16, 8, 4)
_LEAST_NEIGHBOURS = 16

# The largest share of the neighbours of a block that may lie inside of it, so that the others surround it.
_SHARE_INSIDE = 0.25


def domain_first_guess(
    first_guess: FirstGuess,
    domain: PatchData,
    neighbours: int = 100,
    period: float | None = None,
    advance: Callable[[int], None] | None = None,
) -> FirstGuessResult:
    """First guess of a domain without seams, at a cost linear in its cells.

    Overlapping blocks cover the domain. Each is interpolated from the `neighbours` profiles nearest to it, as a patch is from
    its profiles. Where blocks overlap, estimate and error variance are means of theirs, with weights that fall linearly towards
    the edge of a block. With at most `neighbours` profiles in all, the result is that of `first_guess(domain)`. What a first
    guess estimates from the observations of a patch, such as the scale of its error variance, it estimates from those of each
    neighbourhood. The misfit of a profile is that in the neighbourhood of the block nearest to it.

    Args:
        first_guess: one that is no `Interpolation` is called with the whole domain.
        domain: as one patch, B = 1.
        neighbours: profiles of a neighbourhood, whatever levels they observe; at least 16.
        period: degrees of longitude after which the domain repeats itself; None where it has a western and an eastern edge.
        advance: called with the number of cells that have been finished since its last call.

    Returns:
        Fields (1, D, H, W), all float32.

    Raises:
        UserError: fewer than 16 neighbours; or what the first guess raises.
    """
    if neighbours < _LEAST_NEIGHBOURS:
        raise UserError(
            f"neighbours={neighbours} for the first guess of a domain; expected at least {_LEAST_NEIGHBOURS} profiles, e.g. "
            "neighbours=100"
        )
    _, depths, height, width = domain.shape
    if not isinstance(first_guess, Interpolation):
        result = first_guess(domain)
        if advance is not None:
            advance(height * width)
        return FirstGuessResult(*(field.float() for field in result))
    index = domain.columns.index[0]
    cells, profiles = _anomalies(first_guess, domain, wraps=period is not None)
    places = cells.take(index[None])
    observed = domain.profiles().observed[0]

    ocean = domain.ocean_mask[0].any(dim=0)
    blocks = Blocks.cover(cells, ocean, _side(index, width, neighbours), period)
    nearest, distance = blocks.nearest(places, first_guess.scales(), neighbours)
    # The one neighbourhood that each profile has its misfit from.
    least = distance.new_full(index.shape, math.inf)
    least.scatter_reduce_(0, nearest.flatten(), distance.flatten(), "amin")
    owned = distance == least[nearest]

    fields = [torch.zeros_like(domain.observations[0], dtype=torch.float32) for _ in range(2)]
    misfits = [fields[0].new_zeros(depths, len(index)) for _ in range(2)]
    finished = 0
    for numbers, incomplete, late in _batches(blocks, observed, nearest):
        part, near = blocks.take(numbers), nearest[numbers]
        taken = (values[0][:, near].transpose(0, 1) for values in profiles)
        slopes = domain.surface_slopes
        sources = Sources(
            _around(part, places, near),
            Profiles(*taken),
            incomplete,
            late,
            None if slopes is None else slopes.expand(len(part), -1, -1),
        )
        *estimates, misfit, misfit_variance = first_guess.estimate(
            sources, part.cells(cells), part.place(index[near], width)
        )
        for field, estimate in zip(fields, estimates, strict=True):
            part.add(field, estimate)
        block, profile = owned[numbers].nonzero(as_tuple=True)
        for at_profiles, values in zip(misfits, (misfit, misfit_variance), strict=True):
            at_profiles[:, near[block, profile]] = values[block, :, profile].mT.float()
        if advance is not None:
            before, finished = finished, finished + len(part)
            advance(height * width * finished // len(blocks) - height * width * before // len(blocks))

    for field in fields:
        field.masked_fill_(~domain.ocean_mask[0], 0)
    if first_guess.background == "climatology" and domain.background is not None:
        # Level by level, because a copy of the domain is large.
        for level, ocean, background in zip(
            fields[0], domain.ocean_mask[0], domain.background[0], strict=True
        ):
            level += torch.where(ocean, background, 0)
    grids = (
        torch.zeros_like(fields[0])
        .flatten(1)
        .scatter_(1, index.expand(depths, -1), values)
        .view_as(fields[0])
        for values in misfits
    )
    return FirstGuessResult(*(field[None] for field in (*fields, *grids)))


def _anomalies(first_guess: Interpolation, domain: PatchData, *, wraps: bool) -> tuple[Cells, Profiles]:
    """The cells of a domain and its profiles as they are interpolated."""
    patches = first_guess.about_background(domain)
    cells = first_guess.cells(patches, wraps=wraps)
    return cells, first_guess.prepared(patches, cells.take(domain.columns.index))


def _side(index: Tensor, width: int, neighbours: int) -> int:
    """Rows and columns of the largest blocks of which none holds too many of the profiles in cells `index` (N,)."""
    cells = index.numpy(force=True)
    for side in _SIDES[:-1]:
        _, count = np.unique(cells // width // side * width + cells % width // side, return_counts=True)
        if count.max(initial=0) <= _SHARE_INSIDE * neighbours:
            return side
    return _SIDES[-1]


def _around(blocks: Blocks, places: Cells, near: Tensor) -> Cells:
    """The cells (1, N, 1) of profiles as N x 1 cells near each block."""
    latitude, longitude = places.latitude.flatten()[near], places.longitude.flatten()[near]
    surface = places.surface[0, :, :, 0][:, near].transpose(0, 1)
    return Cells(latitude[..., None], blocks.nearest_image(longitude)[..., None], surface[..., None])


def _batches(blocks: Blocks, observed: Tensor, nearest: Tensor) -> list[tuple[Tensor, int, int]]:
    """Numbers of blocks that are solved together, and the most incomplete and late columns of one (`ObservedColumns`).

    Those with similar numbers of them together, which determine the cost of a solution.
    """
    levels = observed.numpy(force=True)
    around = [levels[:, near] for near in nearest.numpy(force=True)]
    incomplete = np.array([np.count_nonzero(~profiles.all(axis=0)) for profiles in around])
    late = np.array([count_late(profiles) for profiles in around])
    order = np.lexsort([incomplete, late])
    depths, number = len(observed), nearest.shape[1]
    most = max(1, blocks.rows.shape[1] * blocks.columns.shape[1] * max(depths, number))
    size = max(1, pairs_at_once(nearest.device) // most)
    return [
        (torch.from_numpy(part).to(nearest.device), int(incomplete[part].max()), int(late[part].max()))
        for part in (order[start : start + size] for start in range(0, len(order), size))
    ]

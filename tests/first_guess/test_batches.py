"""A batch of patches against one dense solve for each level of each patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthdif.first_guess.columns import ObservedColumns
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData

Patch = dict[str, np.ndarray]
MakePatch = Callable[..., Patch]
Batched = Callable[..., PatchData]
Textbook = Callable[[dict[str, Any], Patch], list[np.ndarray]]


def with_regressions(patches: list[Patch], seed: int) -> None:
    """Give all patches the same slopes on the surface and covariance between levels."""
    generator = np.random.default_rng(seed)
    depths, surfaces = len(patches[0]["observations"]), len(patches[0]["surface"])
    factor = generator.normal(size=(depths, 2))
    covariance = factor @ factor.T + 0.1 * np.eye(depths)
    for patch in patches:
        patch["surface_slopes"] = generator.normal(size=(depths, surfaces)).astype(np.float32)
        patch["level_covariance"] = covariance.astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_batch_equals_the_textbook_level_by_level(
    data: st.DataObject, full: dict[str, Any], make_patch: MakePatch, batched: Batched, textbook: Textbook
) -> None:
    seed = data.draw(st.integers(0, 2**32))
    surfaces, regressions = data.draw(st.integers(0, 2)), data.draw(st.booleans())
    patches = [
        make_patch(
            profiles=data.draw(st.integers(1, 20)),
            surfaces=surfaces,
            seed=seed + number,
            gaps=data.draw(st.sampled_from([0.0, 0.3, 0.9])),
        )
        for number in range(data.draw(st.integers(1, 4)))
    ]
    for level in data.draw(st.sets(st.integers(0, 3), max_size=2)):
        patches[0]["observed_mask"][level] = False
        patches[0]["observations"][level] = 0
    if data.draw(st.booleans()):
        patches[-1]["surface_mask"][:] = False
    if regressions:
        with_regressions(patches, seed)
    options = full | {"covariance": data.draw(st.floats(0.5, 2)), "nugget": data.draw(st.floats(1e-3, 1))}
    first_guess = OptimalInterpolation(**options, regressions=regressions)
    result = first_guess(batched(*patches))
    misfit = first_guess.leave_one_out(batched(*patches))
    for number, patch in enumerate(patches):
        expected = textbook(options, patch)
        for field, truth in zip(result[:2], expected[:2], strict=True):
            np.testing.assert_allclose(field[number], truth, atol=1e-6, rtol=1e-6)
        # Float64, with a condition number of 1e5 at most.
        for field, alone, truth in zip(result[2:], misfit, expected[2:], strict=True):
            np.testing.assert_allclose(field[number], truth, atol=1e-8, rtol=1e-8)
            np.testing.assert_allclose(alone[number], truth, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("regressions", [False, True])
def test_a_patch_does_not_depend_on_the_others_of_its_batch(
    regressions: bool, full: dict[str, Any], make_patch: MakePatch, batched: Batched
) -> None:
    # Of different numbers of profiles, one without any: most are padded.
    patches = [make_patch(profiles=count, seed=count, gaps=0.2) for count in (1, 30, 4, 17)]
    patches.append(make_patch(profiles=3))
    patches[-1]["observed_mask"][:] = False
    patches[-1]["observations"][:] = 0
    with_regressions(patches, 0)
    for first_guess in (OptimalInterpolation(**full, regressions=regressions), InverseDistance()):
        together = first_guess(batched(*patches))
        for number, patch in enumerate(patches):
            for field, alone in zip(together, first_guess(batched(patch)), strict=True):
                np.testing.assert_allclose(field[number], alone[0], atol=1e-7, rtol=1e-6)


def test_patches_keep_their_order(first_guess: FirstGuess, make_patch: MakePatch, batched: Batched) -> None:
    patches = [make_patch(profiles=count, seed=count) for count in (2, 20, 9)]
    forwards, backwards = first_guess(batched(*patches)), first_guess(batched(*patches[::-1]))
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_allclose(one, other.flip(0), atol=1e-7, rtol=1e-6)


@given(seed=st.integers(0, 2**32), gaps=st.sampled_from([0.0, 0.2, 0.7]))
def test_the_columns_of_a_mask_are_each_listed_once_and_counted(seed: int, gaps: float) -> None:
    generator = np.random.default_rng(seed)
    ends = generator.integers(0, 6, (3, 1, 4, 5)) * (generator.random((3, 1, 4, 5)) < 0.5)
    mask = (np.arange(5)[:, None, None] < ends) & (generator.random((3, 5, 4, 5)) >= gaps)
    columns = ObservedColumns.from_mask(torch.from_numpy(mask))
    for patch, index in zip(mask.reshape(3, 5, 20), columns.index.tolist(), strict=True):
        number = index.count(20)
        assert index[:number] == [20] * number
        assert sorted(index[number:]) == np.flatnonzero(patch.any(axis=0)).tolist()
    for number in range(3):
        listed = columns.index[number, columns.index.shape[1] - columns.count[number] :].numpy()
        observed = mask.reshape(3, 5, 20)[number][:, listed]
        complete = len(listed) - columns.incomplete[number]
        assert observed[:, :complete].all()
        assert not observed[:, complete:].all(axis=0).any()
        # Up to the late ones, each level observes the first columns and then none.
        regular = observed[:, : len(listed) - columns.late[number]]
        assert (np.sort(~regular, axis=1) == ~regular).all()
        assert gaps or not columns.late[number]

from __future__ import annotations

import numpy as np
import pytest

from depthdif.evaluation.followed import flicker, flickers

SHAPE = (5, 2, 40, 40)


def truth() -> np.ndarray:
    """White noise with unit variance at each time, the first rows land."""
    field = np.random.default_rng(0).normal(size=SHAPE)
    field[..., :4, :] = np.nan
    return field


def test_the_truth_flickers_by_one_whatever_is_added_at_all_times() -> None:
    assert flicker(truth(), truth()) == pytest.approx(1)
    assert flicker(3 * truth() + np.random.default_rng(1).normal(size=SHAPE[1:]), truth()) == pytest.approx(3)


def test_independent_noise_adds_its_variance_to_that_of_the_changes() -> None:
    noise = np.random.default_rng(2).normal(size=SHAPE)
    assert flicker(truth() + noise, truth()) == pytest.approx(np.sqrt(2), rel=0.05)


def test_members_count_by_the_mean_of_their_squares() -> None:
    members = np.stack([truth(), 2 * truth()])
    assert flicker(members, truth()) == pytest.approx(np.sqrt((1 + 4) / 2))


def test_land_has_no_effect() -> None:
    wild = np.where(np.isfinite(truth()), truth(), 1e9 * np.arange(5)[:, None, None, None])
    assert flicker(wild, truth()) == pytest.approx(1)


def test_a_truth_that_does_not_change_or_is_all_land_leaves_it_out() -> None:
    still = np.broadcast_to(truth()[:1], SHAPE)
    assert flicker(truth(), still) is None
    assert flicker(truth(), np.full(SHAPE, np.nan)) is None
    assert flickers({"one member": truth(), "OI": truth()}, still) == {}

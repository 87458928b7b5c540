from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from depthdif import UserError
from depthdif.diffusion.conditions import Conditions, Domain, position_and_season

MakeBatch = Callable[..., dict[str, Tensor]]

KNOWN_REGION = Conditions(absolute_values=True, position_and_season=True)
TRANSFERABLE = Conditions(absolute_values=False, position_and_season=False)
GLOBE = Domain(south=-60, north=60, west=0, period=360)


def with_first_guess(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    batch["first_guess"] = torch.randn_like(batch["target"])
    batch["first_guess_error"] = torch.rand_like(batch["target"])
    batch["first_guess_misfit"] = torch.rand_like(batch["target"])
    for name in ("first_guess_anomaly", "observation_anomaly"):
        batch[name] = torch.randn_like(batch["target"])
    for name in ("surface_innovation", "surface_anomaly"):
        batch[name] = torch.randn_like(batch["surface"])
    return batch


def changed_by(conditions: Conditions, batch: dict[str, Tensor]) -> set[str]:
    """The keys of the batch on which the conditions depend."""
    image = conditions.image(batch, GLOBE)
    changed = (
        (name, {**batch, name: ~part if part.dtype == torch.bool else part + 1})
        for name, part in batch.items()
    )
    return {name for name, other in changed if not torch.equal(conditions.image(other, GLOBE), image)}


def test_transferable_conditions_hold_no_absolute_value_and_no_place(make_batch: MakeBatch) -> None:
    seen = changed_by(TRANSFERABLE, with_first_guess(make_batch()))
    assert seen == {
        *("first_guess_error", "first_guess_misfit", "surface_innovation"),
        *("observed_mask", "ocean_mask", "surface_mask"),
    }


def test_in_a_known_region_absolute_values_position_and_season_are_conditions_too(
    make_batch: MakeBatch,
) -> None:
    batch = with_first_guess(make_batch())
    added = changed_by(KNOWN_REGION, batch) - changed_by(TRANSFERABLE, batch)
    assert added == {
        *("observation_anomaly", "first_guess_anomaly", "surface_anomaly"),
        *("latitude", "longitude", "day_of_year"),
    }


@pytest.mark.parametrize("conditions", [KNOWN_REGION, TRANSFERABLE])
def test_without_a_first_guess_observations_and_surface_are_conditions_in_any_case(
    make_batch: MakeBatch, conditions: Conditions
) -> None:
    assert {"observations", "surface"} <= changed_by(conditions, make_batch())


@pytest.mark.parametrize("conditions", [KNOWN_REGION, TRANSFERABLE])
@pytest.mark.parametrize("first_guess", [True, False])
def test_the_number_of_channels_is_that_of_the_image(
    make_batch: MakeBatch, conditions: Conditions, first_guess: bool
) -> None:
    batch = make_batch(depths=3, surfaces=2)
    image = conditions.image(with_first_guess(batch) if first_guess else batch, GLOBE)
    assert image.shape == (2, conditions.channels(3, 2, first_guess), 8, 8)


def test_position_and_season_have_no_seam_at_the_date_line_and_at_new_year(make_batch: MakeBatch) -> None:
    batch = make_batch()
    later = {**batch, "longitude": batch["longitude"] + 360, "day_of_year": batch["day_of_year"] + 365.25}
    here, there = (position_and_season(one, GLOBE) for one in (batch, later))
    torch.testing.assert_close(here, there, atol=1e-4, rtol=0)


def test_in_a_field_that_does_not_wrap_no_two_longitudes_share_their_channels(make_batch: MakeBatch) -> None:
    batch = {**make_batch(width=9), "longitude": torch.linspace(20, 60, 9).repeat(2, 1)}
    # Period: twice the extent.
    channels = position_and_season(batch, Domain(south=0, north=20, west=20, period=80))[0, :2, 0]
    distances = torch.cdist(channels.T, channels.T) + 9 * torch.eye(9)
    assert distances.min() > 0.1


def test_latitude_runs_from_minus_one_to_one_in_the_domain(make_batch: MakeBatch) -> None:
    northward = position_and_season(make_batch(), Domain(south=0, north=20, west=0, period=360))[0, 2, :, 0]
    torch.testing.assert_close(northward, torch.linspace(-1, 1, 8))


@pytest.mark.parametrize(
    ("conditions", "new_region", "expected"),
    [
        (KNOWN_REGION, True, "set model/conditions=transferable"),
        (TRANSFERABLE, False, "set model/conditions=known_region"),
        (KNOWN_REGION, False, ""),
        (TRANSFERABLE, True, ""),
    ],
)
def test_conditions_that_do_not_suit_the_validation_region_are_advised_against(
    conditions: Conditions, new_region: bool, expected: str
) -> None:
    advice = conditions.advice(new_region)
    assert expected in advice
    assert bool(advice) == bool(expected)


def test_the_climatology_is_a_condition_on_request_and_missed_where_there_is_none(
    make_batch: MakeBatch,
) -> None:
    conditions = Conditions(absolute_values=True, position_and_season=True, background=True)
    batch = with_first_guess(make_batch())
    with pytest.raises(UserError, match="set data/climatology=seasonal"):
        conditions.image(batch, GLOBE)
    batch["background"] = torch.randn_like(batch["target"])
    assert changed_by(conditions, batch) - changed_by(KNOWN_REGION, batch) == {"background"}
    depths, surface = batch["target"].shape[1], batch["surface"].shape[1]
    assert conditions.image(batch, GLOBE).shape[1] == conditions.channels(depths, surface, first_guess=True)

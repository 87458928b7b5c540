from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from depthdif.diffusion.residual import LEAST_ERROR, Residual

MakeBatch = Callable[..., dict[str, Tensor]]


def with_first_guess(batch: dict[str, Tensor], error: float = 0.0) -> dict[str, Tensor]:
    guess = torch.where(batch["ocean_mask"], batch["target"] + 0.5, 0)
    uncertain = {"first_guess_error": torch.full_like(guess, error), "first_guess_misfit": guess.abs()}
    return {**batch, "first_guess": guess, **uncertain}


def test_without_a_first_guess_the_field_itself_is_diffused(make_batch: MakeBatch) -> None:
    batch = make_batch()
    assert Residual().from_field(batch["target"], batch, batch["ocean_mask"]) is batch["target"]
    samples = batch["target"][:, None]
    assert Residual().to_field(samples, batch) is samples


def test_the_residual_is_what_the_first_guess_leaves_in_units_of_its_own_error(make_batch: MakeBatch) -> None:
    batch = with_first_guess(make_batch(), error=4.0)
    ocean = batch["ocean_mask"]
    residual = Residual([1e-3, 1e-3, 1e-3]).from_field(batch["target"], batch, ocean)
    torch.testing.assert_close(residual[ocean], torch.full((int(ocean.sum()),), -0.125))
    assert not residual[~ocean].any()


def test_where_a_first_guess_knows_no_error_a_share_of_the_standard_deviation_counts(
    make_batch: MakeBatch,
) -> None:
    batch = with_first_guess(make_batch(), error=0.0)
    residual = Residual([0.5, 1.0, 2.0]).from_field(batch["target"], batch, batch["ocean_mask"])
    for depth, std in enumerate((0.5, 1.0, 2.0)):
        ocean = batch["ocean_mask"][:, depth]
        expected = torch.full((int(ocean.sum()),), -0.5 / (LEAST_ERROR * std))
        torch.testing.assert_close(residual[:, depth][ocean], expected)


def test_to_field_is_the_inverse_for_every_ensemble_member(make_batch: MakeBatch) -> None:
    batch = with_first_guess(make_batch(), error=0.7)
    residual = Residual([0.5, 1.0, 2.0])
    once = residual.from_field(batch["target"], batch, batch["ocean_mask"])
    members = torch.stack([once, once, once], dim=1)
    expected = batch["target"][:, None].expand(-1, 3, -1, -1, -1)
    torch.testing.assert_close(residual.to_field(members, batch), expected)


def test_error_and_misfit_of_the_first_guess_are_conditions_in_units_of_the_residual(
    make_batch: MakeBatch,
) -> None:
    batch = with_first_guess(make_batch(), error=1.0)
    conditions = Residual([0.5, 1.0, 2.0], [1.0], [0.0], [1.0], [1.0] * 3, [1.0]).conditions(batch)
    error = conditions["first_guess_error"]
    torch.testing.assert_close(conditions["first_guess_misfit"][:, 0], 2 * batch["first_guess_misfit"][:, 0])
    assert error[0, :, 0, 0].tolist() == [2.0, 1.0, 0.5]
    assert Residual().conditions(batch)["first_guess_error"] is batch["first_guess_error"]


def test_the_surface_innovation_is_what_the_first_guess_does_not_say_of_the_surface(
    make_batch: MakeBatch,
) -> None:
    batch = with_first_guess(make_batch())
    batch["surface"] = 3 * batch["first_guess"][:, :1] + 2 + 0.5
    innovation = Residual([1.0] * 3, [3.0], [2.0], [0.25], [1.0] * 3, [1.0]).conditions(batch)[
        "surface_innovation"
    ]
    both = batch["surface_mask"] & batch["ocean_mask"][:, :1]
    torch.testing.assert_close(innovation, torch.where(both, 2.0, 0.0))


def test_anomalies_are_departures_from_the_climatology_or_else_from_the_mean_profile(
    make_batch: MakeBatch,
) -> None:
    batch = with_first_guess(make_batch())
    residual = Residual(
        [1.0] * 3, [1.0], [0.0], [1.0], anomaly_std=[0.5, 1.0, 2.0], surface_anomaly_std=[0.25]
    )
    climatology = {
        "background": torch.full_like(batch["target"], 3.0),
        "surface_background": torch.full_like(batch["surface"], 3.0),
    }
    for background, known in ((3.0, climatology), (0.0, {})):
        conditions = residual.conditions({**batch, **known})
        for name, part, mask, std in (
            ("first_guess_anomaly", "first_guess", "ocean_mask", torch.tensor([0.5, 1.0, 2.0])),
            ("observation_anomaly", "observations", "observed_mask", torch.tensor([0.5, 1.0, 2.0])),
            ("surface_anomaly", "surface", "surface_mask", torch.tensor([0.25])),
        ):
            expected = torch.where(batch[mask], (batch[part] - background) / std[:, None, None], 0)
            torch.testing.assert_close(conditions[name], expected)


@pytest.mark.parametrize("std", [[0.0, 1.0], [-1.0], [float("nan")]])
def test_a_standard_deviation_that_is_not_positive_is_an_error(std: list[float]) -> None:
    with pytest.raises(ValueError, match="expected positive numbers"):
        Residual(std)


def test_the_statistics_follow_the_module_and_are_not_saved() -> None:
    residual = Residual([0.5, 1.0], [1.0], [0.0], [1.0]).to("meta")
    assert residual.std is not None
    assert residual.std.device.type == residual.surface_slope.device.type == "meta"
    assert residual.state_dict() == {}

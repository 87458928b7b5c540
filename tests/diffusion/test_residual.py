from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from depthdif.diffusion.residual import Residual

MakeBatch = Callable[..., dict[str, Tensor]]


def with_first_guess(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    guess = torch.where(batch["ocean_mask"], batch["target"] + 0.5, 0)
    return {**batch, "first_guess": guess}


def test_without_a_first_guess_the_field_itself_is_diffused(make_batch: MakeBatch) -> None:
    batch = make_batch()
    assert Residual().of(batch["target"], batch, batch["ocean_mask"]) is batch["target"]
    samples = batch["target"][:, None]
    assert Residual().field(samples, batch) is samples


def test_the_residual_is_what_the_first_guess_leaves_over_its_standard_deviation(
    make_batch: MakeBatch,
) -> None:
    batch = with_first_guess(make_batch())
    residual = Residual([0.5, 1.0, 2.0]).of(batch["target"], batch, batch["ocean_mask"])
    for depth, expected in enumerate((-1.0, -0.5, -0.25)):
        ocean = batch["ocean_mask"][:, depth]
        torch.testing.assert_close(residual[:, depth][ocean], torch.full((int(ocean.sum()),), expected))
        assert not residual[:, depth][~ocean].any()


def test_field_is_the_inverse_for_every_ensemble_member(make_batch: MakeBatch) -> None:
    batch = with_first_guess(make_batch())
    residual = Residual([0.5, 1.0, 2.0])
    once = residual.of(batch["target"], batch, batch["ocean_mask"])
    members = torch.stack([once, once, once], dim=1)
    expected = batch["target"][:, None].expand(-1, 3, -1, -1, -1)
    torch.testing.assert_close(residual.field(members, batch), expected)


def test_the_error_of_the_first_guess_is_a_condition_in_units_of_the_residual(make_batch: MakeBatch) -> None:
    batch = {**with_first_guess(make_batch()), "first_guess_error": torch.ones(2, 3, 8, 8)}
    error = Residual([0.5, 1.0, 2.0]).conditions(batch)["first_guess_error"]
    assert error[0, :, 0, 0].tolist() == [2.0, 1.0, 0.5]
    assert Residual().conditions(batch)["first_guess_error"] is batch["first_guess_error"]


@pytest.mark.parametrize("std", [[0.0, 1.0], [-1.0], [float("nan")]])
def test_a_standard_deviation_that_is_not_positive_is_an_error(std: list[float]) -> None:
    with pytest.raises(ValueError, match="expected positive numbers"):
        Residual(std)

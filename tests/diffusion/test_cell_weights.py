"""Weights of depths and coasts in the objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from depthdif import UserError
from depthdif.diffusion.cell_weights import CellWeights
from depthdif.diffusion.objective import MaskedDiffusionObjective

MakeBatch = Callable[..., dict[str, Tensor]]


class OffBy(nn.Module):
    """Predicts the truth plus a field that is given."""

    def __init__(self, error: Tensor) -> None:
        super().__init__()
        self.error = error

    def forward(self, noisy: Tensor, timesteps: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["target"] + self.error


def sums(weights: CellWeights | None, error: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    schedule = DDPMScheduler(prediction_type="sample", clip_sample=False)
    noise = torch.randn(batch["target"].shape, generator=torch.Generator().manual_seed(0))
    timesteps = torch.full((len(noise),), 300)
    objective = MaskedDiffusionObjective(cell_weights=weights)
    return objective(OffBy(error), schedule, batch["target"], batch, timesteps, noise)


def all_ocean(make_batch: MakeBatch, **sizes: int) -> dict[str, Tensor]:
    batch = make_batch(**sizes)
    return {**batch, "target_mask": torch.ones_like(batch["target_mask"])}


def test_without_weights_the_loss_is_the_same_bit_for_bit(make_batch: MakeBatch) -> None:
    batch = make_batch()
    error = torch.randn(batch["target"].shape, generator=torch.Generator().manual_seed(1))
    for plain, weighted in zip(sums(None, error, batch), sums(CellWeights(), error, batch), strict=True):
        assert torch.equal(plain, weighted)


def test_the_loss_is_the_mean_over_the_depths_by_their_weights(make_batch: MakeBatch) -> None:
    batch = all_ocean(make_batch, size=1, depths=3)
    error = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    squares, weight = sums(CellWeights([4.0, 1.0, 0.0]), error, batch)
    assert float(squares / weight) == pytest.approx((4 * 1 + 1 * 4) / 5, rel=1e-5)


def test_depths_of_several_variables_have_the_same_weights_or_those_of_each(make_batch: MakeBatch) -> None:
    batch = all_ocean(make_batch, size=1, depths=4)
    error = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
    squares, weight = sums(CellWeights([3.0, 1.0]), error, batch)
    assert float(squares / weight) == pytest.approx((3 * 1 + 4 + 3 * 9 + 16) / 8, rel=1e-5)
    squares, weight = sums(CellWeights([1.0, 0.0, 0.0, 1.0]), error, batch)
    assert float(squares / weight) == pytest.approx((1 + 16) / 2, rel=1e-5)


def test_the_weight_of_a_coast_falls_linearly_to_1(make_batch: MakeBatch) -> None:
    batch = all_ocean(make_batch, size=1, depths=1, height=1, width=5)
    batch["coast_distance"] = torch.tensor([0.0, 25.0, 50.0, 100.0, 20000.0]).reshape(1, 1, 1, 5)
    weights = CellWeights(coast=3.0, coast_width=100.0)(batch)
    torch.testing.assert_close(weights.flatten(), torch.tensor([3.0, 2.5, 2.0, 1.0, 1.0]))
    _, weight = sums(CellWeights(coast=3.0), torch.tensor(1.0), batch)
    assert float(weight) == pytest.approx(9.5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"depths": [1, -1]}, r"cell_weights\.depths is \[1\.0, -1\.0\]"),
        ({"depths": [0, 0]}, r"cell_weights\.depths is \[0\.0, 0\.0\]"),
        ({"coast": -1}, r"cell_weights\.coast is -1"),
        ({"coast": 2, "coast_width": 0}, r"cell_weights\.coast_width is 0"),
    ],
)
def test_weights_out_of_range_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        CellWeights(**options)


def test_a_wrong_number_of_weights_is_refused_with_the_right_one() -> None:
    with pytest.raises(UserError, match=r"depths has 3 weights, but the field has 4 depths; expected 4$"):
        CellWeights([1, 1, 1]).check(4, 1)
    with pytest.raises(UserError, match=r"has 3 weights.* expected 4, or 8 for 2 variables$"):
        CellWeights([1, 1, 1]).check(4, 2)
    for count in (4, 8):
        CellWeights([1] * count).check(4, 2)

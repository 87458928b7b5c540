from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from depthdif.diffusion.denoiser import UNetDenoiser, condition_channels, condition_image, position_and_season

MakeBatch = Callable[..., dict[str, Tensor]]


def tiny(depths: int = 3, surfaces: int = 1, **options: object) -> UNetDenoiser:
    torch.manual_seed(0)
    denoiser = UNetDenoiser(depths, surfaces, block_out_channels=(8, 16, 16), layers_per_block=1, **options)  # type: ignore[arg-type]
    # As after training: a new one answers 0 to everything.
    torch.nn.init.normal_(denoiser.unet.conv_out.weight)
    return denoiser


def test_an_untrained_denoiser_predicts_zero_which_is_the_first_guess(make_batch: MakeBatch) -> None:
    batch = make_batch()
    assert not UNetDenoiser(3, 1, (8, 16))(batch["target"], torch.tensor(5), batch).any()


def test_without_position_and_season_a_denoiser_does_not_depend_on_them(make_batch: MakeBatch) -> None:
    batch = make_batch()
    denoiser = tiny(position_and_season=False)
    elsewhere = {**batch, "coordinates": batch["coordinates"] + 30, "day_of_year": batch["day_of_year"] + 100}
    here, there = (denoiser(batch["target"], torch.tensor(5), one) for one in (batch, elsewhere))
    assert torch.equal(here, there)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 14), (5, 8)])
def test_the_prediction_has_the_shape_of_the_field_for_sides_of_any_length(
    make_batch: MakeBatch, height: int, width: int
) -> None:
    batch = make_batch(height=height, width=width)
    prediction = tiny()(batch["target"], torch.tensor([3, 500]), batch)
    assert prediction.shape == batch["target"].shape
    assert prediction.dtype == torch.float32


def test_noise_on_land_never_reaches_the_ocean(make_batch: MakeBatch) -> None:
    batch = make_batch()
    noisy = torch.randn_like(batch["target"])
    other = torch.where(batch["ocean_mask"], noisy, 100.0)
    denoiser = tiny()
    assert torch.equal(denoiser(noisy, torch.tensor(5), batch), denoiser(other, torch.tensor(5), batch))


@pytest.mark.parametrize(
    "name",
    ["observations", "observed_mask", "ocean_mask", "surface", "surface_mask", "coordinates", "day_of_year"],
)
def test_every_condition_changes_the_prediction(make_batch: MakeBatch, name: str) -> None:
    batch = make_batch()
    changed = dict(batch)
    changed[name] = ~batch[name] if batch[name].dtype == torch.bool else batch[name] + 30
    denoiser = tiny(position_and_season=True)
    field = torch.zeros_like(batch["target"])
    before, after = (denoiser(field, torch.tensor(5), one) for one in (batch, changed))
    assert not torch.allclose(before, after, atol=1e-6)


def test_beside_a_first_guess_its_error_and_the_surface_innovation_are_conditions_and_no_absolute_value(
    make_batch: MakeBatch,
) -> None:
    batch = make_batch()
    batch["first_guess"] = torch.randn_like(batch["target"])
    batch["first_guess_error"] = torch.rand_like(batch["target"])
    batch["first_guess_misfit"] = torch.rand_like(batch["target"])
    batch["surface_innovation"] = torch.randn_like(batch["surface"])
    assert condition_image(batch).shape[1] == condition_channels(3, 1, first_guess=True)
    denoiser = tiny(first_guess=True)

    def change(name: str) -> float:
        both = (
            denoiser(batch["target"], torch.tensor(5), one)
            for one in (batch, {**batch, name: batch[name] + 1})
        )
        return float(torch.diff(torch.stack(list(both)), dim=0).abs().max())

    assert all(
        change(name) > 1e-6 for name in ("first_guess_error", "first_guess_misfit", "surface_innovation")
    )
    assert not any(change(name) for name in ("first_guess", "observations", "surface"))


def test_a_field_without_surface_variables_is_denoised_too(make_batch: MakeBatch) -> None:
    batch = make_batch(surfaces=0)
    assert tiny(surfaces=0)(batch["target"], torch.tensor(5), batch).shape == batch["target"].shape


def test_position_and_season_have_no_seam_at_the_date_line_and_at_new_year() -> None:
    coordinates = torch.tensor([[12.0, -180.0], [12.0, 180.0]])
    day_of_year = torch.tensor([0.0, 365.25])
    west, east = position_and_season(coordinates, day_of_year)
    torch.testing.assert_close(west, east, atol=1e-6, rtol=0)


def test_positions_lie_on_the_unit_sphere() -> None:
    features = position_and_season(
        torch.tensor([[0.0, 0.0], [90.0, 50.0], [-30.0, 200.0]]), torch.tensor([1.0, 90.0, 366.0])
    )
    torch.testing.assert_close(features[:, :3].norm(dim=1), torch.ones(3))
    torch.testing.assert_close(features[0, :3], torch.tensor([1.0, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"block_out_channels": (30, 64)},
            r"block_out_channels is \[30, 64\].*block_out_channels=\[32,64,128\]",
        ),
        ({"block_out_channels": ()}, r"block_out_channels is \[\]"),
        ({"layers_per_block": 0}, r"layers_per_block is 0.*layers_per_block=2"),
        ({"attention_levels": (3,)}, r"attention_levels is \[3\].*0-2"),
        ({"dropout": 1.0}, r"dropout is 1\.0.*dropout=0\.1"),
    ],
)
def test_settings_out_of_range_are_errors_that_name_the_override(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        UNetDenoiser(3, 1, **options)  # type: ignore[arg-type]

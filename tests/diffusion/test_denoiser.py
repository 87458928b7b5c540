from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from depthdif.diffusion.conditions import Conditions, Domain
from depthdif.diffusion.denoiser import UNetDenoiser

MakeBatch = Callable[..., dict[str, Tensor]]


EVERYTHING = Conditions(absolute_values=True, position_and_season=True)
TRANSFERABLE = Conditions(absolute_values=False, position_and_season=False)
DOMAIN = Domain(south=-60, north=60, west=0, period=360)


def tiny(
    depths: int = 3, surfaces: int = 1, conditions: Conditions = TRANSFERABLE, **options: object
) -> UNetDenoiser:
    torch.manual_seed(0)
    options = {"block_out_channels": (8, 16, 16), **options}
    denoiser = UNetDenoiser(depths, surfaces, conditions, DOMAIN, **options)  # type: ignore[arg-type]
    # As after training: a new one answers 0 to everything.
    torch.nn.init.normal_(denoiser.unet.conv_out.weight)
    return denoiser


def test_an_untrained_denoiser_predicts_zero_which_is_the_first_guess(make_batch: MakeBatch) -> None:
    batch = make_batch()
    assert not UNetDenoiser(3, 1, TRANSFERABLE, DOMAIN, (8, 16))(
        batch["target"], torch.tensor(5), batch
    ).any()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 14), (5, 8)])
def test_the_prediction_has_the_shape_of_the_field_for_sides_of_any_length(
    make_batch: MakeBatch, height: int, width: int
) -> None:
    batch = make_batch(height=height, width=width)
    for cell_block in (1, 2):
        prediction = tiny(cell_block=cell_block)(batch["target"], torch.tensor([3, 500]), batch)
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
    [
        "observations",
        "observed_mask",
        "ocean_mask",
        "surface",
        "surface_mask",
        "latitude",
        "longitude",
        "day_of_year",
    ],
)
def test_every_condition_changes_the_prediction(make_batch: MakeBatch, name: str) -> None:
    batch = make_batch()
    changed = dict(batch)
    changed[name] = ~batch[name] if batch[name].dtype == torch.bool else batch[name] + 30
    denoiser = tiny(conditions=EVERYTHING)
    field = torch.zeros_like(batch["target"])
    before, after = (denoiser(field, torch.tensor(5), one) for one in (batch, changed))
    assert not torch.allclose(before, after, atol=1e-6)


def test_a_field_without_surface_variables_is_denoised_too(make_batch: MakeBatch) -> None:
    batch = make_batch(surfaces=0)
    assert tiny(surfaces=0)(batch["target"], torch.tensor(5), batch).shape == batch["target"].shape


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
        ({"cell_block": 0}, r"cell_block is 0.*cell_block=2"),
        ({"dropout": 1.0}, r"dropout is 1\.0.*dropout=0\.1"),
    ],
)
def test_settings_out_of_range_are_errors_that_name_the_override(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        UNetDenoiser(3, 1, TRANSFERABLE, DOMAIN, **options)  # type: ignore[arg-type]

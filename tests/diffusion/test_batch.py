from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from depthdif.diffusion.conditions import Conditions, Domain
from depthdif.diffusion.denoiser import UNetDenoiser
from depthdif.diffusion.reconstruction import FIRST_GUESS_SHAPES, MASKS, SHAPES, check_batch

MakeBatch = Callable[..., dict[str, Tensor]]
Batch = dict[str, Tensor]


def guessed(batch: Batch) -> Batch:
    uncertain = dict.fromkeys(("first_guess_error", "first_guess_misfit"), torch.ones(2, 3, 8, 8))
    return {**batch, "first_guess": batch["target"] + 0.1, **uncertain}


def denoiser_of(surfaces: int) -> UNetDenoiser:
    return UNetDenoiser(
        3, surfaces, Conditions(False, False), Domain(-60, 60, 0, 360), block_out_channels=(8,)
    )


def refusal(batch: Batch, denoiser: nn.Module | None = None, first_guess: bool = True) -> str:
    with pytest.raises(ValueError, match=r"\w") as error:
        check_batch(batch, denoiser or nn.Identity(), first_guess)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("surfaces", [0, 1, 2])
def test_a_batch_of_the_contract_passes_with_and_without_surface_and_first_guess(
    make_batch: MakeBatch, surfaces: int
) -> None:
    batch = make_batch(surfaces=surfaces)
    denoiser = denoiser_of(surfaces)
    check_batch(batch, denoiser, first_guess=False)
    check_batch(guessed(batch), denoiser, first_guess=True)


def test_the_truth_is_not_needed(make_batch: MakeBatch) -> None:
    batch = make_batch()
    del batch["target"]
    check_batch(batch, nn.Identity(), first_guess=False)


def test_the_time_is_needed_only_where_the_noise_depends_on_it(make_batch: MakeBatch) -> None:
    batch = make_batch()
    del batch["time"]
    check_batch(batch, nn.Identity(), first_guess=False)
    with pytest.raises(ValueError, match="the batch lacks time"):
        check_batch(batch, nn.Identity(), first_guess=False, time=True)


@pytest.mark.parametrize("name", (SHAPES | FIRST_GUESS_SHAPES))
def test_the_name_of_a_missing_tensor_is_in_the_error(make_batch: MakeBatch, name: str) -> None:
    batch = guessed(make_batch())
    del batch[name]
    assert name in refusal(batch)


@pytest.mark.parametrize("name", (SHAPES | FIRST_GUESS_SHAPES))
def test_the_name_of_a_tensor_of_another_shape_is_in_the_error(make_batch: MakeBatch, name: str) -> None:
    batch = guessed(make_batch())
    batch[name] = batch[name][:1]
    assert name in refusal(batch)
    batch[name] = batch[name][0]
    assert name in refusal(batch)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", sorted((SHAPES | FIRST_GUESS_SHAPES).keys() - {*MASKS, "index"}))
def test_nan_and_infinity_are_refused_wherever_they_stand(
    make_batch: MakeBatch, name: str, value: float
) -> None:
    batch = guessed(make_batch())
    batch[name] = batch[name].clone()
    batch[name].view(-1)[-1] = value
    assert f"1 values of {name} are NaN or infinite" in refusal(batch)


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_of_numbers_is_refused(make_batch: MakeBatch, name: str) -> None:
    batch = guessed(make_batch())
    batch[name] = batch[name].float()
    assert f"{name} is torch.float32: expected torch.bool" in refusal(batch)


def test_observations_outside_the_ocean_are_counted(make_batch: MakeBatch) -> None:
    batch = make_batch()
    batch["ocean_mask"] = batch["ocean_mask"] & ~batch["observed_mask"]
    assert refusal(batch, first_guess=False).startswith(f"{batch['observed_mask'].sum()} observed cells lie")


@pytest.mark.parametrize("name", ["observations", "surface"])
def test_a_value_outside_its_mask_raises(make_batch: MakeBatch, name: str) -> None:
    batch = make_batch()
    batch[name] = torch.ones_like(batch[name])
    assert f"{name} are not 0 where" in refusal(batch, first_guess=False)


def test_other_depths_or_surface_fields_than_trained_are_refused(make_batch: MakeBatch) -> None:
    denoiser = denoiser_of(surfaces=1)
    deeper, bare = make_batch(depths=4), make_batch(surfaces=0)
    assert "4 depths, but the model was trained on 3" in refusal(deeper, denoiser, first_guess=False)
    assert "0 surface fields, but the model was trained on 1" in refusal(bare, denoiser, first_guess=False)


def test_a_first_guess_too_few_or_too_many_is_refused(make_batch: MakeBatch) -> None:
    assert "holds no first_guess, but the model was trained with one" in refusal(make_batch())
    text = refusal(guessed(make_batch()), first_guess=False)
    assert "holds a first_guess, but the model was trained without" in text


def test_a_background_is_checked_where_the_batch_has_one(make_batch: MakeBatch) -> None:
    batch = make_batch()
    batch["background"] = torch.ones_like(batch["observations"])
    check_batch(batch, nn.Identity(), first_guess=False)
    batch["background"][0, 0, 0, 0] = torch.nan
    assert "values of background are NaN or infinite" in refusal(batch, first_guess=False)
    assert "background is (2, 1, 8, 8)" in refusal(
        batch | {"background": batch["surface"]}, first_guess=False
    )

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from depthdif.diffusion.objective import (
    MaskedDiffusionObjective,
    forward_draws,
    min_snr_weight,
    prediction_target,
)

MakeBatch = Callable[..., dict[str, Tensor]]


def schedule(prediction_type: str = "sample") -> DDPMScheduler:
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type, clip_sample=False
    )


class OffBy(nn.Module):
    """Predicts the truth plus a field that is given."""

    def __init__(self, error: Tensor) -> None:
        super().__init__()
        self.error = error

    def forward(self, noisy: Tensor, timesteps: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["target"] + self.error


def mean_loss(
    objective: MaskedDiffusionObjective, denoiser: nn.Module, batch: dict[str, Tensor], timestep: int = 300
) -> Tensor:
    """The mean over the cells of the batch."""
    timesteps = torch.full((len(batch["target"]),), timestep)
    noise = torch.randn_like(batch["target"])
    error, weight = objective(denoiser, schedule(), batch["target"], batch, timesteps, noise)
    return error.sum() / weight.sum()


def test_the_loss_of_a_constant_error_is_its_square_whatever_the_mask(make_batch: MakeBatch) -> None:
    batch = make_batch()
    loss = mean_loss(MaskedDiffusionObjective(), OffBy(torch.tensor(0.3)), batch)
    assert float(loss) == pytest.approx(0.09, rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_predicted_outside_the_ocean_changes_neither_the_loss_nor_the_gradients(
    make_batch: MakeBatch, value: float
) -> None:
    batch = make_batch()
    outside = ~batch["ocean_mask"]
    error = torch.full_like(batch["target"], 0.3).requires_grad_()
    wild = torch.where(outside, value, error)
    loss = mean_loss(MaskedDiffusionObjective(), OffBy(wild), batch)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.09, rel=1e-5)
    assert error.grad is not None
    assert torch.equal(error.grad[outside], torch.zeros(int(outside.sum())))


def test_latitude_weighting_counts_a_row_by_the_cosine_of_its_latitude(make_batch: MakeBatch) -> None:
    batch = make_batch(size=1, depths=1, height=2, width=4)
    batch["ocean_mask"][:] = True
    batch["latitude"] = torch.tensor([[0.0, 60.0]])
    error = torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1).expand(1, 1, 2, 4)
    loss = mean_loss(MaskedDiffusionObjective(latitude_weighting=True), OffBy(error), batch)
    assert float(loss) == pytest.approx(1 / (1 + 0.5), rel=1e-5)


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_targets_agree_with_the_forward_process(prediction_type: str) -> None:
    noise_schedule = schedule(prediction_type)
    clean, noise = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    timesteps = torch.tensor([0, 10, 500, 990])
    alpha_bar = noise_schedule.alphas_cumprod[timesteps].reshape(4, 1, 1, 1)
    expected = {
        "sample": clean,
        "epsilon": noise,
        "v_prediction": alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean,
    }[prediction_type]
    torch.testing.assert_close(prediction_target(noise_schedule, clean, noise, timesteps), expected)


@given(alpha_bar=st.floats(0.01, 0.99), error=st.floats(0.01, 2.0), gamma=st.floats(0.1, 50.0))
def test_min_snr_weights_make_the_loss_the_same_in_every_prediction_type(
    alpha_bar: float, error: float, gamma: float
) -> None:
    # An error e in x0 is sqrt(SNR) e in epsilon and sqrt(SNR + 1) e in v (Salimans and Ho 2022, arXiv 2202.00512, appendix D).
    snr = torch.tensor(alpha_bar / (1 - alpha_bar), dtype=torch.float64)
    squared = {"sample": error**2, "epsilon": snr * error**2, "v_prediction": (snr + 1) * error**2}
    losses = [float(min_snr_weight(snr, gamma, name) * value) for name, value in squared.items()]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-9)


def test_min_snr_gamma_clips_the_weight_of_the_easy_steps(make_batch: MakeBatch) -> None:
    alpha_bar = float(schedule().alphas_cumprod[100])
    weight = min(alpha_bar / (1 - alpha_bar), 5.0)
    objective = MaskedDiffusionObjective(min_snr_gamma=5)
    loss = mean_loss(objective, OffBy(torch.tensor(1.0)), make_batch(size=1), timestep=100)
    assert float(loss) == pytest.approx(weight, rel=1e-5)


def test_errors_and_weights_are_those_of_each_sample(make_batch: MakeBatch) -> None:
    batch = make_batch(size=2)
    errors = torch.tensor([1.0, 2.0])[:, None, None, None]
    timesteps, noise = torch.tensor([5, 500]), torch.randn_like(batch["target"])
    denoiser = OffBy(errors)
    error, weight = MaskedDiffusionObjective()(denoiser, schedule(), batch["target"], batch, timesteps, noise)
    assert torch.equal(weight, batch["ocean_mask"].sum((1, 2, 3)).float())
    torch.testing.assert_close(error, torch.tensor([1.0, 4.0]) * weight)


def test_draws_of_a_sample_depend_on_its_identity_alone() -> None:
    shape = torch.Size([2, 3, 3])
    timesteps, noise = forward_draws([(0, 1, 7), (0, 1, 8)], shape, 1000, "cpu")
    again, same_noise = forward_draws([(0, 1, 8)], shape, 1000, "cpu")
    assert torch.equal(timesteps[1:], again)
    assert torch.equal(noise[1:], same_noise)
    assert not torch.equal(noise[0], noise[1])


def test_time_steps_are_uniform_over_all_of_the_noise_schedule() -> None:
    timesteps, _ = forward_draws([(0, 0, index) for index in range(2000)], torch.Size([1]), 4, "cpu")
    # Binomial: five standard deviations of 2000 draws with probability 1/4 are 97.
    assert all(abs(int(count) - 500) < 97 for count in torch.bincount(timesteps, minlength=4))


def test_a_weighted_mean_ignores_infinities_that_weigh_nothing(make_batch: MakeBatch) -> None:
    batch = make_batch(size=1, depths=1, height=3, width=1)
    batch["ocean_mask"][:] = torch.tensor([True, False, True]).reshape(1, 1, 3, 1)
    batch["latitude"] = torch.tensor([[60.0, 0.0, 0.0]])
    error = torch.tensor([1.0, math.inf, 3.0]).sqrt().reshape(1, 1, 3, 1)
    loss = mean_loss(MaskedDiffusionObjective(latitude_weighting=True), OffBy(error), batch)
    assert float(loss) == pytest.approx((0.5 * 1 + 3) / 1.5, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.nan])
def test_a_min_snr_gamma_that_is_not_positive_is_an_error(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"min_snr_gamma is .*model\.objective\.min_snr_gamma=5"):
        MaskedDiffusionObjective(min_snr_gamma=gamma)

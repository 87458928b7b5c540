"""Learning from a part of the cells: what minimises the ambient objective, and what its reverse chain samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor, nn

from depthdif.diffusion.ambient import AmbientDenoiser, AmbientObjective
from depthdif.diffusion.sampler import ReverseSampler

MakeBatch = Callable[..., dict[str, Tensor]]
PREDICTION_TYPES = ("sample", "epsilon", "v_prediction")
# Covariance of three columns of one cell, of which the first is shown.
COVARIANCE = torch.tensor([[1.0, 0.7, 0.5], [0.7, 1.2, 0.6], [0.5, 0.6, 0.9]], dtype=torch.float64)
SHOWN = torch.tensor([True, False, False])


def schedule(prediction_type: str) -> DDPMScheduler:
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type, clip_sample=False
    )


class ConditionalMean(nn.Module):
    """E[x0 | noisy field where it is shown, observation] of a Gaussian of `COVARIANCE`, as the noise schedule asks for it.

    `wrong` is added to the mean, times the noisy field and the observation.
    """

    def __init__(self, noise_schedule: DDPMScheduler, wrong: Tensor | None = None) -> None:
        super().__init__()
        self.noise_schedule, self.wrong = noise_schedule, wrong

    def forward(self, noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        step = int(timestep.reshape(-1)[0])
        alpha_bar = self.noise_schedule.alphas_cumprod[step].double()
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        noised = batch["noised_mask"]
        means = []
        for seen, mask, observed in zip(noisy.double(), noised, batch["observations"].double(), strict=True):
            shown = torch.cat([SHOWN, mask.flatten()])
            # Of x0, and of (x0, noisy field): the known ones are the observation, without error, and the noisy cells.
            joint = torch.cat([COVARIANCE, alpha * COVARIANCE], dim=1)
            known = torch.cat([joint, torch.cat([alpha * COVARIANCE, alpha**2 * COVARIANCE], dim=1)])
            known[3:, 3:] += sigma**2 * torch.eye(3, dtype=torch.float64)
            values = torch.cat([observed.flatten(), seen.flatten()])[shown]
            means.append(joint[:, shown] @ torch.linalg.solve(known[shown][:, shown], values))
        mean = torch.stack(means).reshape(noisy.shape)
        if self.wrong is not None:
            mean = mean + self.wrong[0] * noisy + self.wrong[1] * batch["observations"].sum(-1, keepdim=True)
        prediction = {
            "sample": mean,
            "epsilon": (noisy - alpha * mean) / sigma,
            "v_prediction": (alpha * noisy - mean) / sigma,
        }[self.noise_schedule.config.prediction_type]
        return torch.where(noised, prediction, mean)


def gaussian_samples(count: int = 48) -> tuple[Tensor, Tensor]:
    """Clean fields and noise (N, 1, 1, 3) float64 whose second moments are exactly `COVARIANCE`, 1 and 0 between them."""
    draws = torch.randn(count, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    orthonormal = torch.linalg.qr(draws).Q * count**0.5
    clean = orthonormal[:, :3] @ torch.linalg.cholesky(COVARIANCE).mT
    return clean.reshape(-1, 1, 1, 3), orthonormal[:, 3:].reshape(-1, 1, 1, 3)


def batch_of(clean: Tensor, measured: Tensor, noised: Tensor) -> dict[str, Tensor]:
    def everywhere(mask: Tensor) -> Tensor:
        return mask.reshape(1, 1, 1, 3).expand(clean.shape)

    return {
        "target_mask": everywhere(measured),
        "observed_mask": everywhere(SHOWN),
        "noised_mask": everywhere(noised),
        "observations": torch.where(everywhere(SHOWN), clean, 0),
    }


def gradient(prediction_type: str, step: int, measured: Tensor, noised: Tensor, at: float = 0.0) -> Tensor:
    """Of the objective with respect to errors in proportion to the noisy field and to the observation, each (3,)."""
    clean, noise = gaussian_samples()
    wrong = torch.full((2, 1, 1, 3), at, dtype=torch.float64, requires_grad=True)
    noise_schedule = schedule(prediction_type)
    noise_schedule.alphas_cumprod = noise_schedule.alphas_cumprod.double()
    denoiser = ConditionalMean(noise_schedule, wrong)
    error, weight = AmbientObjective(0.05, min_snr_gamma=5.0)(
        denoiser, noise_schedule, torch.where(measured, clean, 0), batch_of(clean, measured, noised),
        torch.full((len(clean),), step), noise,
    )  # fmt: skip
    (error.sum() / weight.sum()).backward()
    assert wrong.grad is not None
    return wrong.grad


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("step", [5, 300, 900])
@pytest.mark.parametrize("noised", [[], [1], [1, 2]], ids=["none", "one", "both"])
def test_the_conditional_mean_of_the_whole_field_minimises_the_objective_at_every_noise_level(
    prediction_type: str, step: int, noised: list[int]
) -> None:
    mask = torch.zeros(3, dtype=torch.bool)
    mask[noised] = True
    measured = torch.ones(3, dtype=torch.bool)
    assert gradient(prediction_type, step, measured, mask).abs().max() < 1e-5
    # Away from it the objective rises, also with respect to the column that is neither shown nor noised.
    assert gradient(prediction_type, step, measured, mask, at=0.1)[1].abs().min() > 1e-3


def test_a_column_that_was_not_measured_has_no_influence() -> None:
    measured, noised = torch.tensor([True, True, False]), torch.tensor([False, True, False])
    slope = gradient("sample", 300, measured, noised, at=0.1)
    assert (slope[..., 2] == 0).all()
    assert slope[..., 1].abs().min() > 1e-2


def test_a_loss_on_what_was_shown_alone_would_leave_the_rest_undetermined() -> None:
    slope = gradient("sample", 300, SHOWN, torch.zeros(3, dtype=torch.bool), at=0.1)
    assert (slope[..., 1:] == 0).all()


def test_a_hidden_share_of_the_columns_is_noised_and_nothing_that_is_shown_or_was_not_measured(
    make_batch: MakeBatch,
) -> None:
    batch = make_batch(size=1, height=40, width=40)
    batch["target_mask"] = batch["ocean_mask"] & (torch.rand(1, 1, 40, 40) < 0.5)
    hidden = batch["target_mask"] & ~batch["observed_mask"]
    shares = []
    for index in range(100):
        mask = AmbientObjective(0.05).conditions(batch, [(0, 0, index)])["noised_mask"]
        assert not (mask & ~hidden).any()
        # Whole columns: all of the hidden cells of a column are noised, or none.
        assert torch.equal(mask, hidden & mask.any(dim=1, keepdim=True))
        shares.append(float(mask.sum() / hidden.sum()))
    # Uniform on 0 to 1: the standard error of the mean of 100 is 0.029.
    assert abs(sum(shares) / 100 - 0.5) < 0.15
    assert min(shares) < 0.1
    assert max(shares) > 0.9


def test_the_noised_columns_depend_on_the_identity_of_a_sample_alone(make_batch: MakeBatch) -> None:
    batch, objective = make_batch(size=2), AmbientObjective(0.05)
    both = objective.conditions(batch, [(0, 0, 3), (0, 0, 8)])["noised_mask"]
    second = {name: tensor[1:] for name, tensor in batch.items()}
    assert torch.equal(both[1:], objective.conditions(second, [(0, 0, 8)])["noised_mask"])
    assert not torch.equal(both, objective.conditions(batch, [(0, 1, 3), (0, 1, 8)])["noised_mask"])


def sampled(
    prediction_type: str, columns: float, members: int, scheduler: Any = DPMSolverMultistepScheduler
) -> Tensor:
    """(E, 3) members of one field whose first column is observed to be 1."""
    clean = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    batch = batch_of(clean, SHOWN, SHOWN)
    del batch["noised_mask"]
    batch |= {"ocean_mask": torch.ones_like(SHOWN).reshape(1, 1, 1, 3), "index": torch.tensor([0])}
    noise_schedule = schedule(prediction_type)
    sampler = ReverseSampler(
        scheduler.from_config, steps=20, seed=0, ensemble_size=members, clamp_observations=False,
        members_at_once=None, antithetic=False, inflation=1.0,
    )  # fmt: skip
    denoiser = AmbientDenoiser(ConditionalMean(noise_schedule), noise_schedule)
    known = batch["observations"]
    return sampler(denoiser, noise_schedule, known, batch, sampled_columns=columns)[0].reshape(members, 3)


POSTERIOR_MEAN = COVARIANCE[:, 0] / COVARIANCE[0, 0]
POSTERIOR_VARIANCE = (COVARIANCE - COVARIANCE[:, :1] @ COVARIANCE[:1] / COVARIANCE[0, 0]).diagonal()


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_with_no_sampled_column_every_member_is_the_conditional_mean(prediction_type: str) -> None:
    members = sampled(prediction_type, 0.0, 3)
    torch.testing.assert_close(members.double(), POSTERIOR_MEAN.expand(3, 3), atol=1e-3, rtol=0)


def test_with_all_columns_sampled_the_members_have_mean_and_variance_of_the_posterior() -> None:
    members = sampled("sample", 1.0, 1000)[:, 1:].double()
    error = (POSTERIOR_VARIANCE[1:] / 1000).sqrt()
    assert ((members.mean(0) - POSTERIOR_MEAN[1:]).abs() < 5 * error).all()
    # The standard error of a variance is 4.5 % of it; the chain of 20 steps loses a part of it.
    assert ((members.var(0) / POSTERIOR_VARIANCE[1:] - 1).abs() < 0.25).all()


def test_with_some_columns_sampled_the_mean_of_the_members_is_that_of_the_posterior_and_their_variance_smaller() -> (
    None
):
    members = sampled("sample", 0.5, 1000)[:, 1:].double()
    error = (POSTERIOR_VARIANCE[1:] / 1000).sqrt()
    assert ((members.mean(0) - POSTERIOR_MEAN[1:]).abs() < 5 * error).all()
    assert (members.var(0) < 0.95 * POSTERIOR_VARIANCE[1:]).all()
    assert (members.var(0) > 0.3 * POSTERIOR_VARIANCE[1:]).all()


@pytest.mark.parametrize("scheduler", [DPMSolverMultistepScheduler, DDIMScheduler])
def test_the_prediction_types_sample_the_same(scheduler: type) -> None:
    expected = sampled("sample", 0.5, 4, scheduler)
    for prediction_type in PREDICTION_TYPES[1:]:
        torch.testing.assert_close(
            sampled(prediction_type, 0.5, 4, scheduler), expected, atol=5e-3, rtol=5e-3
        )


def test_signal_and_noise_between_two_steps_lie_between_theirs() -> None:
    denoiser = AmbientDenoiser(nn.Identity(), schedule("sample"))
    ratios = [
        noise / signal
        for signal, noise in map(denoiser.signal_and_noise, map(torch.tensor, (300.0, 300.5, 301.0)))
    ]
    assert ratios[0] < ratios[1] < ratios[2]
    assert ratios[1] == pytest.approx((ratios[0] + ratios[2]) / 2)
    signal, noise = denoiser.signal_and_noise(torch.tensor(300))
    assert signal**2 == pytest.approx(float(schedule("sample").alphas_cumprod[300]))
    assert signal**2 + noise**2 == pytest.approx(1)


def test_members_of_a_pair_sample_the_same_columns_and_others_their_own(make_batch: MakeBatch) -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
            seen.append(batch["noised_mask"])
            return noisy

    batch = make_batch(size=1)
    sampler = ReverseSampler(
        DPMSolverMultistepScheduler.from_config, steps=2, seed=0, ensemble_size=4, clamp_observations=False,
        members_at_once=None, antithetic=True, inflation=1.0,
    )  # fmt: skip
    sampler(Spy(), schedule("sample"), batch["observations"], batch, sampled_columns=0.5)
    first, second, third, _ = seen[0]
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert not (seen[0] & (batch["observed_mask"] | ~batch["ocean_mask"])).any()
    correlated = dataclasses.replace(sampler, time_correlated_noise=20.0)
    correlated(Spy(), schedule("sample"), batch["observations"], batch, sampled_columns=0.5)
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("columns", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(columns: float) -> None:
    with pytest.raises(ValueError, match=r"sampled_columns is .*model\.objective\.sampled_columns=0\.05"):
        AmbientObjective(columns)

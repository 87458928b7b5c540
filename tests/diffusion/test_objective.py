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


def test_the_loss_of_a_constant_error_is_its_square_whatever_the_mask(make_batch: MakeBatch) -> None:
    batch = make_batch()
    loss = MaskedDiffusionObjective()(OffBy(torch.tensor(0.3)), schedule(), batch["target"], batch)
    assert float(loss) == pytest.approx(0.09, rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_predicted_outside_the_ocean_changes_neither_the_loss_nor_the_gradients(
    make_batch: MakeBatch, value: float
) -> None:
    batch = make_batch()
    outside = ~batch["ocean_mask"]
    error = torch.full_like(batch["target"], 0.3).requires_grad_()
    wild = torch.where(outside, value, error)
    loss = MaskedDiffusionObjective()(OffBy(wild), schedule(), batch["target"], batch)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.09, rel=1e-5)
    assert error.grad is not None
    assert torch.equal(error.grad[outside], torch.zeros(int(outside.sum())))


def test_latitude_weighting_counts_a_row_by_the_cosine_of_its_latitude(make_batch: MakeBatch) -> None:
    batch = make_batch(size=1, depths=1, height=2, width=4)
    batch["ocean_mask"][:] = True
    batch["latitude"] = torch.tensor([[0.0, 60.0]])
    error = torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1).expand(1, 1, 2, 4)
    loss = MaskedDiffusionObjective(latitude_weighting=True)(OffBy(error), schedule(), batch["target"], batch)
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
    batch, noise_schedule = make_batch(size=1), schedule()
    generator = torch.Generator().manual_seed(1)
    timestep = torch.randint(1000, (1,), generator=torch.Generator().manual_seed(1))
    alpha_bar = float(noise_schedule.alphas_cumprod[timestep])
    weight = min(alpha_bar / (1 - alpha_bar), 5.0)
    loss = MaskedDiffusionObjective(min_snr_gamma=5)(
        OffBy(torch.tensor(1.0)), noise_schedule, batch["target"], batch, generator
    )
    assert float(loss) == pytest.approx(weight, rel=1e-5)


def test_a_generator_fixes_time_steps_and_noise(make_batch: MakeBatch) -> None:
    class Remember(nn.Module):
        def forward(self, noisy: Tensor, timesteps: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
            seen.append((noisy.clone(), timesteps.clone()))
            return noisy

    seen: list[tuple[Tensor, Tensor]] = []
    batch = make_batch()
    for seed in (3, 3, 4):
        generator = torch.Generator().manual_seed(seed)
        MaskedDiffusionObjective()(Remember(), schedule(), batch["target"], batch, generator)
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))
    assert not torch.equal(seen[0][0], seen[2][0])


def test_a_weighted_mean_ignores_infinities_that_weigh_nothing(make_batch: MakeBatch) -> None:
    batch = make_batch(size=1, depths=1, height=3, width=1)
    batch["ocean_mask"][:] = torch.tensor([True, False, True]).reshape(1, 1, 3, 1)
    batch["latitude"] = torch.tensor([[60.0, 0.0, 0.0]])
    error = torch.tensor([1.0, math.inf, 3.0]).sqrt().reshape(1, 1, 3, 1)
    loss = MaskedDiffusionObjective(latitude_weighting=True)(OffBy(error), schedule(), batch["target"], batch)
    assert float(loss) == pytest.approx((0.5 * 1 + 3) / 1.5, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.nan])
def test_a_min_snr_gamma_that_is_not_positive_is_an_error(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"min_snr_gamma is .*model\.objective\.min_snr_gamma=5"):
        MaskedDiffusionObjective(min_snr_gamma=gamma)

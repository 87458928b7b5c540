from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from depthdif import UserError
from depthdif.diffusion.sampler import ReverseSampler

MakeBatch = Callable[..., dict[str, Tensor]]
PREDICTION_TYPES = ("sample", "epsilon", "v_prediction")
OPTIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/model/sampler").glob("*.yaml"))


def reverse_sampler(scheduler: Callable[..., Any], **options: Any) -> ReverseSampler:
    """A sampler of single members, without clamping, pairs and inflation unless `options` set them."""
    plain: dict[str, Any] = {
        "steps": 20, "seed": 0, "ensemble_size": 1, "clamp_observations": False, "members_at_once": None,
        "antithetic": False, "inflation": 1.0,
    }  # fmt: skip
    return ReverseSampler(scheduler, **{**plain, **options})


def cosine(prediction_type: str = "sample") -> DDPMScheduler:
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type, clip_sample=False
    )


class Oracle(nn.Module):
    """Knows the truth and answers in the way that the noise schedule asks for."""

    def __init__(self, noise_schedule: DDPMScheduler) -> None:
        super().__init__()
        self.noise_schedule = noise_schedule

    def forward(self, noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        truth = batch["target"]
        alpha_bar = self.noise_schedule.alphas_cumprod[timestep.long()]
        noise = (noisy - alpha_bar.sqrt() * truth) / (1 - alpha_bar).sqrt()
        velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * truth
        return {"sample": truth, "epsilon": noise, "v_prediction": velocity}[
            self.noise_schedule.config.prediction_type
        ]


class Echo(nn.Module):
    """Lets the noise through, so that its effect is seen at the end of the chain."""

    def forward(self, noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return 0.5 * noisy + 0.1 * batch["observations"]


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("scheduler", [DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler])
def test_a_chain_whose_denoiser_knows_the_truth_ends_at_the_truth(
    make_batch: MakeBatch, scheduler: type, prediction_type: str
) -> None:
    batch = make_batch()
    noise_schedule = cosine(prediction_type)
    sampler = reverse_sampler(scheduler.from_config, steps=20)
    samples = sampler(Oracle(noise_schedule), noise_schedule, batch["observations"], batch)
    assert samples.shape == (2, 1, 3, 8, 8)
    torch.testing.assert_close(samples[:, 0], batch["target"], atol=2e-2, rtol=0)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_the_config_ends_at_the_truth_where_the_denoiser_knows_it(
    compose_train: Callable[..., DictConfig], make_batch: MakeBatch, option: str, prediction_type: str
) -> None:
    sampler = instantiate(compose_train(f"model/sampler={option}").model.sampler)
    batch = make_batch()
    samples = sampler(Oracle(cosine(prediction_type)), cosine(prediction_type), batch["observations"], batch)
    assert samples.shape == (2, 4, 3, 8, 8)
    torch.testing.assert_close(samples, batch["target"][:, None].expand_as(samples), atol=2e-2, rtol=0)


@pytest.mark.parametrize("scheduler", [UniPCMultistepScheduler, HeunDiscreteScheduler])
def test_schedulers_that_take_no_generator_run_too(make_batch: MakeBatch, scheduler: type) -> None:
    batch = make_batch()
    samples = reverse_sampler(scheduler.from_config, steps=10)(
        Oracle(cosine()), cosine(), batch["observations"], batch
    )
    torch.testing.assert_close(samples[:, 0], batch["target"], atol=2e-2, rtol=0)


@pytest.mark.parametrize("scheduler", [DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler])
def test_a_sample_does_not_depend_on_the_batch_it_is_in(make_batch: MakeBatch, scheduler: type) -> None:
    batch = make_batch(size=3)
    alone = {name: tensor[2:] for name, tensor in batch.items()}
    sampler = reverse_sampler(scheduler.from_config, steps=5, ensemble_size=2)
    together = sampler(Echo(), cosine(), batch["observations"], batch)
    torch.testing.assert_close(
        together[2:], sampler(Echo(), cosine(), alone["observations"], alone), atol=1e-5, rtol=1e-5
    )


def test_the_same_seed_repeats_a_reconstruction_and_another_one_changes_it(make_batch: MakeBatch) -> None:
    batch = make_batch()
    first, again, other = (
        reverse_sampler(DDIMScheduler.from_config, steps=3, seed=seed)(
            Echo(), cosine(), batch["observations"], batch
        )
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_ensemble_members_differ_and_a_larger_ensemble_keeps_the_smaller(make_batch: MakeBatch) -> None:
    batch = make_batch()
    small, large = (
        reverse_sampler(DDIMScheduler.from_config, steps=3, ensemble_size=size)(
            Echo(), cosine(), batch["observations"], batch
        )
        for size in (2, 4)
    )
    assert large.shape == (2, 4, 3, 8, 8)
    assert not torch.allclose(large[:, 0], large[:, 1])
    torch.testing.assert_close(large[:, :2], small)


@pytest.mark.parametrize("scheduler", [DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler])
@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_members_do_not_depend_on_how_many_the_network_sees_at_once(
    make_batch: MakeBatch, scheduler: type, at_once: int
) -> None:
    batch = make_batch()
    seen: list[int] = []

    class Counting(Echo):
        def forward(self, noisy: Tensor, timestep: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
            seen.append(len(noisy))
            return super().forward(noisy, timestep, batch)

    whole, parts = (
        reverse_sampler(scheduler.from_config, steps=3, ensemble_size=5, members_at_once=size)(
            Counting(), cosine(), batch["observations"], batch
        )
        for size in (None, at_once)
    )
    assert parts.shape == (2, 5, 3, 8, 8)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
    assert seen[:3] == [10] * 3
    assert max(seen[3:]) == 2 * min(at_once, 5)


def test_cells_outside_the_ocean_are_zero(make_batch: MakeBatch) -> None:
    batch = make_batch()
    samples = reverse_sampler(DDPMScheduler.from_config, steps=3)(
        Echo(), cosine(), batch["observations"], batch
    )
    assert torch.equal(samples[:, 0][~batch["ocean_mask"]], torch.zeros((~batch["ocean_mask"]).sum()))


@pytest.mark.parametrize("scheduler", [DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler])
def test_clamped_observations_come_back_exactly_and_unclamped_ones_do_not(
    make_batch: MakeBatch, scheduler: type
) -> None:
    batch = make_batch()
    observed = batch["observed_mask"]
    clamped, free = (
        reverse_sampler(scheduler.from_config, steps=4, clamp_observations=clamp)(
            Echo(), cosine(), batch["observations"], batch
        )[:, 0]
        for clamp in (True, False)
    )
    assert torch.equal(clamped[observed], batch["observations"][observed])
    assert not torch.allclose(free[observed], batch["observations"][observed], atol=0.1)


def test_more_steps_than_the_noise_schedule_has_raises_with_the_value_to_set(
    make_batch: MakeBatch,
) -> None:
    sampler = reverse_sampler(DDIMScheduler.from_config, steps=1001)
    with pytest.raises(ValueError, match=r"steps is 1001.*model\.sampler\.steps=1000"):
        sampler(Echo(), cosine(), torch.zeros(2, 3, 8, 8), make_batch())


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("ensemble_size", 0), ("members_at_once", 0), ("seed", -1)]
)
def test_counts_out_of_range_are_errors_that_name_the_override(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{name} is {value}.*model\.sampler\.{name}="):
        reverse_sampler(DDIMScheduler.from_config, **{name: value})


def test_antithetic_members_start_from_opposite_noise_and_the_first_of_each_pair_is_as_without(
    make_batch: MakeBatch,
) -> None:
    batch = make_batch()
    batch["observations"] = torch.zeros_like(batch["observations"])

    def members(**options: object) -> Tensor:
        sampler = reverse_sampler(DDIMScheduler.from_config, steps=3, ensemble_size=4, **options)  # type: ignore[arg-type]
        return sampler(Echo(), cosine(), batch["observations"], batch)

    plain, pairs = members(), members(antithetic=True)
    assert torch.equal(pairs[:, ::2], plain[:, ::2])
    # The echo is linear: opposite noise ends opposite.
    torch.testing.assert_close(pairs[:, 1::2], -plain[:, ::2])
    assert torch.equal(members(antithetic=True, members_at_once=1), pairs)


def test_the_samples_are_not_inflated(make_batch: MakeBatch) -> None:
    batch = make_batch()
    plain, inflated = (
        reverse_sampler(DDIMScheduler.from_config, steps=3, ensemble_size=4, inflation=inflation)(
            Echo(), cosine(), batch["observations"], batch
        )
        for inflation in (1.0, 1.5)
    )
    assert torch.equal(plain, inflated)


@pytest.mark.parametrize("option", OPTIONS)
def test_antithetic_pairs_are_off_in_every_stochastic_option_and_refused_where_they_are_set(
    compose_train: Callable[..., DictConfig], option: str
) -> None:
    cfg = compose_train(f"model/sampler={option}").model.sampler
    is_stochastic = option in ("ddpm", "dpm_solver_sde")
    assert cfg.antithetic is not is_stochastic
    pairs = instantiate(cfg, antithetic=True)
    if is_stochastic:
        with pytest.raises(UserError, match=r"stochastic .*set model\.sampler\.antithetic=false"):
            pairs.prepared_scheduler(cosine(), torch.device("cpu"))
    else:
        pairs.prepared_scheduler(cosine(), torch.device("cpu"))


def correlated(batch: dict[str, Tensor], **options: Any) -> Tensor:
    """Members of each sample from noise that is correlated over 20 days."""
    sampler = reverse_sampler(
        DDIMScheduler.from_config, steps=3, ensemble_size=4, time_correlated_noise=20.0, **options
    )
    return sampler(Echo(), cosine(), torch.zeros_like(batch["observations"]), batch)


def unobserved(batch: dict[str, Tensor], **changed: Tensor) -> dict[str, Tensor]:
    """The batch without land and observations, so that the echo returns its noise."""
    fields = {"observations": torch.zeros_like, "ocean_mask": torch.ones_like}
    return {**batch, **{name: make(batch[name]) for name, make in fields.items()}, **changed}


def test_noise_that_is_correlated_in_time_depends_on_place_and_time_and_not_on_the_index(
    make_batch: MakeBatch,
) -> None:
    batch = unobserved(make_batch())
    first = correlated(batch)
    # Both samples are at one place and time.
    torch.testing.assert_close(first[0], first[1])
    later = correlated({**batch, "time": batch["time"] + 5})
    elsewhere = correlated({**batch, "coordinates": batch["coordinates"] + 1})
    similar, apart = (torch.corrcoef(torch.stack([first[0].ravel(), other[0].ravel()]))[0, 1]
                      for other in (later, elsewhere))  # fmt: skip
    assert similar > 0.85  # exp(-(5 / 20)²) is 0.94
    assert abs(apart) < 0.2


def test_samples_with_correlated_noise_do_not_depend_on_the_batch_they_are_in(make_batch: MakeBatch) -> None:
    batch = unobserved(make_batch(size=3), time=torch.tensor([13_000, 13_005, -2]))
    alone = [correlated({name: tensor[i : i + 1] for name, tensor in batch.items()}) for i in range(3)]
    torch.testing.assert_close(correlated(batch), torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_antithetic_pairs_of_correlated_noise_are_opposite(make_batch: MakeBatch) -> None:
    members = correlated(unobserved(make_batch()), antithetic=True)
    torch.testing.assert_close(members[:, 1::2], -members[:, ::2])
    assert not torch.allclose(members[:, 0], members[:, 2])


@pytest.mark.parametrize("option", OPTIONS)
def test_correlated_noise_is_refused_with_every_stochastic_option(
    compose_train: Callable[..., DictConfig], option: str
) -> None:
    cfg = compose_train(f"model/sampler={option}", "model.sampler.time_correlated_noise=20").model.sampler
    if option in ("ddpm", "dpm_solver_sde"):
        with pytest.raises(UserError, match=r"stochastic .*set model\.sampler\.time_correlated_noise=null"):
            instantiate(cfg).prepared_scheduler(cosine(), torch.device("cpu"))
    else:
        instantiate(cfg).prepared_scheduler(cosine(), torch.device("cpu"))


@pytest.mark.parametrize("days", [0.0, -1.0, float("inf"), float("nan")])
def test_an_efolding_time_that_is_not_positive_is_refused(days: float) -> None:
    with pytest.raises(UserError, match=r"expected days above 0.*model\.sampler\.time_correlated_noise=20"):
        reverse_sampler(DDIMScheduler.from_config, time_correlated_noise=days)

"""The benchmark of samplers: what it counts, what it scores, and what it says of a sampler that fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from omegaconf import DictConfig

from depthdif.build import build_data, build_module
from depthdif.evaluation.sampler_benchmark import (
    NOT_FINITE,
    UNSTABLE,
    Candidate,
    Point,
    SamplerBenchmark,
    best_point,
    fewest_evaluations,
    verdicts,
    with_unstable_named,
)

Config = Callable[..., DictConfig]

DDIM = Candidate("ddim", "trailing", partial(DDIMScheduler.from_config, timestep_spacing="trailing"))
HEUN = Candidate("heun", "linspace", HeunDiscreteScheduler.from_config)


@pytest.fixture
def benchmark(small_run: Config) -> Callable[..., SamplerBenchmark]:
    """Makes a benchmark of an untrained model of a small ocean."""

    def made(*overrides: str, **options: Any) -> SamplerBenchmark:
        cfg = small_run("data.field.depths=3", "data.field.times=1", *overrides)
        data = build_data(cfg)
        torch.manual_seed(0)
        module = build_module(cfg, data).eval()
        torch.nn.init.normal_(module.denoiser.unet.conv_out.weight, std=0.1)
        small = {"patches": 3, "ensemble_size": 3, "batch_size": 2}
        return SamplerBenchmark(module, data, torch.device("cpu"), **(small | options))

    return made


def calls_of(found: SamplerBenchmark, candidate: Candidate, asked: int) -> tuple[Point, int]:
    """A point, and how often the network was asked for one batch."""
    calls: list[int] = []
    handle = found.module.denoiser.register_forward_hook(lambda *_: calls.append(1))
    point = found.point(candidate, asked)
    handle.remove()
    return point, len(calls) // len(found.batches)


@pytest.mark.parametrize("candidate", [DDIM, HEUN], ids=lambda candidate: candidate.sampler)
@pytest.mark.parametrize("asked", [1, 4, 7])
def test_evaluations_are_the_calls_of_the_network_and_never_more_than_asked(
    benchmark: Callable[..., SamplerBenchmark], candidate: Candidate, asked: int
) -> None:
    point, calls = calls_of(benchmark(), candidate, asked)
    assert point.evaluations == calls <= asked
    assert point.steps == (asked if candidate is DDIM else (asked + 1) // 2)


def test_scores_are_those_of_the_members_over_the_unobserved_ocean(
    benchmark: Callable[..., SamplerBenchmark],
) -> None:
    found = benchmark()
    point = found.point(DDIM, 2)
    errors, pairs, mean_errors = [], [], []
    for batch, truth in found.batches:
        members = torch.from_numpy(found.reconstruct(batch).members)
        difference = members - torch.from_numpy(truth.values)[:, None]
        scored = torch.from_numpy(truth.scored)
        errors.append(difference.movedim(1, -1)[scored])
        mean_errors.append(difference.mean(dim=1)[scored])
        pairs.append((members[:, :, None] - members[:, None]).abs().sum(dim=(1, 2))[scored])
    error, pair, mean_error = torch.cat(errors), torch.cat(pairs), torch.cat(mean_errors)
    assert point.rmse == pytest.approx(float(error.square().mean().sqrt()), rel=1e-5)
    assert point.rmse_mean == pytest.approx(float(mean_error.square().mean().sqrt()), rel=1e-5)
    crps = error.abs().mean(dim=1) - pair / (2 * 3 * 2)
    assert point.crps == pytest.approx(float(crps.mean()), rel=1e-5)
    assert point.seconds > 0
    assert not point.fault


def test_the_first_guess_is_scored_on_the_same_cells(benchmark: Callable[..., SamplerBenchmark]) -> None:
    found = benchmark("model/first_guess=idw")
    assert found.first_guess_rmse is not None
    # A model that adds nothing gives the first guess back.
    torch.nn.init.zeros_(found.module.denoiser.unet.conv_out.weight)
    torch.nn.init.zeros_(found.module.denoiser.unet.conv_out.bias)
    assert found.point(DDIM, 1).rmse == pytest.approx(found.first_guess_rmse, rel=1e-5)
    assert benchmark().first_guess_rmse is None


def test_the_same_seed_repeats_a_point_whatever_ran_before(
    benchmark: Callable[..., SamplerBenchmark],
) -> None:
    found = benchmark()
    first = found.point(DDIM, 3)
    found.point(HEUN, 3)
    assert replace(found.point(DDIM, 3), seconds=0) == replace(first, seconds=0)
    assert benchmark(seed=1).point(DDIM, 3).rmse != first.rmse


def test_a_scheduler_that_does_not_take_the_prediction_type_is_said_and_not_raised(
    benchmark: Callable[..., SamplerBenchmark],
) -> None:
    candidate = Candidate("euler_ancestral", "linspace", EulerAncestralDiscreteScheduler.from_config)
    done: list[int] = []
    points = benchmark(advance=done.append).curve(candidate, [2, 4])
    assert [point.asked for point in points] == done == [2, 4]
    assert all("NotImplementedError: prediction_type" in point.fault for point in points)
    assert all(math.isnan(point.rmse) for point in points)


def test_what_is_not_finite_is_said(benchmark: Callable[..., SamplerBenchmark]) -> None:
    found = benchmark()
    torch.nn.init.constant_(found.module.denoiser.unet.conv_out.bias, math.inf)
    assert found.point(DDIM, 2).fault == NOT_FINITE


def test_a_mistake_in_the_model_or_the_data_is_raised_before_the_work(
    benchmark: Callable[..., SamplerBenchmark],
) -> None:
    with pytest.raises(ValueError, match="ensemble_size=1; expected at least 2"):
        benchmark(ensemble_size=1)
    with pytest.raises(
        ValueError, match=r"patches=9, but the validation set has 4.*data\.validation_patches=9"
    ):
        benchmark(patches=9)


def point(candidate: Candidate, evaluations: int, rmse: float, fault: str = "") -> Point:
    return Point(
        candidate, evaluations, evaluations, evaluations, rmse, 0.9 * rmse, 0.5 * rmse, 0.5, 0.1, fault
    )


def test_the_fewest_evaluations_hold_for_all_greater_ones_too() -> None:
    curve = [point(DDIM, n, rmse) for n, rmse in ((2, 1.3), (4, 1.01), (6, 1.05), (8, 1.019), (50, 1.0))]
    assert fewest_evaluations(curve, "rmse", 0.02) == 8
    assert fewest_evaluations(curve, "rmse", 0.06) == 4
    assert fewest_evaluations(curve, "rmse", 0.0) == 50
    broken = [*curve[:3], replace(curve[3], fault="unstable"), curve[4]]
    assert fewest_evaluations(broken, "rmse", 0.5) == 50


def test_an_unstable_point_is_named_and_a_failed_sampler_has_no_verdict() -> None:
    points = [
        point(DDIM, 2, 30.0),
        point(DDIM, 50, 1.0),
        point(HEUN, 2, 0.5),
        point(HEUN, 50, math.nan, "not finite"),
    ]
    named = with_unstable_named(points)
    assert [p.fault for p in named] == [UNSTABLE, "", "", "not finite"]
    assert [verdict.candidate for verdict in verdicts(named, 0.02)] == [DDIM]
    best = best_point(named, most=10)
    assert best is not None
    assert best.candidate == HEUN
    assert best_point(named[:1], most=10) is None

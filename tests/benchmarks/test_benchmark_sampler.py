"""The benchmark of samplers: what it counts and scores, and a small run as a developer starts it."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from omegaconf import DictConfig

from depthdif import UserError
from depthdif.build import build_data, build_module
from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.training import train

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/benchmark_sampler.py"

Config = Callable[..., DictConfig]
Make = Callable[..., Any]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_sampler", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmark_sampler"] = module
    spec.loader.exec_module(module)
    return module


script = load_script()
DDIM = script.Candidate("ddim", "trailing", partial(DDIMScheduler.from_config, timestep_spacing="trailing"))
HEUN = script.Candidate("heun", "linspace", HeunDiscreteScheduler.from_config)


@pytest.fixture
def make(small_run: Config, tmp_path: Path) -> Make:
    """Makes a benchmark of an untrained model of a small ocean."""

    def made(*overrides: str, ensemble_size: int = 3, patches: int = 3) -> Any:
        cfg = small_run("data.field.depths=3", "data.field.times=1", *overrides)
        data = build_data(cfg)
        torch.manual_seed(0)
        module = build_module(cfg, data).eval()
        torch.nn.init.normal_(module.denoiser.unet.conv_out.weight, std=0.1)
        run = TrainedRun(tmp_path, cfg, module, {}, precision="32-true", data=data)
        return script.SamplerBenchmark(run, patches, ensemble_size, batch_size=2)

    return made


@pytest.mark.parametrize("candidate", [DDIM, HEUN], ids=lambda candidate: candidate.sampler)
@pytest.mark.parametrize("limit", [1, 4])
def test_evaluations_are_the_calls_of_the_network_and_never_more_than_the_limit(
    make: Make, candidate: Any, limit: int
) -> None:
    benchmark = make()
    calls: list[int] = []
    benchmark.run.module.denoiser.register_forward_hook(lambda *_: calls.append(1))
    point = benchmark.point(candidate, limit)
    assert point.evaluations == len(calls) // len(benchmark.batches) <= limit
    assert point.steps == (limit if candidate is DDIM else (limit + 1) // 2)


def test_single_samples_are_scored_as_a_user_gets_them_whatever_the_inflation(make: Make) -> None:
    benchmark = make("model.sampler.inflation=1.5")
    point = benchmark.point(DDIM, 2)
    squares = []
    for batch, truth in benchmark.batches:
        members = benchmark.run.data.standardization.restore(benchmark.run.module.reconstruct(batch).numpy())
        error = np.moveaxis(members - truth.values[:, None], 1, -1)[truth.scored]
        squares.append(np.square(error).ravel())
    assert point.rmse == pytest.approx(np.sqrt(np.concatenate(squares).mean()), rel=1e-4)
    plain = make("model.sampler.inflation=1").point(DDIM, 2)
    assert (point.rmse, point.rmse_mean) == (plain.rmse, plain.rmse_mean)
    assert point.spread == pytest.approx(1.5 * plain.spread, rel=1e-4)


def test_two_antithetic_members_are_refused_because_one_is_independent(make: Make) -> None:
    with pytest.raises(UserError, match=r"two independent members.*set ensemble_size=4"):
        make("model.sampler.antithetic=true", ensemble_size=2)
    with pytest.raises(UserError, match="patches=9, but the validation set has 4"):
        make(patches=9)


def test_antithetic_pairs_are_off_for_stochastic_samplers_alone(make: Make) -> None:
    benchmark = make("model.sampler.antithetic=true", ensemble_size=4)
    ddpm = script.Candidate("ddpm", "leading", DDPMScheduler.from_config)
    pairs = {}
    for candidate in (DDIM, ddpm):
        assert not benchmark.point(candidate, 2).fault
        pairs[candidate.sampler] = benchmark.run.module.sampler.antithetic
    assert pairs == {"ddim": True, "ddpm": False}


def test_a_scheduler_that_fails_and_a_chain_that_is_not_finite_are_faults(make: Make) -> None:
    benchmark = make()
    ancestral = script.Candidate("euler_ancestral", "linspace", EulerAncestralDiscreteScheduler.from_config)
    assert "NotImplementedError: prediction_type" in benchmark.point(ancestral, 2).fault
    torch.nn.init.constant_(benchmark.run.module.denoiser.unet.conv_out.bias, math.inf)
    assert benchmark.point(DDIM, 2).fault == script.NOT_FINITE


def test_a_model_that_adds_nothing_scores_as_the_first_guess(make: Make) -> None:
    benchmark = make("model/first_guess=idw")
    torch.nn.init.zeros_(benchmark.run.module.denoiser.unet.conv_out.weight)
    torch.nn.init.zeros_(benchmark.run.module.denoiser.unet.conv_out.bias)
    assert benchmark.point(DDIM, 1).rmse == pytest.approx(benchmark.first_guess_rmse(), rel=1e-5)
    assert make().first_guess_rmse() is None


def point(candidate: Any, limit: int, rmse: float, fault: str = "") -> Any:
    return script.Point(candidate, limit, limit, limit, rmse, 0.9 * rmse, 0.5 * rmse, 0.45, 0.02, fault)


def test_the_fewest_evaluations_hold_for_all_greater_ones_too() -> None:
    curve = [point(DDIM, n, rmse) for n, rmse in ((2, 1.3), (4, 1.01), (6, 1.05), (8, 1.019), (50, 1.0))]
    assert script.fewest_evaluations(curve, "rmse", 0.02) == 8
    assert script.fewest_evaluations(curve, "rmse", 0.06) == 4
    assert script.fewest_evaluations(curve, "rmse", 0.0) == 50
    broken = [*curve[:3], dataclasses.replace(curve[3], fault="unstable"), curve[4]]
    assert script.fewest_evaluations(broken, "rmse", 0.5) == 50


def test_an_unstable_point_is_no_best_and_is_named_in_one_line() -> None:
    points = script.with_unstable([point(DDIM, 2, 30.0), point(DDIM, 50, 1.0), point(HEUN, 2, 1.2)])
    assert [p.fault for p in points] == [script.UNSTABLE, "", ""]
    assert script.best_point(points).candidate == HEUN
    assert script.fault_lines(points) == ["ddim, trailing at 2: unstable"]
    assert [curve[0].candidate for curve in script.best_spacings(points)] == [DDIM, HEUN]
    assert "lowest CRPS with at most 10: heun" in script.summary(points, 0.02)


def test_the_script_measures_a_trained_run_and_writes_table_and_figure(
    small_run: Config, tmp_path: Path
) -> None:
    train(small_run("data.field.depths=3", "data.field.times=1", "trainer.max_steps=1", "logger=csv"))
    command = [
        sys.executable, str(SCRIPT), f"checkpoint={tmp_path / 'run/checkpoints/last.ckpt'}", "accelerator=cpu",
        f"output_dir={tmp_path / 'out'}", "patches=2", "ensemble_size=4", "evaluations=[3,2]",
    ]  # fmt: skip
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    with (tmp_path / "out/samplers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["limit"] for row in rows] == ["2", "3"] * (len(rows) // 2)
    # Three evaluations are too few for no sampler; one does not know x0 prediction.
    assert {row["sampler"] for row in rows if row["fault"]} == {"euler_ancestral"}
    assert all(float(row["crps"]) for row in rows if not row["fault"])
    assert (tmp_path / "out/samplers.png").stat().st_size > 10_000
    for words in ("RMSE of a sample", "CRPS of 4", "spread/skill", "lowest CRPS with at most 10"):
        assert words in finished.stdout

"""A batch through the reverse chain to units of the field, and its scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from depthdif.build import build_data, build_module
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.ensemble import Ensemble
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.reconstruction import (
    physical_truth,
    reconstruct,
    score_ensemble,
    score_estimate,
    score_first_guess,
)
from depthdif.scores.probabilistic import gaussian_crps

Opened = tuple[DiffusionModule, OceanDataModule, dict[str, Tensor]]


@pytest.fixture
def opened(small_run: Callable[..., DictConfig]) -> Callable[..., Opened]:
    """Builds an untrained model of a small ocean, with its data and a validation mini-batch."""

    def build(*overrides: str) -> Opened:
        cfg = small_run(
            "data.field.depths=3", "data.field.times=1", "model/first_guess=idw",
            "model.sampler.ensemble_size=3", "model.sampler.inflation=1.5", *overrides,
        )  # fmt: skip
        data = build_data(cfg)
        torch.manual_seed(0)
        module = build_module(cfg, data).eval()
        torch.nn.init.normal_(module.denoiser.unet.conv_out.weight, std=0.1)
        return module, data, next(iter(data.val_dataloader()))

    return build


def test_members_are_those_of_the_chain_and_the_inflation_is_of_the_spread(
    opened: Callable[..., Opened],
) -> None:
    module, data, batch = opened()
    ensemble = reconstruct(module, batch, data.standardization)
    samples = data.standardization.restore(module.reconstruct(batch)).numpy()
    ocean = batch["ocean_mask"].numpy()
    np.testing.assert_array_equal(ensemble.members, np.where(ocean[:, None], samples, np.nan))
    # The first member is the single sample of an ensemble of one.
    module.sampler.ensemble_size = 1
    alone = reconstruct(module, batch, data.standardization)
    np.testing.assert_allclose(alone.members[:, 0], ensemble.members[:, 0], rtol=1e-4)
    spread = np.std(samples, axis=1, ddof=1)[ocean]
    np.testing.assert_allclose(ensemble.std[ocean], 1.5 * spread, rtol=1e-3, atol=1e-5)  # type: ignore[index]


def test_the_network_computes_in_the_precision_that_is_set(opened: Callable[..., Opened]) -> None:
    module, data, batch = opened()
    types = []
    module.denoiser.unet.conv_in.register_forward_hook(lambda *arguments: types.append(arguments[2].dtype))
    # The fused attention in bfloat16 needs kernels that ATEN_CPU_CAPABILITY may have switched off.
    with sdpa_kernel(SDPBackend.MATH):
        for precision in ("32-true", "bf16-mixed"):
            ensemble = reconstruct(module, batch, data.standardization, precision)
            assert ensemble.members.dtype == np.float32
    calls = len(types) // 2
    assert set(types[:calls]) == {torch.float32}
    assert set(types[calls:]) == {torch.bfloat16}


def test_scores_are_over_the_ocean_and_the_crps_needs_two_independent_members(
    opened: Callable[..., Opened],
) -> None:
    module, data, batch = opened()
    ensemble = reconstruct(module, batch, data.standardization)
    truth, ocean = physical_truth(batch, data.standardization), batch["ocean_mask"].numpy()
    scores = score_ensemble(ensemble, batch, data.standardization)
    assert scores["mse"] == pytest.approx(np.square((ensemble.mean - truth)[ocean]).mean(), rel=1e-4)
    assert scores["crps"] == pytest.approx(ensemble.crps(truth)[ocean].mean(), rel=1e-6)
    for too_small in (Ensemble(ensemble.members[:, :1]), Ensemble(ensemble.members[:, :2], antithetic=True)):
        assert "crps" not in score_ensemble(too_small, batch, data.standardization)


def test_the_first_guess_is_scored_as_a_gaussian_with_its_own_error(opened: Callable[..., Opened]) -> None:
    _, data, batch = opened()
    statistics, ocean = data.standardization, batch["ocean_mask"].numpy()
    guess = statistics.restore(batch["first_guess"].numpy())
    deviation = batch["first_guess_error"].numpy() * statistics.std[:, None, None]
    error = guess - physical_truth(batch, statistics)
    scores = score_first_guess(batch, statistics)
    assert scores["crps"] == pytest.approx(gaussian_crps(error, deviation)[ocean].mean(), rel=1e-6)
    assert scores["crps"] < np.abs(error)[ocean].mean()
    assert {name: scores[name] for name in ("mse", "psnr")} == {
        name: score_estimate(guess, batch, statistics)[name] for name in ("mse", "psnr")
    }

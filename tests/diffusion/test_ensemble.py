from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from omegaconf import DictConfig
from pytorch_lightning import Trainer

from depthdif.build import build_data, build_module
from depthdif.diffusion.ensemble import PROBABILITIES, Ensemble, independent_members
from depthdif.diffusion.reconstruction import reconstruct


def counted(members: int) -> np.ndarray:
    """Members 0, 1, 2, ... of 2 patches, 3 depths, 4 x 5 cells, each cell with its own offset, in any order."""
    offsets = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 1, 3, 4, 5)
    order = np.random.default_rng(0).permutation(members).astype(np.float32)
    return offsets + order.reshape(1, members, 1, 1, 1)


def random_members(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, size, 3, 4, 5)).astype(np.float32)


def test_mean_deviation_and_quantiles_of_known_members() -> None:
    ensemble, offsets = Ensemble(counted(5)), counted(1)[:, 0]
    np.testing.assert_allclose(ensemble.mean, offsets + 2, rtol=1e-6)
    assert ensemble.std is not None
    # (4 + 1 + 0 + 1 + 4) / (5 - 1)
    np.testing.assert_allclose(ensemble.std, np.full_like(offsets, 2.5**0.5), rtol=1e-4)
    quantiles = ensemble.quantiles([0.0, 0.25, 0.5, 0.6, 1.0])
    assert quantiles is not None
    for place, expected in enumerate([0.0, 1.0, 2.0, 2.4, 4.0]):
        np.testing.assert_allclose(quantiles[:, place], offsets + expected, rtol=1e-5)


def test_only_the_first_of_each_antithetic_pair_is_independent() -> None:
    members = random_members(4)
    assert np.array_equal(Ensemble(members).independent, members)
    assert np.array_equal(Ensemble(members, antithetic=True).independent, members[:, ::2])
    assert [independent_members(size, antithetic=True) for size in (1, 2, 3, 4)] == [1, 1, 2, 2]
    assert [independent_members(size, antithetic=False) for size in (1, 2)] == [1, 2]


@pytest.mark.parametrize(("size", "antithetic"), [(1, False), (2, True)])
def test_without_two_independent_members_there_is_a_mean_and_no_spread(size: int, antithetic: bool) -> None:
    ensemble = Ensemble(counted(size), antithetic)
    np.testing.assert_allclose(ensemble.mean, counted(size).mean(axis=1))
    assert ensemble.std is None
    assert ensemble.quantiles() is None
    assert not ensemble.has_spread
    assert np.isnan(ensemble.crps(counted(1)[:, 0])).all()
    assert np.isnan(ensemble.variance()).all()


@pytest.mark.parametrize("antithetic", [False, True])
def test_inflation_scales_the_spread_and_leaves_mean_and_members(antithetic: bool) -> None:
    plain = Ensemble(random_members(6), antithetic)
    inflated = dataclasses.replace(plain, inflation=1.5)
    assert np.array_equal(inflated.members, plain.members)
    assert np.array_equal(inflated.mean, plain.mean)
    assert plain.std is not None
    assert inflated.std is not None
    np.testing.assert_allclose(inflated.std, 1.5 * plain.std, rtol=1e-4)
    np.testing.assert_allclose(inflated.variance(), 2.25 * plain.variance(), rtol=1e-4)
    lowest, _, middle, _, highest = np.moveaxis(inflated.quantiles(), 1, 0)  # type: ignore[arg-type]
    low, _, centre, _, high = np.moveaxis(plain.quantiles(), 1, 0)  # type: ignore[arg-type]
    np.testing.assert_allclose(highest - lowest, 1.5 * (high - low), rtol=1e-4)
    np.testing.assert_allclose(middle - plain.mean, 1.5 * (centre - plain.mean), atol=1e-5)


def test_the_crps_is_that_of_the_inflated_independent_members() -> None:
    ensemble = Ensemble(random_members(6), antithetic=True, inflation=1.3)
    truth = random_members(1, seed=1)[:, 0]
    members = ensemble.mean[:, None] + 1.3 * (ensemble.members - ensemble.mean[:, None])
    drawn = members[:, ::2]
    distance = np.abs(drawn - truth[:, None]).mean(axis=1)
    pairs = np.abs(drawn[:, :, None] - drawn[:, None]).sum(axis=(1, 2))
    np.testing.assert_allclose(ensemble.crps(truth), distance - pairs / (2 * 3 * 2), atol=1e-5)
    ranks = ensemble.ranks(truth, 4, np.random.default_rng(0))
    assert np.array_equal(ranks, (drawn < truth[:, None]).sum(axis=1))


def test_in_the_mean_of_antithetic_pairs_the_error_of_sampling_cancels() -> None:
    draws = 2.0 * np.random.default_rng(0).standard_normal((1, 4, 1, 60, 60))
    pairs = np.stack([draws, -draws], axis=2).reshape(1, 8, 1, 60, 60)
    ensemble = Ensemble(pairs, antithetic=True)
    np.testing.assert_allclose(ensemble.mean, 0.0, atol=1e-12)
    assert ensemble.variance().mean() == pytest.approx(4.0, rel=0.05)
    assert Ensemble(draws).variance().mean() == pytest.approx(5 / 4 * 4.0, rel=0.05)


def test_what_is_outside_the_ocean_stays_nan() -> None:
    ocean = np.random.default_rng(1).random((2, 3, 4, 5)) > 0.5
    ensemble = Ensemble(np.where(ocean[:, None], counted(4), np.float32(np.nan)), inflation=1.2)
    quantiles = ensemble.quantiles()
    assert quantiles is not None
    assert quantiles.shape == (2, len(PROBABILITIES), 3, 4, 5)
    for field in (ensemble.mean, ensemble.std, *np.moveaxis(quantiles, 1, 0)):
        assert np.array_equal(np.isfinite(field), ocean)  # type: ignore[arg-type]
    assert ensemble.is_finite(ocean)
    assert not ensemble.is_finite(np.ones_like(ocean))


def test_a_probability_in_percent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities are \[95\]: expected numbers from 0 to 1"):
        Ensemble(counted(4)).quantiles([95])


def test_predict_gives_the_ensemble_in_physical_units(small_run: Callable[..., DictConfig]) -> None:
    cfg = small_run("data.field.depths=3", "data.field.times=1", "model.sampler.ensemble_size=3")
    data = build_data(cfg)
    module = build_module(cfg, data)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    outputs = trainer.predict(module, datamodule=data)
    assert outputs is not None
    (batch,) = data.val_dataloader()
    expected = reconstruct(module, batch, data.standardization)
    assert isinstance(outputs[0], Ensemble)
    np.testing.assert_allclose(outputs[0].members, expected.members, rtol=1e-5)
    surface = expected.mean[:, 0][batch["ocean_mask"][:, 0].numpy()]
    assert surface.mean() == pytest.approx(data.standardization.mean[0], abs=data.standardization.std[0])


def test_predict_without_the_data_module_raises_with_the_call_that_works(
    small_run: Callable[..., DictConfig],
) -> None:
    cfg = small_run("data.field.depths=3", "data.field.times=1")
    data = build_data(cfg)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    with pytest.raises(ValueError, match=r"trainer\.predict\(module, datamodule=data\)"):
        trainer.predict(build_module(cfg, data), data.val_dataloader())

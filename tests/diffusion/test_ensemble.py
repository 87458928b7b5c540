from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig
from pytorch_lightning import Trainer

from depthdif.build import build_data, build_module
from depthdif.diffusion.ensemble import PROBABILITIES, ensemble_quantiles, summarise


def counted(members: int) -> torch.Tensor:
    """Members 0, 1, 2, ... of 2 patches, 3 depths, 4 x 5 cells, each cell with its own offset, in any order."""
    offsets = torch.arange(2 * 3 * 4 * 5).reshape(2, 1, 3, 4, 5).float()
    order = torch.randperm(members, generator=torch.Generator().manual_seed(0))
    return offsets + order.reshape(1, members, 1, 1, 1)


def test_mean_deviation_and_quantiles_of_known_members() -> None:
    ocean = torch.ones(2, 3, 4, 5, dtype=torch.bool)
    offsets = counted(1)[:, 0]
    summary = summarise(counted(5), ocean, [0.0, 0.25, 0.5, 0.6, 1.0])
    assert summary.std is not None
    assert summary.quantiles is not None
    torch.testing.assert_close(summary.mean, offsets + 2)
    torch.testing.assert_close(
        summary.std, torch.full_like(offsets, 2.5**0.5)
    )  # (4 + 1 + 0 + 1 + 4) / (5 - 1)
    for place, expected in enumerate([0.0, 1.0, 2.0, 2.4, 4.0]):
        torch.testing.assert_close(summary.quantiles[:, place], offsets + expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 2**31))
def test_quantiles_are_those_of_numpy(members: int, probabilities: list[float], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(2, members, 3)).astype(np.float32)
    ours = ensemble_quantiles(torch.from_numpy(values), probabilities)
    theirs = np.moveaxis(np.quantile(values, probabilities, axis=1), 0, 1)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_a_single_member_has_a_mean_and_no_spread() -> None:
    ocean = torch.ones(2, 3, 4, 5, dtype=torch.bool)
    summary = summarise(counted(1), ocean)
    assert torch.equal(summary.mean, counted(1)[:, 0])
    assert summary.std is None
    assert summary.quantiles is None


def test_only_what_lies_outside_the_ocean_is_nan() -> None:
    members = counted(4)
    ocean = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1)) > 0.5
    members = members.where(ocean[:, None], 1e30)
    summary = summarise(members, ocean)
    assert summary.std is not None
    assert summary.quantiles is not None
    for field in (summary.mean, summary.std, *summary.quantiles.unbind(dim=1)):
        assert torch.equal(field.isfinite(), ocean)
    assert summary.quantiles.shape == (2, len(PROBABILITIES), 3, 4, 5)


def test_a_probability_in_percent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities are \[95\]: expected numbers from 0 to 1"):
        summarise(counted(4), torch.ones(2, 3, 4, 5, dtype=torch.bool), [95])


def test_predict_gives_the_ensemble_in_physical_units(small_run: Callable[..., DictConfig]) -> None:
    cfg = small_run("data.field.depths=3", "data.field.times=1", "model.sampler.ensemble_size=3")
    data = build_data(cfg)
    module = build_module(cfg, data)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    outputs = trainer.predict(module, datamodule=data)
    assert outputs is not None
    (batch,) = data.val_dataloader()
    members = data.standardization.restore(module.reconstruct(batch))
    expected = summarise(members, batch["ocean_mask"])
    torch.testing.assert_close(outputs[0].mean, expected.mean, equal_nan=True)
    torch.testing.assert_close(outputs[0].std, expected.std, equal_nan=True)
    surface = expected.mean[:, 0][batch["ocean_mask"][:, 0]]
    assert surface.mean() == pytest.approx(data.standardization.mean[0], abs=data.standardization.std[0])


def test_predict_without_the_data_module_says_how_to_give_it(small_run: Callable[..., DictConfig]) -> None:
    cfg = small_run("data.field.depths=3", "data.field.times=1")
    data = build_data(cfg)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    with pytest.raises(ValueError, match=r"trainer\.predict\(module, datamodule=data\)"):
        trainer.predict(build_module(cfg, data), data.val_dataloader())

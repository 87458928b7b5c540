"""A trained run opens out of its checkpoint alone, and nothing else can be built with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from depthdif.checkpoints.trained_run import device_of, open_trained, with_typed
from depthdif.ema import load_weights
from depthdif.training import train

Config = Callable[..., DictConfig]


@pytest.fixture
def checkpoint(small_run: Config, tmp_path: Path) -> Path:
    train(small_run("model/ema=quick", "trainer.max_steps=2", "logger=csv", "model.denoiser.dropout=0.1"))
    return tmp_path / "run/checkpoints/last.ckpt"


def asked(checkpoint: Path, compose_train: Config, *overrides: str) -> DictConfig:
    return compose_train(f"+checkpoint='{checkpoint}'", *overrides)


def test_a_trained_run_opens_with_its_own_data_model_and_statistics(
    checkpoint: Path, compose_train: Config
) -> None:
    run = open_trained(asked(checkpoint, compose_train))
    assert len(run.data.depths) == len(run.checkpoint["OceanDataModule"]["depths"])
    assert run.cfg.model.denoiser.dropout == 0.1
    for which in ("standard", "ema"):
        assert run.load(which) == which
        expected = load_weights(checkpoint, which).state_dict
        assert all(torch.equal(tensor, expected[key]) for key, tensor in run.module.state_dict().items())
    assert run.module.reconstruct(next(iter(run.data.val_dataloader()))).isfinite().all()


def test_what_was_typed_replaces_what_was_recorded() -> None:
    recorded = OmegaConf.create(
        {"data": {"path": "a", "seed": 0}, "model": {"sampler": {"steps": 2, "old": 1}}, "seed": 0}
    )
    composed = OmegaConf.create(
        {"data": {"path": "b", "seed": 9}, "model": {"sampler": {"steps": 7}}, "seed": 9}
    )
    both = with_typed(
        recorded,
        composed,
        ["data.path=b", "model/sampler=ddim", "checkpoint=x", "model/first_guess@baselines.oi=idw"],
    )
    assert both == {"data": {"path": "b", "seed": 0}, "model": {"sampler": {"steps": 7}}, "seed": 0}


def test_a_checkpoint_cannot_name_code_of_its_own(
    checkpoint: Path, compose_train: Config, tmp_path: Path
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"]["model"]["objective"] = {"_target_": "os.getcwd"}
    torch.save(content, tmp_path / "wicked.ckpt")
    with pytest.raises(ValueError, match=r"os\.getcwd.*not a part of depthdif"):
        open_trained(asked(tmp_path / "wicked.ckpt", compose_train))


def test_what_is_no_checkpoint_of_a_run_is_refused_in_one_line(compose_train: Config, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such checkpoint file; type checkpoint="):
        open_trained(asked(tmp_path / "none.ckpt", compose_train))
    torch.save({"state_dict": {}}, tmp_path / "bare.ckpt")
    with pytest.raises(ValueError, match="holds no config and no statistics"):
        open_trained(asked(tmp_path / "bare.ckpt", compose_train))


def test_a_device_is_named_as_in_training() -> None:
    assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="expected auto, cpu or gpu"):
        device_of("abacus")

"""A trained run opens from its checkpoint alone, with run overrides applied, and runs no foreign code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.checkpoints.run_overrides import with_overrides
from depthdif.checkpoints.trained_run import device_of, open_trained
from depthdif.config_folder import composed
from depthdif.ema import load_weights
from depthdif.training import train

SMALL_RUN = (
    "data=synthetic", "data.patch_size=16", "data.batch_size=4", "data.validation_patches=4",
    "model/denoiser=unet_tiny", "model/first_guess=none", "model.sampler.steps=2", "model.sampler.ensemble_size=1",
    "model.sampler.antithetic=false", "trainer.accelerator=cpu", "callbacks.progress=null",
    "callbacks.reconstruction.panel_samples=1", "callbacks.reconstruction.panel_depths=[0]",
)  # fmt: skip

Config = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another seed, validation and precision than the defaults."""
    folder = tmp_path_factory.mktemp("run")
    train(composed(
        "train", [*SMALL_RUN, "model/ema=quick", "trainer.max_steps=2", "logger=csv", "model.denoiser.dropout=0.1", "seed=3",
        "data/validation=time_range", "data.validation.start=2000-04", "data.validation.stop=2000-04",
        "trainer.precision=bf16-mixed", f"output_dir='{folder}'"],
    ))  # fmt: skip
    return folder / "checkpoints/last.ckpt"


def options(checkpoint: Path, *run_overrides: str, **others: Any) -> DictConfig:
    """The config that a script passes to `open_trained`."""
    return OmegaConf.create(
        {"checkpoint": str(checkpoint), "precision": None, "run_overrides": [*run_overrides], **others}
    )


def test_a_trained_run_opens_with_its_own_data_model_and_statistics(checkpoint: Path) -> None:
    run = open_trained(options(checkpoint))
    assert len(run.data.depths) == len(run.checkpoint["OceanDataModule"]["depths"])
    assert run.cfg.model.denoiser.dropout == 0.1
    for which in ("standard", "ema"):
        assert run.load(which) == which
        expected = load_weights(checkpoint, which).state_dict
        assert all(torch.equal(tensor, expected[key]) for key, tensor in run.module.state_dict().items())
    assert run.module.reconstruct(next(iter(run.data.val_dataloader()))).isfinite().all()
    with pytest.raises(UserError, match=r"holds no 'ema_0\.7' weights"):
        run.load("ema_0.7")


def test_the_file_is_read_once_for_the_run_and_all_its_weights(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[Any] = []
    original = torch.load
    monkeypatch.setattr(
        torch, "load", lambda path, **options: paths.append(path) or original(path, **options)
    )
    run = open_trained(options(checkpoint))
    run.load("standard")
    run.load("ema")
    assert paths == [checkpoint]


def test_the_precision_of_the_run_counts_unless_one_is_set(checkpoint: Path) -> None:
    assert open_trained(options(checkpoint)).precision == "bf16-mixed"
    assert open_trained(options(checkpoint, precision="32-true")).precision == "32-true"


def test_the_precision_that_the_default_chose_is_recorded_as_lightning_spells_it(
    small_run: Config, tmp_path: Path
) -> None:
    cfg = small_run("trainer.max_steps=1", "logger=csv")
    cfg.trainer.precision = {
        "_target_": "depthdif.diffusion.precision.fastest_precision",
        "accelerator": "tpu",
    }
    train(cfg)
    run = open_trained(options(tmp_path / "run/checkpoints/last.ckpt"))
    assert run.checkpoint["hyper_parameters"]["trainer"]["precision"] == run.precision == "32-true"


def test_the_seed_of_the_run_counts_for_options_that_are_set(checkpoint: Path) -> None:
    run = open_trained(
        options(checkpoint, "model/sampler=ddim", "data=synthetic", "data.patch_size=16", seed=8)
    )
    assert run.cfg.seed == run.cfg.model.sampler.seed == run.cfg.data.seed == run.module.sampler.seed == 3
    assert (
        open_trained(options(checkpoint, "model/sampler=ddim", "model.sampler.seed=5")).module.sampler.seed
        == 5
    )


def test_values_are_set_on_the_config_of_the_run_not_on_that_of_the_defaults(checkpoint: Path) -> None:
    run = open_trained(options(checkpoint, "data.validation.start=2000-03", "+model.sampler.inflation=2.0"))
    assert run.cfg.data.validation == {
        "_target_": "depthdif.data.patches.TimeRange", "start": "2000-03", "stop": "2000-04"
    }  # fmt: skip
    assert run.module.sampler.inflation == 2.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.validation.strat=2007",
            "no key 'data.validation.strat'; the nearest valid one is data.validation.start",
        ),
        ("data.validation.longitude=[0,9]", "no key 'data.validation.longitude'; the nearest valid one is"),
        ("model/sampler=dimm", "no option model/sampler=dimm; the nearest valid one is model/sampler=ddim"),
        ("model/samplr=ddim", "no key 'model/samplr'; the nearest valid one is model/sampler"),
        ("~model.sampler.step", "model.sampler.step"),
        ("model.sampler.steps=1,2", "expected one value"),
    ],
)
def test_the_error_about_an_unknown_override_shows_the_nearest_valid_one(
    checkpoint: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError) as error:
        open_trained(options(checkpoint, override))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_options_replace_their_node_and_values_their_key() -> None:
    recorded = OmegaConf.create(
        {
            "data": {"path": "a", "seed": 7, "surface": ["x"]},
            "model": {"sampler": {"old": 1}, "b": 1},
            "seed": 7,
        }
    )
    changed = with_overrides(
        recorded,
        ["model/sampler=ddim", "data.path=b", "model.sampler.steps=4", "~model.b", "data.surface=[]"],
    )
    assert changed.data == {"path": "b", "seed": 7, "surface": []}
    assert {"old", "b"}.isdisjoint({*changed.model.sampler, *changed.model})
    assert (changed.model.sampler.steps, changed.model.sampler.seed, changed.seed) == (4, 7, 7)
    assert recorded.data.path == "a"


def test_code_that_only_the_checkpoint_specifies_is_not_run(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"]["model"]["objective"] = {"_target_": "os.getcwd"}
    torch.save(content, tmp_path / "wicked.ckpt")
    with pytest.raises(UserError, match=r"os\.getcwd.*not a part of depthdif"):
        open_trained(options(tmp_path / "wicked.ckpt"))
    content["hyper_parameters"]["model"]["objective"] = {
        "_target_": "depthdif.diffusion.objective.MaskedDiffusionObjective"
    }
    content["hyper_parameters"]["trainer"]["precision"] = {"_target_": "os.getcwd"}
    torch.save(content, tmp_path / "wicked.ckpt")
    with pytest.raises(UserError, match=r"os\.getcwd.*not a part of depthdif"):
        open_trained(options(tmp_path / "wicked.ckpt"))


def test_code_that_the_user_sets_is_used(checkpoint: Path) -> None:
    override = "model.objective._target_=depthdif.diffusion.objective.MaskedDiffusionObjective"
    assert open_trained(options(checkpoint, override)).cfg.model.objective._target_.endswith("Objective")
    with pytest.raises(Exception, match="nowhere"):
        open_trained(options(checkpoint, "model.objective._target_=nowhere.Objective"))


def test_a_file_that_is_no_checkpoint_of_a_run_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such checkpoint file; set checkpoint="):
        open_trained(options(tmp_path / "none.ckpt"))
    torch.save({"state_dict": {}}, tmp_path / "bare.ckpt")
    with pytest.raises(UserError, match="has no config and no statistics"):
        open_trained(options(tmp_path / "bare.ckpt"))


def test_the_device_follows_the_accelerator() -> None:
    assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="expected auto, cpu or gpu"):
        device_of("abacus")

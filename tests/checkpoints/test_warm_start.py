"""A new model begins with the weights of a trained one, channel by channel."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from depthdif import UserError
from depthdif.build import build_data, build_module
from depthdif.checkpoints.warm_start import Channels, matched, warm_start
from depthdif.data.variables import channels_of, part_of_batch
from depthdif.diffusion.module import DiffusionModule
from depthdif.ema.checkpoint import load_weights
from depthdif.training import train

Config = Callable[..., DictConfig]
SMALL = ("data.field.depths=4", "data.field.times=2", "logger=csv", "model/first_guess=oi")
BOTH = ("data.field.salinity=true",)
# Far enough from the initial weights that the prediction is not 0.
TRAINED = ("trainer.max_steps=3", "model.optimizer.lr=0.01", "model.lr_scheduler.num_warmup_steps=0",
           "model.ema.enabled=true", "model.ema.decay=0.5")  # fmt: skip


@pytest.fixture
def trained(small_run: Config, tmp_path: Path) -> Path:
    """Checkpoint of a run on temperature alone."""
    train(small_run(*SMALL, *TRAINED, name="first"))
    return tmp_path / "first" / "checkpoints" / "last.ckpt"


def new_module(cfg: DictConfig) -> tuple[DiffusionModule, Any, list[str]]:
    data = build_data(cfg)
    module = build_module(cfg, data)
    return module, data, warm_start(cfg, module, data)


def test_the_same_architecture_has_the_ema_weights_bit_for_bit(small_run: Config, trained: Path) -> None:
    module, _, lines = new_module(small_run(*SMALL, f"init_from='{trained}'"))
    expected, name = load_weights(trained)
    assert name == "ema"
    assert all(torch.equal(tensor, expected[key]) for key, tensor in module.state_dict().items())
    assert "ema weights" in lines[0]
    assert not any("new" in line or "dropped" in line for line in lines)


def test_the_joint_model_predicts_the_temperature_of_the_trained_one_and_the_first_guess_of_salinity(
    small_run: Config, trained: Path
) -> None:
    alone, data, _ = new_module(small_run(*SMALL, f"init_from='{trained}'"))
    joint, joint_data, lines = new_module(small_run(*SMALL, *BOTH, f"init_from='{trained}'"))
    batch = next(iter(joint_data.val_dataloader()))
    noisy = torch.randn(batch["target"].shape, generator=torch.Generator().manual_seed(0))
    of_temperature = channels_of(0, len(data.depths))
    conditions = joint.residual.conditions(batch)
    with torch.no_grad():
        both = joint.denoiser(noisy, torch.tensor(300), conditions)
        one = alone.denoiser(
            noisy[:, of_temperature], torch.tensor(300), part_of_batch(conditions, of_temperature)
        )
    assert one.abs().max() > 1e-2
    torch.testing.assert_close(both[:, of_temperature], one, rtol=1e-4, atol=1e-4)
    assert (both[:, channels_of(1, len(data.depths))] == 0).all()
    text = "\n".join(lines)
    assert "inputs taken over: noisy temperature (4 depths)" in text
    assert "inputs new, from 0: noisy salinity (4 depths)" in text
    assert "outputs new, from 0: salinity (4 depths)" in text


def test_what_is_dropped_is_listed(small_run: Config, trained: Path) -> None:
    fewer = (*SMALL, "model.conditions.position_and_season=false", f"init_from='{trained}'")
    before = small_run(*SMALL).model.conditions.position_and_season
    lines = new_module(small_run(*fewer, "model.conditions.absolute_values=true"))[2]
    assert any("inputs new, from 0: first_guess_anomaly temperature (4 depths)" in line for line in lines)
    assert any("dropped: cos longitude" in line for line in lines) == before


def test_a_run_begins_with_the_weights_says_what_it_took_and_records_it(
    small_run: Config, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = small_run(*SMALL, *BOTH, f"init_from='{trained}'", "trainer.max_steps=1", "model.optimizer.lr=0",
                    "model.ema.enabled=true", name="joint")  # fmt: skip
    with caplog.at_level(logging.INFO):
        train(cfg)
    assert any("inputs new, from 0: noisy salinity (4 depths)" in message for message in caplog.messages)
    checkpoint = torch.load(tmp_path / "joint" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["init_from"] == str(trained)
    bias = checkpoint["state_dict"]["denoiser.unet.conv_out.bias"]
    assert bias[: len(bias) // 2].abs().min() > 0
    # Goes on from its own checkpoint, not from the weights it began with.
    caplog.clear()
    with caplog.at_level(logging.INFO):
        train(small_run(*SMALL, *BOTH, f"init_from='{trained}'", "trainer.max_steps=2", "resume=auto",
                        "model.ema.enabled=true", name="joint"))  # fmt: skip
    assert not any("inputs new" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("data.field.depths=3",), r"trained on 4 depths"),
        (("model.denoiser.block_out_channels=[16]",), r"of another architecture .*set the model/denoiser"),
        (("model.noise_schedule.prediction_type=epsilon",), r"set model\.noise_schedule\.prediction_type=sample"),
        (("model/first_guess=none",), r"with a first guess.*set model/first_guess=oi"),
    ],
    ids=["depths", "width", "prediction_type", "first_guess"],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused_in_one_line(
    small_run: Config, trained: Path, tmp_path: Path, overrides: tuple[str, ...], expected: str
) -> None:
    cfg = small_run(*SMALL, *overrides, f"init_from='{trained}'", name="other")
    with pytest.raises(UserError, match=expected) as error:
        train(cfg)
    assert str(error.value).startswith("init_from=")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "other" / "checkpoints").exists()


def test_no_file_and_no_checkpoint_are_refused(small_run: Config, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"init_from=.*set init_from=runs/DATE_TIME"):
        train(small_run(*SMALL, f"init_from={tmp_path / 'missing.ckpt'}"))
    torch.save({"state_dict": {}}, tmp_path / "weights.ckpt")
    with pytest.raises(UserError, match="has no config and no description of its data"):
        train(small_run(*SMALL, f"init_from={tmp_path / 'weights.ckpt'}"))


def test_a_run_resumed_from_elsewhere_takes_no_other_weights(small_run: Config, trained: Path) -> None:
    with pytest.raises(UserError, match="a resumed run has its weights already"):
        train(small_run(*SMALL, *TRAINED, f"init_from='{trained}'", f"resume='{trained}'", name="other"))


def test_channels_are_matched_by_name_with_all_their_blocks() -> None:
    key = "denoiser.unet.conv_in.weight"
    old = {key: torch.arange(8.0).reshape(1, 8, 1, 1)}
    new = {key: torch.full((1, 12, 1, 1), 9.0)}
    result = matched("x", old, new, Channels(["a", "b"], []), Channels(["b", "c", "a"], []))
    assert result[key].flatten().tolist() == [4, 5, 6, 7, 0, 0, 0, 0, 0, 1, 2, 3]

"""Snapshots in a Lightning run: when they are taken, what they hold, and that a resumed run has those of the whole one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from pytorch_lightning.callbacks import ModelCheckpoint
from safetensors.torch import load_file
from torch import Tensor

from depthdif.ema import EMACallback, load_weights
from depthdif.ema.decay import PowerDecay
from depthdif.ema.posthoc import SnapshotAverages
from depthdif.ema.snapshot_callback import EMASnapshots
from depthdif.ema.snapshots import read_manifest

CONF = Path(__file__).resolve().parents[2] / "conf"


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Sequential(
            torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)
        )

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.layer(batch) - 1).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.layer(batch).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.01)


def power(**options: Any) -> EMACallback:
    return EMACallback("width_0.05", **{"extra_decays": ["width_0.1"], **options})


def fit(*callbacks: pl.Callback, steps: int = 40, resume: Path | None = None, **options: Any) -> Net:
    data = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    loader = torch.utils.data.DataLoader(data, batch_size=2)  # type: ignore[arg-type]
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    torch.manual_seed(0)
    net = Net()
    trainer = pl.Trainer(callbacks=list(callbacks), max_steps=steps, max_epochs=-1, **(quiet | options))
    trainer.fit(net, loader, loader, ckpt_path=resume, weights_only=True)
    return net


def saved(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, save_last=True, save_top_k=0)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_shipped_config_tracks_two_widths_and_takes_snapshots() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["model/ema=power", "output_dir=run"])
    fields = {key: value for key, value in cfg.model.ema.items() if key != "enabled"}
    ema = instantiate(fields)
    assert cfg.model.ema.enabled
    assert ema.variants == ("standard", "ema", "ema_width_0.1")
    assert (ema.decay, ema.extra_decays) == (PowerDecay(0.05), (PowerDecay(0.1),))
    assert set(cfg.model.ema) == set(compose_default())
    snapshots = instantiate(cfg.callbacks.ema_snapshots)
    assert isinstance(snapshots, EMASnapshots)
    assert snapshots.folder == Path("run/ema_snapshots")


def compose_default() -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train").model.ema


def test_snapshots_come_every_n_steps_and_at_the_end_and_hold_the_averages(tmp_path: Path) -> None:
    seen: dict[int, dict[str, Tensor]] = {}

    class Recorder(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            seen[trainer.global_step] = ema.ema_weights

    ema = power()
    fit(ema, Recorder(), EMASnapshots(tmp_path, every_n_steps=7), steps=30, enable_checkpointing=False)
    rows = read_manifest(tmp_path).snapshots
    assert [row.step for row in rows] == [row.updates for row in rows] == [7, 14, 21, 28, 30]
    for row in rows:
        assert row.widths == ("width_0.05", "width_0.1")
        stored = load_file(tmp_path / row.file)
        expected = {key: t for key, t in seen[row.step].items() if t.is_floating_point()}
        assert {key for key in stored if key.startswith("width_0.05/")} == {
            f"width_0.05/{k}" for k in expected
        }
        assert all(torch.equal(stored[f"width_0.05/{key}"], tensor) for key, tensor in expected.items())


def test_time_counts_updates_from_the_start_step(tmp_path: Path) -> None:
    ema = power(start_step=5, apply_every_n_steps=3)
    fit(ema, EMASnapshots(tmp_path, every_n_steps=2), steps=20, enable_checkpointing=False)
    # Updates at steps 6, 9, 12, 15 and 18; a snapshot without a new update would be the same one again.
    assert [(row.step, row.updates) for row in read_manifest(tmp_path).snapshots] == [
        (6, 1), (10, 2), (12, 3), (16, 4), (18, 5)
    ]  # fmt: skip


@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_and_averages_are_bit_for_bit_the_same_with_and_without_snapshots(
    tmp_path: Path, accumulate: int
) -> None:
    options = {"accumulate_grad_batches": accumulate, "val_check_interval": 5, "enable_checkpointing": False}
    one, two = power(), power()
    plain = fit(one, **options)
    watched = fit(two, EMASnapshots(tmp_path, every_n_steps=3), **options)
    assert all(torch.equal(t, watched.state_dict()[key]) for key, t in plain.state_dict().items())
    assert all(torch.equal(t, two.ema_weights[key]) for key, t in one.ema_weights.items())


# After 20 steps 18 was the last on the grid of 6, after 30 it is 30.
@pytest.mark.parametrize("cut", [20, 30])
def test_a_resumed_run_has_the_averages_and_the_snapshots_of_the_uninterrupted_one(
    tmp_path: Path, cut: int
) -> None:
    whole = power()
    fit(whole, EMASnapshots(tmp_path / "whole", every_n_steps=3, keep=6), saved(tmp_path / "w"))
    fit(power(), EMASnapshots(tmp_path / "first", every_n_steps=3, keep=6), saved(tmp_path / "f"), steps=cut)
    resumed = power()
    second = EMASnapshots(tmp_path / "second", every_n_steps=3, keep=6)
    fit(resumed, second, saved(tmp_path / "s"), resume=tmp_path / "f/last.ckpt")
    for which in ("ema", "ema_width_0.1", "standard"):
        one, two = (load_weights(tmp_path / run / "last.ckpt", which).state_dict for run in "ws")
        assert all(torch.equal(tensor, two[key]) for key, tensor in one.items())
    assert files(tmp_path / "second") == files(tmp_path / "whole")


def test_a_resumed_run_without_the_earlier_snapshots_says_so_and_goes_on(tmp_path: Path) -> None:
    fit(power(), EMASnapshots(tmp_path / "first", every_n_steps=5), saved(tmp_path), steps=20)
    shutil.rmtree(tmp_path / "first")
    second = EMASnapshots(tmp_path / "second", every_n_steps=5)
    with pytest.warns(UserWarning, match="the snapshots of the resumed run are left out.*no snapshots"):
        fit(power(), second, resume=tmp_path / "last.ckpt", enable_checkpointing=False)
    assert [row.step for row in read_manifest(tmp_path / "second").snapshots] == [25, 30, 35, 40]


def test_a_second_fit_with_the_same_callback_begins_anew(tmp_path: Path) -> None:
    ema, snapshots = power(), EMASnapshots(tmp_path, every_n_steps=10)
    fit(ema, snapshots, enable_checkpointing=False)
    fit(ema, snapshots, steps=15, enable_checkpointing=False)
    assert [row.step for row in read_manifest(tmp_path).snapshots] == [10, 15]


def test_a_weight_that_is_nan_is_left_out_and_time_goes_on(tmp_path: Path) -> None:
    class Spoiled(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
            self.good = {key: value.clone() for key, value in module.state_dict().items()}
            if trainer.global_step == 6:
                next(module.parameters()).data.fill_(torch.nan)

        def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
            if trainer.global_step == 6:
                module.load_state_dict(self.good)

    ema = power()
    with pytest.warns(UserWarning, match="NaN or infinite"):
        fit(Spoiled(), ema, EMASnapshots(tmp_path, every_n_steps=4), steps=12, enable_checkpointing=False)
    assert ema.skipped_updates == 1
    assert [row.updates for row in read_manifest(tmp_path).snapshots] == [4, 8, 12]
    assert all(t.isfinite().all() for t in load_file(tmp_path / "step-00000012.safetensors").values())


def test_constant_decays_are_tracked_beside_and_not_taken(tmp_path: Path) -> None:
    ema = EMACallback(0.9, extra_decays=["width_0.1"])
    fit(ema, EMASnapshots(tmp_path, every_n_steps=10), steps=20, enable_checkpointing=False)
    assert SnapshotAverages(tmp_path).tracked == (PowerDecay(0.1),)


@pytest.mark.parametrize(
    ("field", "value"),
    [("every_n_steps", 0), ("every_n_steps", 1.5), ("keep", 3), ("keep", True), ("dtype", "bfloat16")],
)
def test_a_bad_value_is_refused_in_one_line_that_names_the_override(field: str, value: object) -> None:
    with pytest.raises(
        ValueError, match=rf"EMASnapshots: {field}: expected .*; set callbacks\.ema_snapshots\."
    ):
        EMASnapshots("folder", **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("ema", [None, EMACallback(0.9)])
def test_without_a_power_function_average_training_does_not_begin(
    tmp_path: Path, ema: EMACallback | None
) -> None:
    callbacks = [EMASnapshots(tmp_path), *([] if ema is None else [ema])]
    with pytest.raises(ValueError, match="no power-function average is tracked; set model/ema=power"):
        fit(*callbacks, enable_checkpointing=False)


def test_averages_that_are_not_saved_cannot_be_resumed_and_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="save_ema_weights_in_callback_state=true"):
        fit(
            power(save_ema_weights_in_callback_state=False),
            EMASnapshots(tmp_path),
            enable_checkpointing=False,
        )

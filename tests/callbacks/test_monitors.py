from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback

from depthdif import UserError
from depthdif.callbacks.monitors import score_keys
from depthdif.training import train

SmallRun = Callable[..., DictConfig]

EMA = ("model.ema.enabled=true", "model.ema.decay=0.9")
ENSEMBLE = ("model.sampler.ensemble_size=2", "logger=csv", "trainer.val_check_interval=1")
MONITOR = "callbacks.checkpoint.monitor"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((f"{MONITOR}=val/recon_crps_full_recon",), "model.sampler.ensemble_size=4 adds the CRPS"),
        ((f"{MONITOR}=val_ema/recon_mse_full_recon",), "val/recon_mse_full_recon"),
        ((f"{MONITOR}=recon_mse",), "is not logged in this run: set it to one of val/loss, "),
        ((f"{MONITOR}=val_first_guess/recon_mse_full_recon",), "val/loss"),
        ((f"{MONITOR}=val/recon_psnr_full_recon",), "set callbacks.checkpoint.mode=max"),
        (("callbacks=early_stopping",), "callbacks.early_stopping.monitor=val/recon_crps_full_recon"),
    ],
)
def test_a_score_that_a_run_does_not_log_is_one_error_before_it_starts(
    small_run: SmallRun, tmp_path: Path, overrides: tuple[str, ...], expected: str
) -> None:
    # The last option of a group wins, and a value set by its key comes after all groups.
    with pytest.raises(UserError) as raised:
        train(small_run(*overrides))
    assert expected in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_the_keys_are_those_that_a_run_logs(small_run: SmallRun, tmp_path: Path) -> None:
    rows = ("standard", "ema", "first_guess")
    for members, name in ((1, "one"), (2, "two")):
        train(small_run("trainer.max_steps=1", "logger=csv", "model/first_guess=idw", *EMA,
                        f"model.sampler.ensemble_size={members}", name=name))  # fmt: skip
        header = (tmp_path / name / "metrics" / "metrics.csv").read_text().splitlines()[0].split(",")
        assert {key for key in header if key.startswith("val")} == set(score_keys(rows, members == 2))


class LogsMore(Callback):
    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("val/of_the_user", 1.0)


def test_a_key_that_a_callback_of_the_user_logs_may_be_monitored(small_run: SmallRun, tmp_path: Path) -> None:
    own = f"+callbacks.own._target_={__name__}.LogsMore"
    train(small_run("trainer.max_steps=1", "logger=csv", own, f"{MONITOR}=val/of_the_user"))
    assert (tmp_path / "run" / "checkpoints" / "step-1.ckpt").is_file()


def test_the_best_checkpoints_by_a_score_of_the_ensemble_are_kept(
    small_run: SmallRun, tmp_path: Path
) -> None:
    train(
        small_run(*ENSEMBLE, *EMA, "trainer.max_steps=4", f"{MONITOR}=val_ema/recon_crps_full_recon",
                  "callbacks.checkpoint.save_top_k=2")
    )  # fmt: skip
    kept = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert len(kept) == 3
    assert "last.ckpt" in kept


def test_early_stopping_ends_a_run_with_a_validation_the_table_and_a_checkpoint_that_knows_it(
    small_run: SmallRun, tmp_path: Path
) -> None:
    never_better = ("callbacks.early_stopping.min_delta=1000", "callbacks.early_stopping.patience=2")
    train(small_run("callbacks=early_stopping", *ENSEMBLE, *never_better, "trainer.max_steps=20"))
    run = tmp_path / "run"
    # The first validation is the best, the third one without improvement after it never comes.
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 3
    (state,) = [state for name, state in last["callbacks"].items() if name.startswith("EarlyStopping")]
    assert state["wait_count"] == 2
    assert (run / "panels" / "x_y_full_reconstruction_step=0000003.png").is_file()
    assert "3 optimizer steps" in (run / "closing_table.txt").read_text()

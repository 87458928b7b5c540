"""The summary of a W&B run has the best value of each validation score, for every variant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from depthdif.weights_and_biases.logger import best_value, wandb_logger

Records = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def no_run_left_open() -> Iterator[None]:
    yield
    wandb.finish()


@pytest.mark.parametrize("prefix", ["val", "val_standard", "val_ema", "val_ema_0.99"])
def test_the_best_is_the_least_error_and_the_greatest_skill(prefix: str) -> None:
    assert best_value(f"{prefix}/recon_mse_full_recon") == "min"
    assert best_value(f"{prefix}/recon_crps_full_recon") == "min"
    assert best_value(f"{prefix}/recon_psnr_full_recon") == "max"
    assert best_value(f"{prefix}/recon_ssim_full_recon") == "max"


def test_only_validation_has_a_best() -> None:
    assert best_value("val/loss") == "min"
    for key in (
        "train/loss",
        "ema/decay",
        "val_imgs/x_y_full_reconstruction_ema",
        "evaluation/loss",
        "epoch",
    ):
        assert best_value(key) is None


def test_an_offline_run_records_best_and_last_over_the_optimizer_steps(
    tmp_path: Path, wandb_records: Records
) -> None:
    logger = wandb_logger(tmp_path, project="test")
    values = [(3.0, 10.0), (1.0, 30.0), (2.0, 20.0)]
    for number, (error, skill) in enumerate(values):
        step = 10 * number
        logger.log_metrics({"train/loss": error}, step)
        logger.log_metrics({"val/loss": error, "val_standard/recon_mse_full_recon": error,
                            "val_ema_0.99/recon_mse_full_recon": error,
                            "val_ema_0.99/recon_psnr_full_recon": skill}, step)  # fmt: skip
    logger.experiment.finish()
    records = wandb_records(tmp_path)
    summary: dict[str, Any] = {}
    for record in records:
        if record["type"] == "summary":
            summary |= record["summary"]["update"]
    assert summary["val/loss"] == {"min": 1, "last": 2}
    assert summary["val_standard/recon_mse_full_recon"] == {"min": 1, "last": 2}
    assert summary["val_ema_0.99/recon_mse_full_recon"] == {"min": 1, "last": 2}
    assert summary["val_ema_0.99/recon_psnr_full_recon"] == {"max": 30, "last": 20}
    assert summary["train/loss"] == 2
    metrics = [record["metric"] for record in records if record["type"] == "metric"]
    defined = {metric.get("name") or metric["glob_name"]: metric for metric in metrics}
    for name in ("*", "val/loss", r"val_ema_0\.99/recon_mse_full_recon"):
        assert defined[name]["step_metric"] == "trainer/global_step"
        assert defined[name]["options"]["step_sync"]
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert {row["trainer/global_step"] for row in rows if "val/loss" in row} == {0, 10, 20}

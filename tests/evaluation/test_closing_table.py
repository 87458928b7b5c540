from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from depthdif.evaluation.closing_table import distance_table, near, score_table, scores_by_variant

WITH_EMA = {
    "val/recon_mse_full_recon": 4.0,
    "val_standard/recon_mse_full_recon": 5.0,
    "val_standard/recon_psnr_full_recon": 20.0,
    "val_standard/recon_ssim_full_recon": 0.5,
    "val_ema/recon_mse_full_recon": 4.0,
    "val_ema/recon_psnr_full_recon": 21.0,
    "val_ema_0.99/recon_mse_full_recon": 4.5,
    "ema/decay": 0.999,
}


def printed(table: Table) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_scores_are_found_for_every_weight_state() -> None:
    scores = scores_by_variant(WITH_EMA)
    assert list(scores) == ["standard", "ema", "ema_0.99"]
    assert scores["standard"] == {"mse": 5.0, "psnr": 20.0, "ssim": 0.5}
    assert scores["ema_0.99"] == {"mse": 4.5}


def test_without_ema_the_scores_are_those_of_the_standard_weights() -> None:
    assert scores_by_variant({"val/recon_mse_full_recon": 4.0}) == {"standard": {"mse": 4.0}}


def test_the_table_leaves_a_dash_where_a_score_was_left_out() -> None:
    lines = printed(score_table(WITH_EMA, "°C")).splitlines()
    (header,) = [line for line in lines if "score" in line]
    assert [word in header for word in ("standard", "EMA", "EMA 0.99")] == [True] * 3
    (mse,) = [line for line in lines if "MSE °C²" in line]
    assert [number in mse for number in ("5.0000", "4.0000", "4.5000")] == [True] * 3
    (ssim,) = [line for line in lines if "SSIM" in line]
    assert ssim.count("-") == 2


def test_the_first_guess_stands_before_the_weights() -> None:
    header = printed(score_table(WITH_EMA, "°C", {"mse": 6.0})).splitlines()[2]
    assert header.index("first guess") < header.index("standard") < header.index("EMA")


def test_only_distances_that_were_logged_are_shown() -> None:
    shown = printed(distance_table(WITH_EMA))
    assert "ema/decay" in shown
    assert "ema/weight_rms_delta" not in shown


def test_paths_below_this_folder_are_shown_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert near(tmp_path / "runs" / "one") == "runs/one"
    assert near("/elsewhere/one") == "/elsewhere/one"

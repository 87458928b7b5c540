"""Log keys of the scores, of one variable and of several."""

from __future__ import annotations

import pytest

from depthdif.scores.score_names import SCORES, log_keys, of_variable, parse_log_key, scores_together


def test_the_key_of_one_variable_of_several_ends_with_its_name() -> None:
    assert log_keys("val_ema", {"mse": 1.0}) == {"val_ema/recon_mse_full_recon": 1.0}
    logged = log_keys("val_ema", {"mse": 1.0, "crps": 2.0}, "salinity")
    assert logged == {
        "val_ema/recon_mse_full_recon/salinity": 1.0,
        "val_ema/recon_crps_full_recon/salinity": 2.0,
    }
    assert of_variable(logged, "salinity") == log_keys("val_ema", {"mse": 1.0, "crps": 2.0})
    assert of_variable(logged, "temperature") == {}
    assert parse_log_key("val_ema/recon_mse_full_recon/salinity") is None


def test_errors_of_several_variables_are_added_in_standard_deviations_and_similarities_averaged() -> None:
    scores = {
        "temperature": {"mse": 8.0, "crps": 1.0, "psnr": 30.0, "ssim": 0.9},
        "salinity": {"mse": 0.5, "crps": 0.25, "psnr": 20.0, "ssim": 0.7},
    }
    together = scores_together(scores, {"temperature": 2.0, "salinity": 0.5})
    assert together == pytest.approx({"mse": 8 / 4 + 0.5 / 0.25, "crps": 0.5 + 0.5, "psnr": 25, "ssim": 0.8})


def test_the_scores_of_a_single_variable_keep_its_units() -> None:
    assert scores_together({"temperature": {"mse": 8.0}}, {"temperature": 2.0}) == {"mse": 8.0}


def test_a_score_that_one_variable_lacks_is_left_out_of_those_of_all() -> None:
    scores = {"temperature": {"mse": 1.0, "ssim": 0.5}, "salinity": {"mse": 1.0}}
    assert scores_together(scores, {"temperature": 1.0, "salinity": 1.0}) == {"mse": 2.0}


def test_a_small_score_is_written_with_three_digits() -> None:
    assert [SCORES["mse"].format(value) for value in (1.5, 0.0123, 0.00123, 1.234e-7, 0.0)] == [
        *("1.5000", "0.0123", "0.00123", "1.23e-07", "0.0000"),
    ]
    assert SCORES["mse"].format(None) == "-"


def test_the_heading_of_a_score_of_a_pure_number_is_its_name() -> None:
    assert (SCORES["mse"].heading("°C"), SCORES["mse"].heading("")) == ("MSE °C²", "MSE")
    assert SCORES["psnr"].heading("") == "PSNR dB"

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from depthdif.callbacks.closing_table import (
    against_first_guess,
    best_decay,
    best_variant,
    distance_table,
    score_table,
    too_long,
)
from depthdif.files import near
from depthdif.scores.score_names import scores_by_variant
from depthdif.terminal import print_table

WITH_EMA = {
    "val/recon_mse_full_recon": 4.0,
    "val_standard/recon_mse_full_recon": 5.0,
    "val_standard/recon_psnr_full_recon": 20.0,
    "val_standard/recon_ssim_full_recon": 0.5,
    "val_ema/recon_mse_full_recon": 4.0,
    "val_ema/recon_psnr_full_recon": 21.0,
    "val_ema_0.99/recon_mse_full_recon": 4.5,
    "val_ema/recon_crps_full_recon": 0.75,
    "ema/decay": 0.999,
}


def with_first_guess(**scores: float) -> dict[str, float]:
    return WITH_EMA | {f"val_first_guess/recon_{name}_full_recon": value for name, value in scores.items()}


def printed(table: Table, width: int = 120) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        print_table(console, table)
    return capture.get()


def words_of(table: str) -> list[str]:
    """The words and numbers of a table in alphabetical order, without rules."""
    return sorted(word for word in table.split() if "─" not in word)


def test_every_variant_has_its_scores() -> None:
    scores = scores_by_variant(WITH_EMA)
    assert list(scores) == ["standard", "ema", "ema_0.99"]
    assert scores["standard"] == {"mse": 5.0, "psnr": 20.0, "ssim": 0.5}
    assert scores["ema_0.99"] == {"mse": 4.5}


def test_without_ema_the_scores_are_those_of_the_standard_weights() -> None:
    assert scores_by_variant({"val/recon_mse_full_recon": 4.0}) == {"standard": {"mse": 4.0}}


def test_the_table_leaves_a_dash_where_a_score_was_left_out() -> None:
    lines = printed(score_table(WITH_EMA, "°C")).splitlines()
    header = " ".join(lines[1:5])
    assert all(word in header for word in ("weights", "MSE", "°C²", "CRPS", "PSNR", "dB", "SSIM"))
    standard, ema, extra = (
        next(line for line in lines if name in line) for name in ("standard", "EMA ", "EMA 0.99")
    )
    assert standard.split() == ["standard", "5.0000", "-", "20.00", "0.5000*"]
    assert ema.split() == ["EMA", "4.0000*", "0.7500*", "21.00*", "-"]
    assert extra.split() == ["EMA", "0.99", "4.5000", "-", "-", "-"]


def test_the_first_guess_stands_before_the_weights() -> None:
    table = printed(score_table(with_first_guess(mse=6.0), "°C"))
    assert table.index("first guess") < table.index("standard") < table.index("EMA")


def test_the_best_weights_of_each_score_are_marked_and_the_first_guess_never() -> None:
    lines = printed(score_table(with_first_guess(mse=1.0, psnr=99.0), "°C")).splitlines()
    marked = [line for line in lines if "*" in line and "best" not in line]
    assert len(marked) == 2
    assert "EMA" in marked[1]
    assert "4.0000*" in marked[1]
    assert "21.00*" in marked[1]
    assert "0.5000*" in marked[0]  # The only weights that have one.


def test_a_score_that_is_not_finite_is_never_the_best() -> None:
    assert best_variant({"standard": {"mse": float("nan")}, "ema": {"mse": 9.0}}, "mse") == "ema"
    assert best_variant({"standard": {"mse": float("nan")}}, "mse") is None


def test_a_line_tells_when_no_weights_have_a_lower_mse_than_the_first_guess() -> None:
    line = against_first_guess(with_first_guess(mse=3.5))
    assert line == ("no weights have a lower MSE than the first guess: MSE 4.0000 (EMA), first guess 3.5000")
    both = {**with_first_guess(mse=3.5), "val_ema/recon_crps_full_recon": 0.2}
    both |= {"val_standard/recon_crps_full_recon": 0.3, "val_first_guess/recon_crps_full_recon": 0.25}
    assert against_first_guess(both).endswith("; CRPS 0.2000 (EMA), first guess 0.2500")
    assert against_first_guess(with_first_guess(mse=4.5)) == ""
    assert against_first_guess(WITH_EMA) == ""


def test_a_decay_that_is_too_long_for_the_run_leads_to_the_suited_one() -> None:
    assert too_long(0.9999, 600) == (
        "EMA decay 0.9999 averages over 10000 updates, this run made 600: 94% of the average are initial weights; "
        "set model/ema=suited"
    )
    assert too_long(0.99, 600) == ""


def test_five_decays_stand_in_rising_order_with_their_half_lives_within_sixty_and_eighty_columns() -> None:
    decays = {
        "ema": 0.983,
        "ema_0.934": 0.934,
        "ema_0.966": 0.966,
        "ema_0.9915": 0.9915,
        "ema_0.9957": 0.9957,
    }
    metrics = {
        f"val_{name}/recon_{score}_full_recon": 10 * decay
        for name, decay in decays.items()
        for score in ("mse", "crps", "psnr", "ssim")
    }
    metrics["val_first_guess/recon_mse_full_recon"] = 1.0
    table = printed(score_table(metrics, "°C", decays))
    for width in (60, 80):
        narrow = printed(score_table(metrics, "°C", decays), width)
        assert max(map(len, narrow.splitlines())) <= width
        assert words_of(narrow) == words_of(table)
    names = ["first guess", "EMA 0.934", "EMA 0.966", "EMA 0.983, main", "EMA 0.9915", "EMA 0.9957"]
    places = [table.index(name) for name in names]
    assert places == sorted(places)
    (line,) = [line for line in table.splitlines() if "main" in line]
    assert "40.4" in line


def test_the_best_decay_comes_with_the_options_that_train_it() -> None:
    decays = {"ema": 0.999, "ema_0.99": 0.99}
    assert best_decay(WITH_EMA, decays).endswith("alone: model/ema=suited model.ema.decay=0.999")
    assert "standard" in best_decay(WITH_EMA | {"val_standard/recon_mse_full_recon": 1.0}, decays)


def test_only_distances_that_were_logged_are_shown() -> None:
    shown = printed(distance_table(WITH_EMA | {"ema/effective_decay": 0.985}), 60)
    assert "ema/effective_decay" in shown
    assert "ema/decay" in shown
    assert "ema/weight_rms_delta" not in shown


def test_paths_below_this_folder_are_shown_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert near(tmp_path / "runs" / "one") == "runs/one"
    assert near("/elsewhere/one") == "/elsewhere/one"

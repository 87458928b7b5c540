"""Rule 7, and the report for the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from depthdif.comparison.ranking import rankings, text_report
from depthdif.comparison.run import Run, find_run_folders, read_runs

ReadMade = Callable[..., Run]


def test_the_lowest_mse_at_any_validation_is_best_and_near_ones_are_listed(read_made: ReadMade) -> None:
    runs = [
        read_made("a", decay=0.9, ratio=0.9, standard=(2.0, 1.1, 1.3, 1.2)),
        read_made("b", decay=0.99, ratio=0.91, standard=(2.0, 1.1, 1.3, 1.2)),
    ]
    (one,) = rankings(runs)
    assert one.conclusion.startswith("Best: a · EMA 0.9, MSE 0.99 at step 300.")
    assert "a and b · standard reaches 1.1 at step 300" in one.conclusion
    assert "the EMA has 0.900 of the MSE" in one.conclusion
    assert "which one mini-batch cannot distinguish: b · EMA 0.99." in one.conclusion


def test_standard_weights_may_be_best(read_made: ReadMade) -> None:
    (one,) = rankings([read_made("a", ratio=1.25)])
    assert one.conclusion.startswith(
        "Best: a · standard, MSE 1.2 at step 600. a · EMA 0.99 reaches 1.5 at step 600"
    )
    assert "the EMA has 1.250 of the MSE" in one.conclusion


def test_a_best_at_the_end_of_the_half_lives_suggests_more(read_made: ReadMade) -> None:
    def words(*ratios: float) -> str:
        decays = (0.9, 0.99, 0.999)
        runs = [read_made(str(d), decay=d, ratio=r) for d, r in zip(decays, ratios, strict=True)]
        return rankings(runs)[0].conclusion

    assert "longest half-life of 3 (693 steps): try a larger decay" in words(0.9, 0.8, 0.7)
    assert "shortest half-life of 3 (6.58 steps): try a smaller decay" in words(0.7, 0.8, 0.9)
    assert "half-life of" not in words(0.8, 0.7, 0.8)
    assert "half-life of" not in words(0.9, 0.7, 0.7001)


def test_runs_without_ema_are_ranked_by_their_standard_weights(read_made: ReadMade) -> None:
    (one,) = rankings([read_made("a", decay=None), read_made("b", decay=None, standard=(2, 2, 2, 2))])
    assert one.conclusion == "Best: a · standard, MSE 1.2 at step 600."


def test_nothing_finite_has_no_best(read_made: ReadMade) -> None:
    nan = float("nan")
    (one,) = rankings([read_made("a", standard=(nan, nan, nan, nan))])
    assert one.conclusion == "No finite MSE of a reconstruction: no best weights."


def test_the_report_covers_every_odd_run(odd_runs: Path) -> None:
    runs = read_runs(find_run_folders([odd_runs]))
    assert len(runs) == 20
    words = text_report(runs, rankings(runs))
    for part in (
        "Group 1 of 6: Best: 1 · EMA 0.99, MSE 1.02 at step 600.",
        "3 · EMA 0.9999  behind, too short, no spikes, decay too high, differs",
        "16 · EMA 0.99   not finite",
        "Not final: 7 and 6 are unfinished.",
        "5: trained without EMA",
        "7: the last line of metrics.csv is still being written",
        "8: config.yaml is missing",
        "9: no scalars yet: metrics.csv is empty",
        "11: no panels",
    ):
        assert part in words, words


def test_runs_that_have_not_begun_are_unranked(tmp_path: Path) -> None:
    (tmp_path / "panels").mkdir()
    runs = read_runs([tmp_path])
    assert text_report(runs, rankings(runs)).startswith("No run has scored a reconstruction yet")


def test_the_report_starts_with_the_first_guess_when_no_weights_beat_it(read_made: ReadMade) -> None:
    runs = [read_made(str(decay), decay=decay, ratio=ratio, first_guess=0.9) for decay, ratio in
            ((0.99, 1.0), (0.9999, 0.95))]  # fmt: skip
    (one,) = rankings(runs)
    assert one.conclusion.startswith(
        "No weights beat the first guess (MSE 0.9; the best weights have 1.267 of it). Best: 0.9999 · EMA 0.9999"
    )
    assert text_report(runs, [one]).startswith("No weights beat the first guess")
    assert re.search(r"\n  first guess +MSE 0\.9, CRPS 0\.4743, PSNR 35\.5, SSIM", text_report(runs, [one]))


def test_weights_that_beat_the_first_guess_are_compared_with_it(read_made: ReadMade) -> None:
    (one,) = rankings([read_made("a", first_guess=2.0)])
    assert one.conclusion.startswith("Best: a · EMA 0.99, MSE 1.08 at step 600. First guess: MSE 2; the best")
    assert "No weights" not in rankings([read_made("b")])[0].conclusion

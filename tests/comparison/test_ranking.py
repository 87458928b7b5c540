"""Rule 7, and the verdict in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from depthdif.comparison.folders import find_run_folders
from depthdif.comparison.ranking import in_words, rankings
from depthdif.comparison.run import Run, read_runs

ReadMade = Callable[..., Run]


def test_the_lowest_mse_at_any_validation_is_best_and_near_ones_are_named(read_made: ReadMade) -> None:
    runs = [
        read_made("a", decay=0.9, ratio=0.9, standard=(2.0, 1.1, 1.3, 1.2)),
        read_made("b", decay=0.99, ratio=0.91, standard=(2.0, 1.1, 1.3, 1.2)),
    ]
    (one,) = rankings(runs)
    assert one.words.startswith("Best: a · EMA 0.9, MSE 0.99 at step 300.")
    assert "a and b · standard reaches 1.1 at step 300" in one.words
    assert "the EMA has 0.900 of the MSE" in one.words
    assert "not told apart on one mini-batch: b · EMA 0.99." in one.words


def test_standard_weights_may_be_best(read_made: ReadMade) -> None:
    (one,) = rankings([read_made("a", ratio=1.25)])
    assert one.words.startswith(
        "Best: a · standard, MSE 1.2 at step 600. a · EMA 0.99 reaches 1.5 at step 600"
    )
    assert "the EMA has 1.250 of the MSE" in one.words


def test_a_best_at_the_end_of_the_ladder_asks_for_more(read_made: ReadMade) -> None:
    def words(*ratios: float) -> str:
        decays = (0.9, 0.99, 0.999)
        runs = [read_made(str(d), decay=d, ratio=r) for d, r in zip(decays, ratios, strict=True)]
        return rankings(runs)[0].words

    assert "longest half-life of 3 (693 steps): try a larger decay" in words(0.9, 0.8, 0.7)
    assert "shortest half-life of 3 (6.58 steps): try a smaller decay" in words(0.7, 0.8, 0.9)
    assert "half-life of" not in words(0.8, 0.7, 0.8)
    assert "half-life of" not in words(0.9, 0.7, 0.7001)


def test_runs_without_ema_are_ranked_by_their_standard_weights(read_made: ReadMade) -> None:
    (one,) = rankings([read_made("a", decay=None), read_made("b", decay=None, standard=(2, 2, 2, 2))])
    assert one.words == "Best: a · standard, MSE 1.2 at step 600."


def test_nothing_finite_has_no_best(read_made: ReadMade) -> None:
    nan = float("nan")
    (one,) = rankings([read_made("a", standard=(nan, nan, nan, nan))])
    assert one.words == "No finite MSE of a reconstruction: no best weights."


def test_the_verdict_in_words_covers_every_odd_run(odd_runs: Path) -> None:
    runs = read_runs(find_run_folders([odd_runs]))
    assert len(runs) == 20
    words = in_words(runs, rankings(runs))
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


def test_runs_that_have_not_begun_are_said_to_be_unranked(tmp_path: Path) -> None:
    (tmp_path / "panels").mkdir()
    runs = read_runs([tmp_path])
    assert in_words(runs, rankings(runs)).startswith("No run has scored a reconstruction yet")

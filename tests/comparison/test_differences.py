"""Rule 1: what compares, and what differs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from depthdif.comparison.differences import ABSENT, differing, join_names, settings
from depthdif.comparison.ranking import rankings
from depthdif.comparison.run import Run, read_run

ReadMade = Callable[..., Run]


def test_only_keys_that_differ_are_shown_and_the_folder_of_a_run_is_no_difference(
    read_made: ReadMade,
) -> None:
    runs = [read_made("a", decay=0.9), read_made("b", decay=0.99, model__dropout=0.1)]
    assert differing(runs) == {"model.dropout": [ABSENT, "0.1"], "model.ema.decay": ["0.9", "0.99"]}
    assert settings(runs[0])["trainer.default_root_dir"] == "${output_dir}"


def test_a_run_of_unknown_settings_has_no_values(read_made: ReadMade) -> None:
    unknown = read_made("c").folder
    (unknown / "config.yaml").unlink()
    runs = [read_made("a", decay=0.9), read_made("b", decay=0.99), read_run(unknown, "c")]
    assert differing(runs) == {"model.ema.decay": ["0.9", "0.99", ""]}


def test_runs_that_differ_in_their_ema_alone_are_one_group(read_made: ReadMade) -> None:
    (group,) = rankings([read_made("a", decay=0.9), read_made("b", decay=0.99, data__num_workers=4)])
    assert (
        group.comparability == "a and b: same validation data, first guess and sampler; the scores compare."
    )


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"data__path": "other.nc"}, "data.path"),
        ({"data__seed": 1}, "data.seed"),
        ({"data__batch_size": 8}, "data.batch_size"),
        ({"model__first_guess": None}, "model.first_guess"),
        ({"model__sampler__ensemble_size": 1}, "model.sampler.ensemble_size"),
    ],
)
def test_other_data_first_guess_or_sampler_make_scores_incomparable_and_the_key_is_shown(
    read_made: ReadMade, changed: dict[str, object], key: str
) -> None:
    first, second = rankings([read_made("a"), read_made("b", **changed)])
    assert first.comparability.startswith("a: scores are not comparable")
    assert key in first.comparability
    assert key in second.comparability


def test_another_architecture_is_ranked_and_reported(read_made: ReadMade) -> None:
    (group,) = rankings([read_made("a"), read_made("b", model__denoiser__block_out_channels=[64])])
    assert group.architectures_differ
    assert (
        "model.denoiser.block_out_channels: a difference in score is not that of the decay"
        in group.comparability
    )
    assert "only the relative one compares" in group.comparability


def test_a_run_of_unknown_settings_is_a_group_of_its_own(read_made: ReadMade) -> None:
    unknown = read_made("a").folder
    (unknown / "config.yaml").unlink()
    first, second = rankings([read_run(unknown, "a"), read_made("b")])
    assert first.comparability.startswith("a: settings unknown")
    assert "whose settings are unknown" in second.comparability


def test_a_run_without_scores_is_in_no_group(read_made: ReadMade) -> None:
    runs = [read_made("a"), read_made("b", steps=(), standard=())]
    assert [run.name for group in rankings(runs) for run in group.runs] == ["a"]


def test_lists_are_cut_where_they_get_long() -> None:
    assert join_names([]) == ""
    assert join_names(["a"]) == "a"
    assert join_names(["a", "b", "c"]) == "a, b and c"
    assert join_names(["a", "b", "c"], most=2) == "a, b and 1 more"

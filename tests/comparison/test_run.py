"""The content of a run folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from depthdif.comparison.run import Run, read_run, read_runs

MakeRun = Callable[..., Path]


def test_extra_decays_count_as_averages_of_their_own(read_made: Callable[..., Run]) -> None:
    run = read_made(decay=0.99, ratio=0.9, extra={0.9: 0.95, 0.999: 1.1})
    assert [average.label for average in run.averages] == ["EMA 0.9", "EMA 0.99", "EMA 0.999"]
    assert run.averages[2].scores["mse"][600] == pytest.approx(1.2 * 1.1)
    assert run.standard.scores["mse"] == {150: 2.0, 300: 1.6, 450: 1.3, 600: 1.2}
    assert sorted(run.panels) == ["ema", "ema_0.9", "ema_0.999", "standard"]
    assert sorted(run.panels["ema_0.9"]) == [150, 300, 450, 600]


def test_the_half_life_counts_optimizer_steps(read_made: Callable[..., Run]) -> None:
    half_life = math.log(0.5) / math.log(0.99)
    assert read_made("each").averages[0].half_life == pytest.approx(half_life)
    assert read_made("third", model__ema__apply_every_n_steps=3).averages[0].half_life == pytest.approx(
        3 * half_life
    )


def test_a_decay_that_warm_up_lowers_counts_as_it_is(make_run: MakeRun) -> None:
    folder = make_run(decay=0.99, model__ema__decay=0.9999)
    average = read_run(folder, "run").averages[0]
    assert (average.decay, average.effective_decay) == (0.9999, 0.99)
    assert average.half_life == pytest.approx(math.log(0.5) / math.log(0.99))


def test_a_decay_logged_as_float32_is_the_configured_one(make_run: MakeRun) -> None:
    folder = make_run(decay=0.9998999834060669, model__ema__decay=0.9999)
    assert read_run(folder, "run").averages[0].effective_decay == 0.9999


def test_a_decay_that_the_config_computes_is_taken_from_the_log(make_run: MakeRun) -> None:
    folder = make_run(decay=0.98299998, model__ema__decay={"_target_": "depthdif.ema.decay.suited_decay"})
    assert read_run(folder, "run").averages[0].label == "EMA 0.983"


def test_a_run_without_ema_has_the_scores_of_its_validation(read_made: Callable[..., Run]) -> None:
    run = read_made(decay=None)
    assert run.averages == []
    assert run.standard.scores["mse"][600] == 1.2
    assert list(run.panels) == ["standard"]
    assert run.remarks == ["trained without EMA: standard weights only"]


def test_progress_distinguishes_finished_unfinished_and_failed_runs(make_run: MakeRun) -> None:
    assert read_run(make_run("a"), "a").progress == "finished at step 600"
    unfinished = make_run("b", steps=(150,), standard=(2.0,), finished=False)
    assert read_run(unfinished, "b").progress == "unfinished (running or stopped), step 150 of 600"
    record = {"number": 0, "label": "", "status": "failed", "reason": "ValueError: lr is -1"}
    (unfinished / "job.json").write_text(json.dumps(record))
    failed = read_run(unfinished, "b")
    assert failed.progress == "failed after step 150 of 600"
    assert "failed: ValueError: lr is -1" in failed.remarks
    (unfinished / "job.json").write_text("{")
    assert read_run(unfinished, "b").failure == ""


@pytest.mark.parametrize("content", ["a: [1,\n", "\x00", "- 1\n", ""])
def test_a_config_that_cannot_be_read_is_reported_and_the_scores_stay(
    make_run: MakeRun, content: str
) -> None:
    folder = make_run()
    (folder / "config.yaml").write_text(content)
    run = read_run(folder, "run")
    assert run.config is None
    assert any("config.yaml" in remark for remark in run.remarks)
    assert run.averages[0].scores["mse"][600] == pytest.approx(1.08)
    assert run.averages[0].label == "EMA 0.99"


def test_an_empty_folder_is_a_run_without_any_content(tmp_path: Path) -> None:
    run = read_run(tmp_path, "run")
    assert (run.last_step, run.planned_steps, run.variants) == (0, 0, [run.standard])
    assert len(run.remarks) == 3


def test_names_distinguish_runs(make_run: MakeRun) -> None:
    folders = [make_run(name, panels=False) for name in ("a/0", "b/0", "b/1")]
    assert [run.name for run in read_runs(folders)] == ["a/0", "b/0", "b/1"]
    assert [run.name for run in read_runs(folders[1:])] == ["0", "1"]


def test_of_several_variables_the_scores_and_panels_of_one_can_be_read(make_run: MakeRun) -> None:
    folder = make_run("joint")
    metrics = folder / "metrics" / "metrics.csv"
    header, *rows = metrics.read_text().splitlines()
    assert "val_ema/recon_mse_full_recon" in header.split(",")
    ends = [f"{row},{0.25 if 'recon' in header and row.split(',')[1] else ''}" for row in rows]
    metrics.write_text("\n".join([f"{header},val_ema/recon_mse_full_recon/salinity", *ends]) + "\n")
    (folder / "panels" / "salinity").mkdir()
    (folder / "panels" / "salinity" / "x_y_full_reconstruction_ema_step=0000600.png").write_bytes(b"")
    together, one = read_run(folder, "joint"), read_run(folder, "joint", "salinity")
    assert any("scores of salinity together" in remark for remark in together.remarks)
    assert set(one.averages[0].scores["mse"].values()) == {0.25}
    assert together.averages[0].scores["mse"] != one.averages[0].scores["mse"]
    assert [path.parent.name for path in one.panels["ema"].values()] == ["salinity"]
    assert not any("together" in remark for remark in one.remarks)

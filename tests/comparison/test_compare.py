"""From folders to files: the job, on synthetic and on real runs, and the script as a user types it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from omegaconf import DictConfig

from depthdif.comparison.compare import compare
from depthdif.comparison.run import read_run

MakeRun = Callable[..., Path]
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compare.py"
# Everything that would make a comparison wait for seconds.
HEAVY = ("torch", "matplotlib", "pytorch_lightning", "xarray", "pandas", "diffusers", "wandb")


def script(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_a_page_and_a_picture_are_written_whole(
    odd_runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        written = compare([odd_runs], tmp_path / "out")
    assert sorted(path.name for path in written.parent.iterdir()) == ["compare.html", "compare.svg"]
    assert ElementTree.parse(tmp_path / "out" / "compare.svg").getroot().tag.endswith("svg")
    assert "Best: 1 · EMA 0.99" in caplog.text
    assert str(written) in caplog.text


def test_the_same_runs_later_on_replace_the_page(make_run: MakeRun, tmp_path: Path) -> None:
    compare([make_run(steps=(150,), standard=(2.0,), finished=False)], tmp_path / "out")
    page = compare([make_run()], tmp_path / "out").read_text()
    assert "finished at step 600" in page
    assert "unfinished" not in page


def test_the_size_of_the_page_has_to_be_positive(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^megabytes=0: expected a positive size.*megabytes=18"):
        compare([make_run(panels=False)], tmp_path, megabytes=0)


def test_a_real_run_is_read_as_it_was_written(small_run: Callable[..., DictConfig], tmp_path: Path) -> None:
    from depthdif.training import train

    cfg = small_run("logger=csv", "trainer.max_steps=4", "trainer.val_check_interval=2", "model.ema.enabled=true",
                    "model.ema.decay=0.9", "model.ema.extra_decays=[0.5]")  # fmt: skip
    returned = train(cfg)
    run = read_run(Path(cfg.output_dir), "run")
    assert run.is_finished
    assert run.remarks == []
    assert run.last_step == run.planned_steps == 4
    assert [average.label for average in run.averages] == ["EMA 0.5", "EMA 0.9"]
    assert run.averages[1].scores["mse"][4] == pytest.approx(returned)
    for variant in run.variants:
        assert sorted(variant.scores) == ["mse", "psnr", "ssim"]
        assert sorted(run.panels[variant.name]) == sorted(variant.scores["mse"]) == [2, 4]
    for average in run.averages:
        assert sorted(average.distances) == ["max_abs", "mean_abs", "relative_rms", "rms"]
    page = compare([cfg.output_dir], tmp_path / "out").read_text()
    assert "run · EMA 0.5" in page


def test_the_comparison_imports_nothing_heavy(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    code = f"""
import sys
from depthdif.comparison.compare import compare
compare([{str(run)!r}], {str(tmp_path / "out")!r})
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_script_prints_the_results_and_where_the_page_lies(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    done = script(f"runs=[{run}]", f"hydra.run.dir={tmp_path / 'out'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Best: run · EMA 0.99, MSE 1.08 at step 600." in done.stdout
    assert str(tmp_path / "out" / "compare.html") in done.stdout


def test_an_error_of_the_script_is_one_line_with_what_to_set(tmp_path: Path) -> None:
    done = script("runs=[nowhere]", f"hydra.run.dir={tmp_path / 'out'}", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: runs=[nowhere]: no such folder; set runs=[" in done.stderr
    assert "Traceback" not in done.stderr

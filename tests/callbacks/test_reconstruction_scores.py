"""Scores that a validation logs, their precision, and the check of the panels."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from depthdif import UserError
from depthdif.build import build_data
from depthdif.callbacks.reconstruction import ReconstructionCallback
from depthdif.checkpoints.trained_run import TrainedRun, open_trained
from depthdif.diffusion.reconstruction import reconstruct, score_ensemble, score_first_guess
from depthdif.evaluation.evaluator import Evaluator
from depthdif.evaluation.plan import EvaluationPlan
from depthdif.evaluation.variable_scores import score_variables
from depthdif.posthoc_ema.variant_scores import validation_scores
from depthdif.training import train

CONF = Path(__file__).resolve().parents[2] / "conf"
# Far enough from the initial weights, which add nothing to the first guess, that bfloat16 shows.
TRAINED = (
    "data.field.depths=3", "data.field.times=1", "model/first_guess=idw", "model.sampler.ensemble_size=4",
    "model.sampler.antithetic=true", "trainer.max_steps=8", "trainer.precision=bf16-mixed", "logger=csv",
    "model.optimizer.lr=0.01", "model.lr_scheduler.num_warmup_steps=0",
)  # fmt: skip

Config = Callable[..., DictConfig]


def logged(folder: Path) -> dict[str, float]:
    """What the last validation of a run logged."""
    with (folder / "metrics/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    return {key: float(value) for key, value in rows[-1].items() if value and key.startswith("val")}


def evaluation_config(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        paths = [f"checkpoint='{folder / 'checkpoints/last.ckpt'}'", f"output_dir={folder / 'evaluated'}"]
        return compose("evaluate", [*paths, *overrides])


@pytest.fixture
def trained(small_run: Config, tmp_path: Path) -> tuple[Path, TrainedRun]:
    """A short run in bfloat16, and its checkpoint opened by an evaluation."""
    train(small_run(*TRAINED, "model/ema=quick"))
    return tmp_path / "run", open_trained(evaluation_config(tmp_path / "run"))


def test_a_checkpoint_scores_the_same_in_training_evaluation_and_posthoc_ema(
    trained: tuple[Path, TrainedRun],
) -> None:
    folder, run = trained
    expected = logged(folder)
    assert run.precision == "bf16-mixed"
    plan = EvaluationPlan.from_config(evaluation_config(folder, "densities=[]"))
    evaluator = Evaluator(plan, run, torch.device("cpu"), lambda line: None)
    batch, statistics = next(iter(run.data.val_dataloader())), run.data.standardization
    for variant in ("standard", "ema"):
        run.load(variant)
        posthoc = validation_scores(run.module, run.data, [batch], run.precision, lambda: None)
        evaluated = score_ensemble(evaluator.reconstruct(batch, 4), batch, statistics)
        for score in ("mse", "crps", "psnr"):
            value = expected[f"val_{variant}/recon_{score}_full_recon"]
            # Any kernel sums in its own order; the rounding to bfloat16 is a hundred times as large.
            assert posthoc[score] == pytest.approx(value, rel=1e-5)
            assert evaluated[score] == pytest.approx(value, rel=1e-5)
        in_float32 = score_ensemble(reconstruct(run.module, batch, statistics), batch, statistics)
        assert in_float32["mse"] != pytest.approx(posthoc["mse"], rel=1e-5)
    assert open_trained(evaluation_config(folder, "precision=32-true")).precision == "32-true"


def test_each_variant_and_the_first_guess_have_all_scores(trained: tuple[Path, TrainedRun]) -> None:
    folder, run = trained
    metrics = logged(folder)
    for prefix in ("val", "val_standard", "val_ema", "val_first_guess"):
        for score in ("mse", "crps", "psnr"):
            assert f"{prefix}/recon_{score}_full_recon" in metrics
    batch = next(iter(run.data.val_dataloader()))
    for score, value in score_first_guess(batch, run.data.standardization).items():
        assert metrics[f"val_first_guess/recon_{score}_full_recon"] == pytest.approx(value, rel=1e-5)


def test_without_two_independent_members_the_crps_is_left_out_and_a_line_tells_what_to_set(
    small_run: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        train(small_run(*TRAINED, "model.sampler.ensemble_size=2", "model/first_guess=none"))
    assert "val/recon_mse_full_recon" in logged(tmp_path / "run")
    assert "val/recon_crps_full_recon" not in logged(tmp_path / "run")
    (line,) = [message for message in caplog.messages if "recon_crps_full_recon is left out" in message]
    assert line.endswith("set model.sampler.ensemble_size=4")


@pytest.mark.parametrize(("batch_size", "patches", "available"), [(4, 6, 4), (4, 3, 3)])
def test_a_panel_shows_no_more_samples_than_the_first_mini_batch_has(
    small_run: Config, batch_size: int, patches: int, available: int
) -> None:
    cfg = small_run(
        "data.field.depths=3", "data.field.times=1",
        f"data.batch_size={batch_size}", f"data.validation_patches={patches}",
    )  # fmt: skip
    data = build_data(cfg)

    def callback(samples: int) -> ReconstructionCallback:
        return instantiate(cfg.callbacks.reconstruction, panel_samples=samples)

    callback(available).check_data(data)
    with pytest.raises(
        UserError, match=rf"has {available} .*set callbacks.*panel_samples={available} or less"
    ):
        callback(available + 1).check_data(data)


def test_a_precision_that_a_chain_cannot_run_in_is_refused_before_training(small_run: Config) -> None:
    with pytest.raises(UserError, match=r"precision is bf16-true: .*trainer\.precision=32-true"):
        train(small_run(*TRAINED, "trainer.precision=bf16-true"))


def test_two_variables_score_the_same_in_training_evaluation_and_posthoc_ema(
    small_run: Config, tmp_path: Path
) -> None:
    train(small_run(*TRAINED, "model/ema=quick", "data.field.salinity=true"))
    folder = tmp_path / "run"
    expected, run = logged(folder), open_trained(evaluation_config(folder))
    batch = run.data.collate([run.data.validation_samples()[number] for number in range(4)])
    run.load("ema")
    scores = validation_scores(run.module, run.data, [batch], run.precision, lambda: None)
    of_variables = score_variables(
        run.data, batch, reconstruct(run.module, batch, run.data.standardization, run.precision)
    )
    for score in ("mse", "crps", "psnr", "ssim"):
        key = f"val_ema/recon_{score}_full_recon"
        assert scores[score] == pytest.approx(expected[key], rel=1e-4)
        for name in ("temperature", "salinity"):
            assert of_variables[name][score] == pytest.approx(expected[f"{key}/{name}"], rel=1e-4)

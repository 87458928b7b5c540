"""The whole evaluation of a tiny run: table, files and figures, against numbers computed here in another way."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from depthdif.build import resolved
from depthdif.checkpoints.trained_run import TrainedRun, open_trained
from depthdif.data.dataset import collate
from depthdif.diffusion.precision import autocast
from depthdif.evaluation.evaluate import evaluate
from depthdif.evaluation.plan import EvaluationPlan
from depthdif.evaluation.result import CLIMATOLOGY, IDW, MODEL, OI, TRAINING_MEAN, Evaluation, Method
from depthdif.evaluation.table import score_table
from depthdif.training import train

RunScript = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "data=synthetic",
    "data.patch_size=16",
    "data.validation_patches=5",
    "model/denoiser=unet_tiny",
    "model.sampler.steps=2",
    "model.sampler.inflation=1.3",
    "trainer.max_steps=2",
    "trainer.accelerator=cpu",
    "logger=csv",
    "callbacks.progress=null",
    "callbacks.reconstruction.panel_samples=1",
)
FIGURES = {
    *("rmse_by_depth", "rmse_maps", "spread_and_error", "ranks", "spectra", "density", "case"),
    *("gradients", "followed"),
}
CPU = torch.device("cpu")


def checkpoint_of(folder: Path, *overrides: str) -> Path:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", [*TINY, f"output_dir={folder}", *overrides])
    train(cfg)
    return folder / "checkpoints/last.ckpt"


def evaluated(checkpoint: Path, folder: Path, *overrides: str) -> tuple[Evaluation, TrainedRun]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("evaluate", [f"checkpoint={checkpoint}", f"output_dir={folder}", *overrides])
    run = open_trained(cfg)
    return evaluate(EvaluationPlan.from_config(cfg), run, CPU, resolved(cfg))[0], run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # As many times as a followed patch has.
    options = ("model/first_guess=oi", "model/ema=quick", "data.field.times=5")
    return checkpoint_of(tmp_path_factory.mktemp("trained"), *options)


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, TrainedRun, Path]:
    folder = tmp_path_factory.mktemp("evaluated")
    result, run = evaluated(
        checkpoint, folder, "ensemble_size=3", "density_ensemble_size=2", "densities=[0.02,0.05]",
        "bootstrap_samples=200", "panel_depths=[0,300]", "seed=4",
    )  # fmt: skip
    return result, run, folder


def rmse_of(estimates: list[np.ndarray], run: TrainedRun) -> float:
    """Directly, from standardised estimates (D, H, W) of the validation set."""
    std, squares, count = run.data.standardization.std[:, None, None], 0.0, 0
    for estimate, sample in zip(estimates, run.data.validation_samples(), strict=True):
        hidden = sample["ocean_mask"] & ~sample["observed_mask"]
        squares += float(np.square((estimate - sample["target"]) * std)[hidden].sum())
        count += int(hidden.sum())
    return math.sqrt(squares / count)


def test_the_table_has_a_row_for_every_method(whole: tuple[Evaluation, TrainedRun, Path]) -> None:
    model = [Method(MODEL, weights, members) for weights in ("standard", "ema") for members in (1, 3)]
    result = whole[0]
    assert list(result.overall) == [TRAINING_MEAN, IDW, OI, *model]
    assert score_table(result).row_count == 7
    assert result.best == Method(MODEL, "ema", 3)
    of_cells = {"rmse", "bias", "mae", "crps", "spread_skill", "rmse_ratio", "crps_ratio"}
    weighted = {f"{name}_weighted" for name in of_cells}
    assert set(result.overall[result.best]) == of_cells | weighted | {"gradient_ratio"}
    assert "spread_skill" not in result.overall[TRAINING_MEAN]
    assert all(
        result.overall[OI][name].value == 1 for name in ("rmse_ratio", "crps_ratio", "rmse_ratio_weighted")
    )


def test_baselines_score_as_a_direct_computation(whole: tuple[Evaluation, TrainedRun, Path]) -> None:
    result, run, _ = whole
    samples = list(run.data.validation_samples())
    oi = instantiate(run.cfg.model.first_guess)
    expected = {
        TRAINING_MEAN: rmse_of([np.zeros_like(sample["target"]) for sample in samples], run),
        OI: rmse_of([guess.numpy() for guess in collate(samples, oi)["first_guess"]], run),
    }
    for method, rmse in expected.items():
        assert result.overall[method]["rmse"].value == pytest.approx(rmse, rel=1e-4)


def test_weighted_scores_count_a_cell_by_its_area_and_the_thickness_of_its_layer(
    whole: tuple[Evaluation, TrainedRun, Path],
) -> None:
    result, run, folder = whole
    depths = result.depths.astype(float)
    borders = [max(0, 1.5 * depths[0] - depths[1] / 2), *(depths[1:] + depths[:-1]) / 2]
    borders.append(1.5 * depths[-1] - depths[-2] / 2)
    squares = np.zeros(2)
    for sample in run.data.validation_samples():
        hidden = sample["ocean_mask"] & ~sample["observed_mask"]
        weights = hidden * np.diff(borders)[:, None, None] * np.cos(np.radians(sample["latitude"]))[:, None]
        errors = sample["target"] * run.data.standardization.std[:, None, None]
        squares += np.sum(weights * errors**2, dtype=float), weights.sum(dtype=float)
    rmse = result.overall[TRAINING_MEAN]["rmse_weighted"].value
    assert rmse == pytest.approx(math.sqrt(squares[0] / squares[1]), rel=1e-4)
    assert rmse != pytest.approx(result.overall[TRAINING_MEAN]["rmse"].value, rel=1e-3)
    # The thickness of a layer is no weight within it.
    assert result.by_depth[OI][0]["rmse_weighted"].value == pytest.approx(
        result.by_depth[OI][0]["rmse"].value, rel=0.1
    )
    with (folder / "scores.csv").open() as file:
        units = {row["score"]: row["units"] for row in csv.DictReader(file)}
    assert (units["rmse_weighted"], units["rmse_ratio_weighted"]) == (result.units, "1")
    assert "the same, each cell weighted by its area" in (folder / "evaluation.txt").read_text()


def test_the_model_scores_as_a_direct_computation(
    whole: tuple[Evaluation, TrainedRun, Path],
) -> None:
    result, run, _ = whole
    run.load("standard")
    run.module.sampler.ensemble_size, run.module.sampler.seed = 3, 4
    estimates: list[np.ndarray] = []
    assert run.data.batch_size == 4
    for batch in run.data.val_dataloader():
        with torch.no_grad(), autocast(run.precision, CPU):
            estimates += list(run.module.reconstruct(batch).mean(dim=1).numpy())
    expected = rmse_of(estimates, run)
    assert result.overall[Method(MODEL, "standard", 3)]["rmse"].value == pytest.approx(expected, rel=1e-4)


def test_a_single_sample_is_scored_as_a_user_gets_it_with_an_ensemble_of_one(
    whole: tuple[Evaluation, TrainedRun, Path],
) -> None:
    evaluation, run, _ = whole
    run.load("ema")
    sampler = run.module.sampler
    assert sampler.inflation == 1.3
    sampler.seed = 4
    squares = []
    for member in range(3):
        estimates: list[np.ndarray] = []
        for batch in run.data.val_dataloader():
            # Members do not depend on the size of the ensemble: the first is that of an ensemble of one.
            sampler.ensemble_size = member + 1
            with torch.no_grad(), autocast(run.precision, CPU):
                estimates += list(run.module.reconstruct(batch)[:, member].numpy())
        squares.append(rmse_of(estimates, run) ** 2)
    expected = math.sqrt(np.mean(squares))
    assert evaluation.overall[Method(MODEL, "ema", 1)]["rmse"].value == pytest.approx(expected, rel=1e-4)


def test_files_hold_the_table_and_where_it_comes_from(whole: tuple[Evaluation, TrainedRun, Path]) -> None:
    result, run, folder = whole
    content = json.loads((folder / "evaluation.json").read_text())
    for method, scores in result.overall.items():
        for name, score in scores.items():
            assert content["overall"][method.label][name]["value"] == score.value
    assert [level["depth_m"] for level in content["by_depth"]["OI"]] == result.depths.tolist()
    provenance = content["provenance"]
    assert provenance["checkpoint"] == str(run.path)
    assert len(provenance["checkpoint_sha256"]) == 64
    assert (provenance["seed"], provenance["patches"], provenance["optimizer_steps"]) == (4, 5, 2)
    assert {"python", "torch", "depthdif"} <= set(provenance["versions"])
    assert provenance["run"]["data"]["patch_size"] == 16
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    overall = [row for row in rows if row["method"] == "OI" and row["score"] == "rmse" and not row["depth_m"]]
    assert [row["observed_share"] for row in overall] == ["0.05", "0.02"]
    assert float(overall[0]["value"]) == result.overall[OI]["rmse"].value
    assert float(overall[0]["low_95"]) <= float(overall[0]["value"]) <= float(overall[0]["high_95"])
    assert not any(value.lower() in ("nan", "inf") for row in rows for value in row.values())
    assert not list(folder.rglob("*unfinished*"))


def test_the_resolution_is_where_the_written_spectrum_of_the_error_is_half_of_that_of_the_truth(
    whole: tuple[Evaluation, TrainedRun, Path],
) -> None:
    content = json.loads((whole[2] / "evaluation.json").read_text())
    rows = content["spectra"]
    for number, level in enumerate(content["by_depth"]["OI"]):
        power, error = (
            {row["wavelength_km"]: row[column] for row in rows
             if row["method"] == method and row["depth_m"] == level["depth_m"]}
            for method, column in (("truth", "power"), ("OI", "error_power"))
        )  # fmt: skip
        ratios = [
            (np.log(wavelength), error[wavelength] / power[wavelength]) for wavelength in sorted(power)[::-1]
        ]
        crossing = next((ring for ring, (_, ratio) in enumerate(ratios) if ratio >= 0.5), None)
        if crossing is None:
            assert level["resolution"]["value"] == pytest.approx(min(power))
        elif crossing == 0:
            assert "resolution" not in level
        else:
            pair = sorted(ratios[crossing - 1 : crossing + 1], key=lambda point: point[1])
            expected = np.exp(np.interp(0.5, *zip(*((ratio, log) for log, ratio in pair), strict=True)))
            assert level["resolution"]["value"] == pytest.approx(expected)
        best = content["by_depth"]["EMA, mean of 3"][number]
        if "resolution" in level and "resolution" in best:
            ratio = best["resolution"]["value"] / level["resolution"]["value"]
            assert best["resolution_ratio"]["value"] == pytest.approx(ratio)


def test_the_training_mean_has_no_gradients_and_shares_of_the_truth_fall_with_the_threshold(
    whole: tuple[Evaluation, TrainedRun, Path],
) -> None:
    result, _, folder = whole
    assert result.overall[TRAINING_MEAN]["gradient_ratio"].value == 0
    content = json.loads((folder / "evaluation.json").read_text())["gradients"]
    assert content["units"] == "°C per 100 km"
    for level in content["shares_above"]["truth"]:
        assert len(level["shares"]) == len(content["thresholds"])
        assert np.all(np.diff(level["shares"]) <= 0)


@pytest.mark.usefixtures("no_figures")
def test_a_followed_patch_is_measured_with_the_noise_of_the_sampler_and_with_independent_noise(
    whole: tuple[Evaluation, TrainedRun, Path],
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert set(json.loads((whole[2] / "evaluation.json").read_text())["followed"]["flicker"]) == {
        *("one member", "ensemble mean", "OI")
    }
    evaluated(
        checkpoint, tmp_path, "ensemble_size=4", "patches=1", "densities=[]", "bootstrap_samples=100", "weights=[ema]",
        "run_overrides=['model.sampler.time_correlated_noise=1000']",
    )  # fmt: skip
    followed = json.loads((tmp_path / "evaluation.json").read_text())["followed"]
    flicker = followed["flicker"]
    assert followed["time_correlated_noise"] == 1000
    assert len(set(followed["dates"])) == 5
    assert flicker["one member"] < flicker["one member, independent noise"]
    assert "Change from one time to the next" in capsys.readouterr().out


def test_every_figure_is_drawn(whole: tuple[Evaluation, TrainedRun, Path]) -> None:
    folder = whole[2]
    assert {path.stem for path in (folder / "figures").glob("*.png")} == FIGURES
    text = (folder / "evaluation.txt").read_text()
    for words in (
        "EMA, mean of 3 against OI: RMSE",
        "5 patches are few",
        "grad /",
        "Effective resolution at ",
        "scripts/evaluate.py checkpoint=",
    ):
        assert words in text


def test_the_density_curve_meets_the_table_where_they_share_the_observations(
    whole: tuple[Evaluation, TrainedRun, Path],
) -> None:
    result = whole[0]
    assert list(result.density) == [0.02, 0.05]
    for method in (TRAINING_MEAN, IDW, OI):
        assert result.density[0.05][method] == result.overall[method]
    assert result.density[0.02][OI]["rmse"].value > result.density[0.05][OI]["rmse"].value
    assert Method(MODEL, "ema", 2) in result.density[0.02]


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time."""
    monkeypatch.setattr("depthdif.evaluation.evaluate.draw_figures", lambda *_: None)


@pytest.mark.usefixtures("no_figures")
def test_the_climatology_of_a_run_is_a_row_and_the_background_of_its_oi(tmp_path: Path) -> None:
    path = checkpoint_of(
        tmp_path / "run", "model/first_guess=oi", "model.first_guess.background=climatology", "data/climatology=seasonal",
        "data.climatology.harmonics=0", "data/validation=time_range", "data.validation.start=2000-04",
        "data.validation.stop=2000-04",
    )  # fmt: skip
    options = ("ensemble_size=2", "densities=[]", "bootstrap_samples=100", "weights=[standard]")
    result, run = evaluated(path, tmp_path / "out", *options)
    assert list(result.overall)[:4] == [TRAINING_MEAN, CLIMATOLOGY, IDW, OI]
    samples = list(run.data.validation_samples())
    expected = {
        CLIMATOLOGY: rmse_of([sample["background"] for sample in samples], run),
        OI: rmse_of([guess.numpy() for guess in run.data.collate(samples)["first_guess"]], run),
    }
    for method, rmse in expected.items():
        assert result.overall[method]["rmse"].value == pytest.approx(rmse, rel=1e-4)
    assert "spread_skill" not in result.overall[CLIMATOLOGY]
    assert expected[CLIMATOLOGY] < result.overall[TRAINING_MEAN]["rmse"].value


@pytest.mark.usefixtures("no_figures")
def test_one_seed_gives_one_answer(
    whole: tuple[Evaluation, TrainedRun, Path], checkpoint: Path, tmp_path: Path
) -> None:
    options = ("ensemble_size=3", "densities=[]", "bootstrap_samples=200", "weights=[ema]")
    again, _ = evaluated(checkpoint, tmp_path / "again", *options, "seed=4")
    other, _ = evaluated(checkpoint, tmp_path / "other", *options, "seed=5")
    best = Method(MODEL, "ema", 3)
    assert again.overall[best] == whole[0].overall[best]
    assert other.overall[best]["rmse"].value != again.overall[best]["rmse"].value
    assert other.overall[OI]["rmse"].value == again.overall[OI]["rmse"].value


def test_without_average_first_guess_and_ensemble_what_is_left_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_of(tmp_path / "run", "model/first_guess=none")
    capsys.readouterr()
    result, _ = evaluated(
        path, tmp_path / "out", "ensemble_size=1", "patches=1", "densities=[]", "bootstrap_samples=100"
    )
    assert list(result.overall) == [TRAINING_MEAN, IDW, OI, Method(MODEL, "standard", 1)]
    scores = result.overall[Method(MODEL, "standard", 1)]
    assert "spread_skill" not in scores
    assert scores["crps"].value == scores["mae"].value
    assert all(score.low is None for score in scores.values())
    output = " ".join(capsys.readouterr().out.split())
    assert "no rows for the EMA weights" in output
    assert "because the run has no first guess" in output
    # The one patch has no window free of land.
    assert {path.stem for path in (tmp_path / "out/figures").glob("*.png")} == FIGURES - {
        *("density", "spectra", "followed")
    }
    assert "no followed case: the validation region has no 5 consecutive times" in output
    assert "no window of half a patch is free of land" in output


def test_variants_and_patches_that_do_not_exist_raise_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no 'ema_0.9' weights; it holds standard, ema"):
        evaluated(checkpoint, tmp_path, "weights=[standard,ema_0.9]")
    with pytest.raises(
        ValueError, match=r"patches=6, but the validation set has 5.*data.validation_patches=6"
    ):
        evaluated(checkpoint, tmp_path, "patches=6")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_figures")
def test_samples_that_are_not_finite_leave_their_rows_out(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = TrainedRun.load

    def load_spoilt(run: TrainedRun, which: str | float = "auto") -> str:
        name = load(run, which)
        if which == "ema":
            for parameter in run.module.parameters():
                torch.nn.init.constant_(parameter, math.nan)
        return name

    monkeypatch.setattr(TrainedRun, "load", load_spoilt)
    result, _ = evaluated(checkpoint, tmp_path, "ensemble_size=2", "densities=[]", "bootstrap_samples=100")
    assert [method.weights for method in result.overall if method.weights] == ["standard", "standard"]
    assert result.chosen == "standard"
    assert "the ema weights reconstruct values that are not finite" in capsys.readouterr().out


@pytest.mark.usefixtures("no_figures")
def test_two_antithetic_members_have_no_crps_and_a_line_tells_what_to_set(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation, _ = evaluated(
        checkpoint, tmp_path, "ensemble_size=2", "densities=[]", "bootstrap_samples=100", "weights=[ema]"
    )
    of_cells = {"rmse", "bias", "mae", "rmse_ratio"}
    assert set(evaluation.overall[Method(MODEL, "ema", 2)]) == {
        *(*of_cells, "gradient_ratio", *(f"{name}_weighted" for name in of_cells))
    }
    output = capsys.readouterr().out
    assert (
        "ensemble_size=2 has one independent member: no CRPS and spread of it; set ensemble_size=4" in output
    )


def test_the_script_warns_of_a_region_that_was_trained_on(
    run_script: RunScript, checkpoint: Path, tmp_path: Path
) -> None:
    finished = run_script(
        "evaluate", f"checkpoint={checkpoint}", "data.validation.longitude=[-60,20]", "data.validation_patches=2",
        "ensemble_size=2", "densities=[]", "bootstrap_samples=100", "weights=[ema]", "accelerator=cpu",
        folder=tmp_path,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "caution: the model was trained on a part of this region" in finished.stdout
    (written,) = tmp_path.glob("runs/*/evaluation.json")
    provenance = json.loads(written.read_text())["provenance"]
    assert provenance["seen_in_training"] is True
    assert provenance["run"]["data"]["validation"]["longitude"] == [-60, 20]


def test_the_script_helps_and_refuses_without_a_traceback(run_script: RunScript, tmp_path: Path) -> None:
    shown = run_script("evaluate", "--help", folder=tmp_path)
    assert "scripts/evaluate.py checkpoint=" in shown.stdout
    refused = run_script("evaluate", "checkpoint=none.ckpt", "ensemble_size=0", folder=tmp_path)
    assert refused.returncode == 1
    assert "\nerror: ensemble_size=0; expected an integer of at least 1" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Evaluation], TrainedRun, Path]:
    """An evaluation of temperature and salinity."""
    options = (
        "model/first_guess=oi",
        "data.field.salinity=true",
        "data.field.depths=3",
        "data.validation_patches=3",
    )
    checkpoint = checkpoint_of(tmp_path_factory.mktemp("joint"), *options)
    folder = tmp_path_factory.mktemp("of_both")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("evaluate", [
            f"checkpoint={checkpoint}", f"output_dir={folder}", "ensemble_size=4", "densities=[0.1]",
            "density_ensemble_size=1", "bootstrap_samples=100", "weights=[standard]",
        ])  # fmt: skip
    run = open_trained(cfg)
    return evaluate(EvaluationPlan.from_config(cfg), run, CPU, resolved(cfg)), run, folder


def test_each_variable_is_scored_in_its_units_with_files_of_its_own(
    joint: tuple[list[Evaluation], TrainedRun, Path],
) -> None:
    results, run, folder = joint
    assert [(result.variable, result.units) for result in results] == [
        ("temperature", "°C"),
        ("salinity", ""),
    ]
    oi = instantiate(run.cfg.model.first_guess)
    batch = collate(list(run.data.validation_samples()), oi)
    hidden = (batch["target_mask"] & ~batch["observed_mask"]).numpy()
    error = (batch["first_guess"] - batch["target"]).numpy() * run.data.standardization.std[:, None, None]
    for number, (result, place) in enumerate(zip(results, (folder, folder / "salinity"), strict=True)):
        part = slice(3 * number, 3 * number + 3)
        rmse = math.sqrt(np.square(error[:, part])[hidden[:, part]].mean())
        assert result.overall[OI]["rmse"].value == pytest.approx(rmse, rel=1e-4)
        assert (
            json.loads((place / "evaluation.json").read_text())["provenance"]["variable"] == result.variable
        )
        assert (place / "figures" / "case.png").is_file()
        assert result.variable in (place / "evaluation.txt").read_text()
        assert 0.1 in result.density


def test_density_inversions_of_truth_oi_and_model_are_counted_once(
    joint: tuple[list[Evaluation], TrainedRun, Path],
) -> None:
    results, run, folder = joint
    counts = results[0].inversions
    assert {method.label for method in counts} >= {
        "truth",
        "OI",
        "standard, one sample",
        "standard, mean of 4",
    }
    batch = collate(list(run.data.validation_samples()))
    pairs = int((batch["ocean_mask"][:, :2] & batch["ocean_mask"][:, 1:3]).sum())
    assert counts[OI].pairs == pairs
    assert counts[Method(MODEL, "standard")].pairs == 4 * pairs
    assert not results[1].inversions
    written = json.loads((folder / "evaluation.json").read_text())["density_inversions"]
    assert written["OI"] == {"share": counts[OI].share, "pairs": pairs}
    rows = list(csv.DictReader((folder / "scores.csv").open()))
    shares = {row["method"]: float(row["value"]) for row in rows if row["score"] == "density_inversions"}
    assert shares["OI"] == counts[OI].share
    assert "Density inversions" in (folder / "evaluation.txt").read_text()
    assert "Density inversions" not in (folder / "salinity" / "evaluation.txt").read_text()


def test_a_run_of_profiles_alone_is_scored_at_withheld_ones_and_on_the_dense_truth(tmp_path: Path) -> None:
    sparse = (
        "data/masked_to=profiles", "data.masked_to.profiles.density=0.2", "model/objective=ambient",
        "data.validation_density=0.6", "data.profiles.density=[0.3,0.9]", "data.validation_patches=3",
        "model/first_guess=oi", "data.field.depths=3",
    )  # fmt: skip
    checkpoint = checkpoint_of(tmp_path / "run", *sparse)
    options = ("densities=[]", "ensemble_size=4", "bootstrap_samples=100")
    withheld, _ = evaluated(checkpoint, tmp_path / "withheld", *options)
    dense, run = evaluated(
        checkpoint,
        tmp_path / "dense",
        *options,
        "run_overrides=['data.masked_to=null','data.validation_density=0.1']",
    )
    assert withheld.truth.structure.spectra() is None
    assert not run.data.field.is_sparse
    best = Method(MODEL, "standard", 4)
    counts = [result.tallies[best].sums["count"].sum() for result in (withheld, dense)]
    assert 0 < counts[0] < 0.2 * counts[1]
    for result in (withheld, dense):
        assert 0 < result.overall[best]["rmse"].value < 2 * result.overall[OI]["rmse"].value

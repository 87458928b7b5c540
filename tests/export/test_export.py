"""A checkpoint becomes a folder that diffusers loads, or nothing at all."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch.nn.attention import SDPBackend, sdpa_kernel

import depthdif.export.export
from depthdif import UserError
from depthdif.checkpoints.trained_run import open_trained
from depthdif.config_folder import CONF
from depthdif.diffusion.ensemble import Ensemble
from depthdif.ema import load_weights
from depthdif.export.export import export
from depthdif.export.model_card import git_commit, scores_at, source
from depthdif.export.pipeline import OceanPipeline
from depthdif.training import train

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four steps with two averages."""
    folder = tmp_path_factory.mktemp("run")
    overrides = [
        "experiment=smoke",
        "model.ema.extra_decays=[0.5]",
        "trainer.max_steps=4",
        "trainer.val_check_interval=4",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "data.validation_patches=4",
        "callbacks.progress=null",
        "logger=csv",
        f"output_dir={folder}",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    train(cfg)
    return folder


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("export", overrides=list(overrides))


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    """The folder that an export makes with no option but the checkpoint."""
    return export(composed(f"checkpoint='{run / 'checkpoints' / 'last.ckpt'}'"))


@pytest.fixture
def compose_export(run: Path, tmp_path: Path) -> Compose:
    """`conf/export.yaml` as a user would compose it, for a folder of the test."""

    def compose_for(*overrides: str, checkpoint: Path = run / "checkpoints" / "last.ckpt") -> DictConfig:
        return composed(f"checkpoint='{checkpoint}'", f"output='{tmp_path / 'exported'}'", *overrides)

    return compose_for


@pytest.mark.parametrize("which", ["standard", "0.5"])
def test_the_export_holds_the_weights_that_were_chosen(
    run: Path, compose_export: Compose, which: str
) -> None:
    pipeline = OceanPipeline.from_pretrained(export(compose_export(f"which={which}")))
    expected = load_weights(run / "checkpoints" / "last.ckpt", which).state_dict
    assert all(torch.equal(tensor, expected[key]) for key, tensor in pipeline.module.state_dict().items())


def test_auto_takes_the_average_and_the_folder_lies_in_that_of_the_run(run: Path, exported: Path) -> None:
    assert exported == run / "export" / "ema"
    assert sorted(path.name for path in exported.parent.iterdir()) == ["ema"]
    expected = load_weights(run / "checkpoints" / "last.ckpt", "ema").state_dict
    state = OceanPipeline.from_pretrained(exported).module.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in state.items())


def test_the_card_shows_weights_region_scores_and_the_hash_of_the_checkpoint(
    run: Path, exported: Path
) -> None:
    card = ModelCard.load(exported / "README.md")
    logged = list(csv.DictReader((run / "metrics" / "metrics.csv").open()))
    (mse,) = [float(row["val_ema/recon_mse_full_recon"]) for row in logged if row["val/loss"]]
    metrics = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert metrics["mse"] == mse
    assert card.data.to_dict()["library_name"] == "diffusers"
    digest = hashlib.sha256((run / "checkpoints" / "last.ckpt").read_bytes()).hexdigest()
    for words in (
        digest,
        "EMA weights",
        "longitude [30, 110]",
        f"| EMA | {mse:.4f} |",
        "| weights | MSE °C² | CRPS °C |",
        "| predicts | sample |",
        "OptimalInterpolation",
    ):
        assert words in card.text
    assert str(run.parent) not in card.text
    config = OmegaConf.load(exported / "training_config.yaml")
    assert config.model.ema.extra_decays == [0.5]


def test_an_evaluation_of_the_checkpoint_goes_into_the_card(
    run: Path, compose_export: Compose, tmp_path: Path
) -> None:
    digest = hashlib.sha256((run / "checkpoints" / "last.ckpt").read_bytes()).hexdigest()
    record = {
        "provenance": {
            "checkpoint_sha256": digest,
            "patches": 24,
            "created": "2026-01-01",
            "seen_in_training": False,
            "run": {"data": {"validation_density": 0.05}},
        },
        "units": "°C",
        "overall": {"EMA, mean of 8": {"rmse": {"value": 0.6, "low": 0.5, "high": 0.7}}},
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(record))
    card = ModelCard.load(export(compose_export(f"evaluation='{tmp_path}'")) / "README.md")
    assert "24 patches of the validation region, 5 % of the ocean columns observed" in card.text
    assert "| method | RMSE |\n| --- | ---: |\n| EMA, mean of 8 | 0.600 (0.500, 0.700) |" in card.text
    metrics = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert metrics["rmse"] == 0.6


def test_a_card_without_logged_scores_has_none(tmp_path: Path, run: Path) -> None:
    assert scores_at(tmp_path / "metrics.csv", 4) == {}
    assert scores_at(run / "metrics" / "metrics.csv", 3) == {}
    assert set(scores_at(run / "metrics" / "metrics.csv", 4)) == {"first_guess", "standard", "ema", "ema_0.5"}


@pytest.mark.parametrize(
    ("data", "start"),
    [
        ({"path": "/data/glorys/*.nc"}, "*.nc"),
        ({"path": ["/data/a.nc", "s3://ocean/b.zarr"]}, "a.nc, b.zarr"),
        ({"path": {"_target_": "depthdif.data.field.sample_path"}}, "sample of depthdif: World Ocean Atlas"),
        (
            {"path": {"_target_": "depthdif.data.field.sample_path", "name": "eddies"}},
            "sample of depthdif: simulated",
        ),
        (
            {"field": {"_target_": "depthdif.data.synthetic.synthetic_field", "times": 4}},
            "synthetic_field (times 4)",
        ),
    ],
)
def test_the_card_shows_the_data_without_the_folders_of_the_machine(data: dict[str, Any], start: str) -> None:
    assert source(data).startswith(start)


def test_a_folder_that_is_no_repository_has_no_commit(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None


def test_an_existing_folder_is_replaced_only_with_overwrite(tmp_path: Path, compose_export: Compose) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists already; set overwrite=true"):
        export(compose_export())
    assert (tmp_path / "exported" / "notes.txt").read_text() == "mine"
    export(compose_export("overwrite=true"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported"]
    assert not (tmp_path / "exported" / "notes.txt").exists()


def test_a_failed_export_leaves_no_folder_under_its_name(
    tmp_path: Path, compose_export: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> str:
        raise OSError("no space left")

    with monkeypatch.context() as full:
        full.setattr(depthdif.export.export, "model_card", no_space)
        with pytest.raises(OSError, match="no space left"):
            export(compose_export())
    assert not (tmp_path / "exported").exists()
    export(compose_export())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported"]


def test_an_export_that_gives_other_numbers_is_not_put_in_place(
    tmp_path: Path, compose_export: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = OceanPipeline.reconstruct

    def with_an_error(*arguments: Any) -> Ensemble:
        ensemble = original(*arguments)
        return Ensemble(ensemble.members + np.float32(1e-3), ensemble.antithetic, ensemble.inflation)

    monkeypatch.setattr(OceanPipeline, "reconstruct", with_an_error)
    with pytest.raises(RuntimeError, match="reconstructs other numbers"):
        export(compose_export())
    assert not (tmp_path / "exported").exists()


def test_weights_that_the_checkpoint_lacks_are_one_error(compose_export: Compose) -> None:
    with pytest.raises(ValueError, match=r"which=0\.7: .* it holds standard, ema .*, ema_0\.5") as error:
        export(compose_export("which=0.7"))
    assert "\n" not in str(error.value)


def test_a_first_guess_of_another_package_cannot_be_exported(
    run: Path, compose_export: Compose, tmp_path: Path
) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    content["hyper_parameters"]["model"]["first_guess"] = {"_target_": "types.SimpleNamespace"}
    content["OceanDataModule"]["first_guess"] = {"kind": "SimpleNamespace", "settings": {}}
    torch.save(content, tmp_path / "foreign.ckpt")
    trusting = compose_export("+trusted._target_=types.SimpleNamespace", checkpoint=tmp_path / "foreign.ckpt")
    with pytest.raises(
        ValueError, match=r"model\.first_guess is types\.SimpleNamespace, which is not a part"
    ):
        export(trusting)


def test_the_mean_of_the_members_is_what_validation_scored(
    run: Path, exported: Path, compose_export: Compose
) -> None:
    """From files alone: the exported model scores what the run logged."""
    pipeline = OceanPipeline.from_pretrained(exported)
    batch = next(iter(open_trained(compose_export()).data.val_dataloader()))
    mean = pipeline.reconstruct(batch).mean
    truth = pipeline.conditioner.standardization.restore(batch["target"].numpy())
    mse = np.square(mean - truth)[batch["ocean_mask"].numpy()].mean()
    assert float(mse) == pytest.approx(scores_at(run / "metrics/metrics.csv", 4)["ema"]["mse"], rel=1e-5)


def test_the_precision_of_the_run_goes_into_the_export_unless_another_is_set(
    run: Path, compose_export: Compose, tmp_path: Path
) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    content["hyper_parameters"]["trainer"]["precision"] = "bf16-mixed"
    torch.save(content, tmp_path / "bfloat16.ckpt")
    # The fused attention in bfloat16 needs kernels that ATEN_CPU_CAPABILITY may have switched off.
    with sdpa_kernel(SDPBackend.MATH):
        in_bfloat16 = OceanPipeline.from_pretrained(
            export(compose_export(checkpoint=tmp_path / "bfloat16.ckpt"))
        )
        assert in_bfloat16.trained.precision == "bf16-mixed"
        card = ModelCard.load(Path(in_bfloat16.name_or_path) / "README.md")
        assert "| precision | bf16-mixed |" in card.text
        precise = export(
            compose_export("overwrite=true", "++precision=32-true", checkpoint=tmp_path / "bfloat16.ckpt")
        )
        in_float32 = OceanPipeline.from_pretrained(precise)
        assert in_float32.trained.precision == "32-true"
        batch = next(iter(open_trained(compose_export()).data.val_dataloader()))
        members = [pipeline.reconstruct(batch).members for pipeline in (in_bfloat16, in_float32)]
        assert not np.array_equal(*members, equal_nan=True)


def test_a_model_of_two_variables_tells_the_order_of_its_channels_and_the_scores_of_each(
    tmp_path: Path,
) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[
            "experiment=smoke", "data.field.salinity=true", "data.field.depths=3", "trainer.max_steps=2",
            "trainer.val_check_interval=2", "trainer.accelerator=cpu", "trainer.precision=32-true",
            "data.validation_patches=4", "callbacks.progress=null", "logger=csv", f"output_dir={tmp_path / 'run'}",
        ])  # fmt: skip
    train(cfg)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    for name, place in (("temperature", "evaluated"), ("salinity", "evaluated/salinity")):
        provenance = {
            "checkpoint_sha256": digest, "patches": 24, "created": "2026-01-01", "seen_in_training": False,
            "variable": name, "run": {"data": {"validation_density": 0.05}},
        }  # fmt: skip
        record = {
            "provenance": provenance,
            "units": "",
            "overall": {f"OI of {name}": {"rmse": {"value": 0.5}}},
        }
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "evaluation.json").write_text(json.dumps(record))
    folder = export(composed(f"checkpoint={checkpoint}"))
    card = (folder / "README.md").read_text()
    assert "# temperature and salinity from sparse profiles" in card
    assert "(6, H, W), NaN where not observed; the depths of temperature, then those of salinity" in card
    for expected in (
        "OI of temperature",
        "OI of salinity",
        "All variables together",
        "temperature (°C), salinity (no units)",
    ):
        assert expected in card
    pipeline = OceanPipeline.from_pretrained(folder)
    assert pipeline.variables == {"temperature": slice(0, 3), "salinity": slice(3, 6)}
    patch = np.full((6, 16, 16), np.nan, np.float32)
    patch[:, 4, 4] = [10, 9, 8, 35, 35, 35]
    axes = np.arange(16.0), np.arange(16.0)
    mean = pipeline(patch, np.full((1, 16, 16), np.nan), *axes, "2018-06-15", ensemble_size=1).mean
    assert mean.shape == (6, 16, 16)
    assert 20 < mean[pipeline.variables["salinity"]].mean() < 45
    with pytest.raises(UserError, match=r"expected \(6, 16, 16\) \(3 depths of temperature then salinity"):
        pipeline(patch[:3], None, *axes, "2018-06-15")

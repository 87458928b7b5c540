"""Every shipped YAML composes, and builds its object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger

from depthdif.build import build_module, resolved, settled
from depthdif.data.datamodule import OceanDataModule
from depthdif.data.synthetic import synthetic_field
from depthdif.diffusion.conditions import Domain
from depthdif.diffusion.denoiser import UNetDenoiser
from depthdif.ema import EMACallback
from depthdif.training import train

Compose = Callable[..., DictConfig]

CONF = Path(__file__).resolve().parents[1] / "conf"


def options(group: str) -> list[str]:
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    assert names, f"conf/{group} is empty"
    return names


@pytest.fixture
def ocean_file(tmp_path: Path) -> Path:
    field = synthetic_field(times=2, depths=3, height=40, width=80)
    dataset = field.target.rename("thetao").to_dataset()
    dataset["zos"] = field.surface[0].rename("zos")
    dataset.to_netcdf(tmp_path / "ocean.nc")
    return tmp_path / "ocean.nc"


def test_no_shipped_yaml_is_left_out_of_these_tests() -> None:
    here = {
        *(".", "callbacks", "experiment", "logger", "trainer", "trainer/length"),
        *("data", "data/validation", "data/climatology", "data/anomalies", "data/masked_to", "model"),
        *(
            f"model/{part}"
            for part in (
                *("conditions", "denoiser", "ema", "first_guess", "noise_schedule", "objective", "sampler"),
            )
        ),
    }
    # tests/test_command_line.py renders the help, tests/sweep/test_launchers.py starts launchers and sweeper.
    elsewhere = {"hydra/help", "hydra/job_logging", "hydra/launcher", "hydra/sweeper"}
    assert {str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")} == here | elsewhere


@pytest.mark.parametrize("name", [name for name in options(".") if name != "data_shared"])
def test_every_root_config_composes(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(name, return_hydra_config=True)
    assert cfg.hydra.job.name == name
    assert cfg.hydra.job_logging.root.handlers


@pytest.mark.parametrize("name", options("data"))
def test_every_data_config_has_the_shared_keys(compose_train: Compose, name: str) -> None:
    shared = OmegaConf.load(CONF / "data_shared.yaml").keys() - {"defaults"}
    shared |= {"climatology", "anomalies", "masked_to"}
    assert shared <= compose_train(f"data={name}").data.keys()


def profiles_overrides(path: Path) -> list[str]:
    """Writes profiles of a January in the Pacific, five of a window of 10 days in each patch, and how to train on them."""
    generator = np.random.default_rng(0)
    rows = ["platform,time,latitude,longitude,depth,TEMP"]
    for number in range(400):
        latitude, longitude = generator.uniform(-40, 40), generator.uniform(-170, -130)
        for depth in (0, 10, 20):
            rows.append(
                f"{number},2010-01-{1 + number % 30:02d},{latitude:.2f},{longitude:.2f},{depth},"
                f"{20 - depth / 10 + generator.normal():.2f}"
            )
    path.write_text("\n".join(rows) + "\n")
    return [
        f"data.observations={path}", "data.start=2010-01-01", "data.stop=2010-01-30", "data.max_depth=20",
        "data.validation.start=2010-01-21", "data.validation.stop=2010-01-30", "data.validation_patches=2",
    ]  # fmt: skip


@pytest.mark.parametrize("name", options("data"))
def test_every_data_config_builds_a_data_module(compose_train: Compose, ocean_file: Path, name: str) -> None:
    overrides = [f"data.path={ocean_file}", "data.patch_size=16"] if name == "glorys" else []
    if name == "profiles":
        overrides = profiles_overrides(ocean_file.with_name("profiles.csv"))
    if name == "synthetic_glorys":
        # All its months and eddies take a gigabyte.
        overrides = ["data.field.times=1", "data.field.eddies=10", "data.validation_patches=2"]
    data = instantiate(compose_train(f"data={name}", *overrides).data)
    assert isinstance(data, OceanDataModule)
    data.setup("fit")
    assert len(data.standardization.mean) == len(data.variables) * len(data.depths)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("box", ["data=woa"]),
        ("time_range", ["data.validation.start=2005-11", "data.validation.stop=2005-12"]),
        ("eddies_2006", []),
    ],
)
def test_every_way_to_hold_out_a_region_builds(
    compose_train: Compose, name: str, overrides: list[str]
) -> None:
    assert isinstance(instantiate(compose_train(f"data/validation={name}", *overrides).data), OceanDataModule)


@pytest.mark.parametrize("name", options("data/anomalies"))
def test_every_option_of_anomalies_builds(compose_train: Compose, name: str) -> None:
    anomalies = instantiate(compose_train(f"data/anomalies={name}").data.anomalies)
    assert (anomalies is None) == (name == "none")


@pytest.mark.parametrize("name", options("data/masked_to"))
def test_every_way_to_mask_a_field_builds(compose_train: Compose, name: str) -> None:
    masked_to = instantiate(compose_train(f"data/masked_to={name}").data.masked_to)
    assert (masked_to is None) == (name == "none")


@pytest.mark.parametrize("name", options("model/objective"))
def test_every_objective_builds(compose_train: Compose, name: str) -> None:
    objective = instantiate(compose_train(f"model/objective={name}").model.objective)
    assert (objective.sampled_columns is None) == (name == "default")
    assert objective.cell_weights.depths is None
    assert not objective.cell_weights.needs_coast_distance


def test_data_of_profiles_alone_choose_the_ambient_objective(compose_train: Compose) -> None:
    for name in ("eddies_from_profiles", "profiles"):
        objective = compose_train(f"data={name}").model.objective
        assert objective._target_ == "depthdif.diffusion.ambient.AmbientObjective"
    cfg = compose_train("data=eddies_from_profiles")
    assert cfg.model.first_guess == compose_train("data=eddies").model.first_guess


def test_the_climatology_with_anomalies_trains_about_it(compose_train: Compose, tmp_path: Path) -> None:
    cfg = compose_train(
        "data=woa_anomalies", "model/denoiser=unet_tiny", "trainer.max_steps=2", "trainer.val_check_interval=2",
        "data.batch_size=2", "data.validation_patches=2", "data.statistics_times=2", "data.num_workers=0",
        "model.sampler.steps=2", "logger=csv", "callbacks.progress=null", f"output_dir={tmp_path}",
    )  # fmt: skip
    assert (cfg.model.first_guess.background, cfg.model.conditions.background) == ("climatology", True)
    assert train(cfg) > 0


@pytest.mark.parametrize("name", options("data/climatology"))
def test_every_climatology_builds(compose_train: Compose, name: str) -> None:
    climatology = instantiate(compose_train(f"data/climatology={name}").data.climatology)
    assert (climatology is None) == (name == "none")


@pytest.mark.parametrize("name", options("model/first_guess"))
def test_every_first_guess_config_builds(compose_train: Compose, name: str) -> None:
    first_guess = instantiate(compose_train(f"model/first_guess={name}").model.first_guess)
    assert (first_guess is None) == (name == "none")


@pytest.mark.parametrize("root", ["train", "fit_first_guess"])
def test_a_data_option_chooses_its_first_guess_and_the_command_line_takes_precedence(root: str) -> None:
    def first_guess(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(root, list(overrides)).model.first_guess

    def option(name: str) -> DictConfig:
        return OmegaConf.load(CONF / f"model/first_guess/{name}.yaml")  # type: ignore[return-value]

    assert first_guess("data=eddies") == option("oi_eddies")
    assert first_guess("data=woa") == option("oi")
    assert first_guess("data=eddies", "model/first_guess=idw") == option("idw")
    assert first_guess("data=eddies", "model.first_guess.nugget=0.5").nugget == 0.5


@pytest.mark.parametrize("name", options("model/denoiser"))
def test_every_denoiser_builds(compose_train: Compose, name: str) -> None:
    cfg = compose_train(f"model/denoiser={name}").model
    domain = Domain(south=-60, north=60, west=0, period=360)
    denoiser = instantiate(cfg.denoiser)(3, 1, instantiate(cfg.conditions), domain)
    assert isinstance(denoiser, UNetDenoiser)


@pytest.mark.parametrize(
    ("override", "absolute_values"),
    [
        ("data/validation=box", False),
        ("data/validation=time_range", True),
    ],
)
def test_the_validation_region_chooses_the_conditions_and_the_command_line_wins(
    compose_train: Compose, override: str, absolute_values: bool
) -> None:
    dates = ["data.validation.start=2001", "data.validation.stop=2001"] if "time_range" in override else []
    assert compose_train(override, *dates).model.conditions.absolute_values is absolute_values
    chosen = "transferable" if absolute_values else "known_region"
    assert (
        compose_train(override, f"model/conditions={chosen}", *dates).model.conditions.absolute_values
        is not absolute_values
    )


@pytest.mark.parametrize("sampler", options("model/sampler"))
@pytest.mark.parametrize("schedule", options("model/noise_schedule"))
def test_every_noise_schedule_goes_with_every_sampler(
    compose_train: Compose, schedule: str, sampler: str
) -> None:
    cfg = compose_train("data=synthetic", "model/denoiser=unet_tiny", f"model/noise_schedule={schedule}",
                        f"model/sampler={sampler}", "output_dir=unused")  # fmt: skip
    data = instantiate(cfg.data)
    data.setup("fit")
    module = build_module(cfg, data)
    batch = next(iter(data.val_dataloader()))
    module.sampler.steps = 2
    assert module.reconstruct(batch).isfinite().all()


@pytest.mark.parametrize("name", options("model/ema"))
def test_every_ema_config_builds_the_callback(compose_train: Compose, name: str) -> None:
    fields = compose_train().model.ema.keys()
    cfg = settled(compose_train(f"model/ema={name}"))
    ema = OmegaConf.to_container(cfg.model.ema)
    assert isinstance(ema, dict)
    assert ema.keys() == fields
    enabled = ema.pop("enabled")
    assert enabled is (name != "default")
    assert isinstance(instantiate(ema), EMACallback)


def test_the_decays_of_a_sweep_in_one_run_surround_the_one_that_suits_its_length(
    compose_train: Compose,
) -> None:
    def decays(*overrides: str) -> tuple[float, list[float]]:
        ema = settled(compose_train("model/ema=sweep", *overrides)).model.ema
        return ema.decay, list(ema.extra_decays)

    assert decays("trainer.max_steps=1000") == (0.99, [0.961, 0.98, 0.995, 0.9975])
    assert decays("trainer.max_steps=2000", "model.ema.apply_every_n_steps=2") == decays(
        "trainer.max_steps=1000"
    )
    assert decays("trainer.max_steps=8", "model.ema.decay=0.99") == decays("trainer.max_steps=1000")
    assert decays("model.ema.decay.planned_updates=1000", "trainer.max_steps=-1") == decays(
        "trainer.max_steps=1000"
    )


def test_the_default_ema_fields_are_those_of_the_contract(compose_train: Compose) -> None:
    ema = compose_train().model.ema
    contract = {
        "enabled": False,
        "decay": 0.9999,
        "apply_every_n_steps": 1,
        "start_step": 0,
        "save_ema_weights_in_callback_state": True,
        "evaluate_ema_weights_instead": True,
    }
    assert {name: ema[name] for name in contract} == contract


@pytest.mark.parametrize("name", options("trainer"))
def test_every_trainer_config_builds(compose_train: Compose, name: str, tmp_path: Path) -> None:
    gpu = ["trainer.accelerator=cpu"] if name == "gpu" and not torch.cuda.is_available() else []
    cfg = compose_train(f"trainer={name}", f"output_dir={tmp_path}", *gpu)
    assert isinstance(instantiate(cfg.trainer, logger=False, callbacks=[]), Trainer)


def test_the_devices_of_slurm_are_those_of_its_job(
    compose_train: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    monkeypatch.setenv("SLURM_NNODES", "2")
    trainer = compose_train("trainer=slurm").trainer
    assert (trainer.devices, trainer.num_nodes, trainer.strategy) == (4, 2, "ddp")


@pytest.mark.parametrize("length", options("trainer/length"))
def test_every_length_is_chosen_apart_from_the_devices(compose_train: Compose, length: str) -> None:
    trainer = compose_train("trainer=ddp", f"trainer/length={length}", "trainer.devices=2").trainer
    assert trainer.strategy == "ddp"
    assert trainer.max_steps == OmegaConf.load(CONF / f"trainer/length/{length}.yaml").max_steps


def test_a_data_option_chooses_the_length_whatever_the_devices(compose_train: Compose) -> None:
    for trainer in options("trainer"):
        assert compose_train("data=woa", f"trainer={trainer}").trainer.max_steps == 600
    assert compose_train("data=woa", "trainer=ddp", "trainer/length=default").trainer.max_steps == 1500


@pytest.mark.parametrize("name", options("callbacks"))
def test_every_callback_builds(compose_train: Compose, name: str, tmp_path: Path) -> None:
    cfg = compose_train(f"callbacks={name}", f"output_dir={tmp_path}")
    assert all(isinstance(instantiate(callback), Callback) for callback in cfg.callbacks.values())


@pytest.mark.parametrize("name", options("logger"))
def test_every_logger_config_builds_and_keeps_a_csv(
    compose_train: Compose, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    cfg = compose_train(f"logger={name}", f"output_dir={tmp_path}")
    assert "csv" in cfg.logger
    assert all(isinstance(instantiate(logger), Logger) for logger in cfg.logger.values())


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_trains(compose_train: Compose, name: str, tmp_path: Path) -> None:
    cfg = compose_train(
        f"experiment={name}", f"output_dir={tmp_path}", "logger=csv", "callbacks.progress=null"
    )
    assert train(cfg) > 0


def test_the_whole_config_resolves(compose_train: Compose) -> None:
    assert resolved(compose_train("output_dir=somewhere"))["model"]["seed"] == 0

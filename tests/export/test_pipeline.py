"""The exported pipeline gives the numbers of the trained module, from a folder alone, in physical units."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from omegaconf import DictConfig

from depthdif.build import build_data, build_module
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.reconstruction import reconstruct
from depthdif.export.pipeline import ModelDescription, OceanPipeline

Config = Callable[..., DictConfig]
Built = tuple[DiffusionModule, OceanDataModule, OceanPipeline]


@pytest.fixture(scope="module")
def exports() -> dict[tuple[str, ...], tuple[DiffusionModule, OceanDataModule, Path]]:
    """What was built already, by its overrides."""
    return {}


@pytest.fixture
def built(
    exports: dict[tuple[str, ...], tuple[DiffusionModule, OceanDataModule, Path]],
    small_run: Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Built]:
    """A module with random weights, its data, and the pipeline that was saved of it and loaded."""

    def build(*overrides: str) -> Built:
        if overrides not in exports:
            torch.manual_seed(0)
            cfg = small_run(*overrides)
            data = build_data(cfg)
            module = build_module(cfg, data).eval()
            # As after training: a new denoiser answers 0 to everything.
            torch.nn.init.normal_(module.denoiser.unet.conv_out.weight, std=0.1)
            folder = tmp_path_factory.mktemp("export")
            OceanPipeline.from_module(
                module, ModelDescription.from_config(cfg, data.state_dict(), "32-true")
            ).save_pretrained(folder)
            exports[overrides] = module, data, folder
        module, data, folder = exports[overrides]
        return copy.deepcopy(module), data, OceanPipeline.from_pretrained(folder)

    return build


def changed(pipeline: OceanPipeline, folder: Path, part: str, content: dict[str, Any]) -> Path:
    """A copy of the folder of a pipeline with other content of a part of its model."""
    shutil.copytree(pipeline.name_or_path, folder)
    described = json.loads((folder / "ocean.json").read_text())
    described["config"]["model"][part] |= content
    (folder / "ocean.json").write_text(json.dumps(described))
    return folder


OI = ("model/first_guess=oi", "model.sampler.ensemble_size=4", "model.sampler.antithetic=true")
ABOUT_CLIMATOLOGY = (
    "model/first_guess=oi",
    "model.first_guess.background=climatology",
    "model.first_guess.regressions=true",
    "data/climatology=seasonal",
    "data.climatology.harmonics=0",
    "data/validation=time_range",
    "data.validation.start=2000-04",
    "data.validation.stop=2000-04",
)


def physical(data: OceanDataModule, number: int) -> dict[str, Any]:
    """A validation patch as a user has it: arrays in units of the field, NaN where nothing is known."""
    sample = data.val_dataloader().dataset[number]
    field = np.where(sample["ocean_mask"], data.standardization.restore(sample["target"]), np.nan)
    surface = data.statistics.surface_standardization.restore(sample["surface"])
    return {
        "observations": np.where(sample["observed_mask"], field, np.nan),
        "surface": np.where(sample["surface_mask"], surface, np.nan),
        "latitude": sample["latitude"],
        "longitude": sample["longitude"],
        "date": np.datetime64(int(sample["time"]), "D"),
        "ocean_mask": sample["ocean_mask"],
    }


@pytest.mark.parametrize(
    "overrides",
    [
        OI,
        ABOUT_CLIMATOLOGY,
        (),
        ("model/sampler=ddpm", "model.sampler.steps=3", "model.sampler.clamp_observations=true"),
    ],
    ids=["residual_of_oi", "about_the_climatology", "field_itself", "stochastic_and_clamped"],
)
def test_a_loaded_pipeline_reconstructs_the_numbers_of_the_module_bit_for_bit(
    built: Callable[..., Built], overrides: tuple[str, ...]
) -> None:
    module, data, pipeline = built(*overrides)
    batch = next(iter(data.val_dataloader()))
    expected = reconstruct(module, batch, data.standardization).members
    assert np.nanstd(expected) > 0
    np.testing.assert_array_equal(pipeline.reconstruct(batch).members, expected)
    # A chain leaves nothing behind.
    np.testing.assert_array_equal(pipeline.reconstruct(batch).members, expected)


@pytest.mark.parametrize("noise", ["null", "20"])
@pytest.mark.parametrize("overrides", [OI, ABOUT_CLIMATOLOGY], ids=["oi", "about_the_climatology"])
def test_a_patch_in_physical_units_gives_what_its_batch_gives(
    built: Callable[..., Built], overrides: tuple[str, ...], noise: str
) -> None:
    module, data, pipeline = built(*overrides, *OI[1:], f"model.sampler.time_correlated_noise={noise}")
    batch = next(iter(data.val_dataloader()))
    expected = data.standardization.restore(module.reconstruct(batch))[2].numpy()
    patch = physical(data, 2)
    ocean = patch["ocean_mask"]
    reconstruction = pipeline(**patch, index=2)
    assert reconstruction.samples.dtype == np.float32
    # The way to physical units and back costs the last bits of the observations.
    np.testing.assert_allclose(reconstruction.samples[:, ocean], expected[:, ocean], rtol=0, atol=1e-4)
    assert np.isnan(reconstruction.samples[:, ~ocean]).all()
    np.testing.assert_array_equal(reconstruction.mean, reconstruction.samples.mean(axis=0))
    # Of each pair of antithetic members one is independent.
    spread = (
        module.sampler.inflation * np.abs(reconstruction.samples[0] - reconstruction.samples[2]) / np.sqrt(2)
    )
    np.testing.assert_allclose(reconstruction.std, spread, rtol=1e-4, atol=1e-5)


def test_a_single_member_has_no_spread(built: Callable[..., Built]) -> None:
    _, data, pipeline = built()
    assert pipeline(**physical(data, 0)).std is None


def test_the_unet_and_the_scheduler_load_with_diffusers_alone(built: Callable[..., Built]) -> None:
    module, _, pipeline = built()
    folder = Path(pipeline.name_or_path)
    unet = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    expected = module.denoiser.unet.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in unet.state_dict().items())
    scheduler = DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
    assert torch.equal(scheduler.betas, module.noise_schedule.betas)
    assert scheduler.config.prediction_type == module.noise_schedule.config.prediction_type


def test_the_reverse_chain_can_be_set_as_in_diffusers(built: Callable[..., Built]) -> None:
    module, data, pipeline = built()
    batch = next(iter(data.val_dataloader()))
    as_trained = pipeline.reconstruct(batch).members
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    # Spacing is one of the settings that diffusers carries over from scheduler to scheduler.
    module.sampler.scheduler = partial(DDIMScheduler.from_config, timestep_spacing="linspace")
    module.sampler.steps, module.sampler.seed = 5, 3
    expected = reconstruct(module, batch, data.standardization).members
    np.testing.assert_array_equal(pipeline.reconstruct(batch, steps=5, seed=3).members, expected)
    assert not np.array_equal(expected, as_trained, equal_nan=True)
    with pytest.raises(ValueError, match="steps is 0: expected at least 1"):
        pipeline.reconstruct(batch, steps=0)


def test_a_date_may_be_written_in_every_usual_way(built: Callable[..., Built]) -> None:
    _, data, pipeline = built()
    patch = {name: value for name, value in physical(data, 0).items() if name != "date"}
    written = ("2000-02-15", date(2000, 2, 15), np.datetime64("2000-02-15T12:00", "ns"))
    assert {float(pipeline.conditions(**patch, date=day)["day_of_year"]) for day in written} == {46.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations": lambda field: field[:-1]}, r"observations has the shape .*\(8 depths"),
        ({"surface": lambda _: None}, r"surface has the shape \(0, 16, 16\); expected \(1, 16, 16\)"),
        ({"latitude": lambda degrees: degrees[::-1]}, "latitude does not ascend"),
        ({"latitude": lambda degrees: degrees + 180}, "latitude is outside of -90 to 90"),
        ({"longitude": lambda degrees: degrees[1:]}, "longitude has the shape"),
        (
            {"ocean_mask": np.zeros_like},
            r"\d+ observations are outside ocean_mask; expected NaN",
        ),
        ({"observations": lambda field: np.where(np.isnan(field), np.inf, field)}, "infinite values"),
        ({"date": lambda _: "midsummer"}, "midsummer"),
    ],
)
def test_a_patch_that_does_not_fit_is_one_error(
    built: Callable[..., Built], change: dict[str, Callable[[Any], Any]], message: str
) -> None:
    _, data, pipeline = built()
    patch = physical(data, 0)
    with pytest.raises(ValueError, match=message) as error:
        pipeline(**{name: change.get(name, lambda kept: kept)(value) for name, value in patch.items()})
    assert "\n" not in str(error.value)


def test_code_that_only_the_folder_specifies_is_not_run(built: Callable[..., Built], tmp_path: Path) -> None:
    _, _, pipeline = built()
    folder = changed(pipeline, tmp_path / "wicked", "objective", {"_target_": "os.getcwd"})
    with pytest.raises(ValueError, match=r"uses os\.getcwd, which is not a part of depthdif"):
        OceanPipeline.from_pretrained(folder)


def test_weights_of_another_architecture_are_one_error(built: Callable[..., Built], tmp_path: Path) -> None:
    _, _, pipeline = built()
    folder = changed(pipeline, tmp_path / "other", "denoiser", {"block_out_channels": [8, 16, 16]})
    with pytest.raises(ValueError, match="of another architecture") as error:
        OceanPipeline.from_pretrained(folder)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_export_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a folder written by python scripts/export\.py"):
        OceanPipeline.from_pretrained(tmp_path)

"""Bad input, end to end with the real classes: one clear error or the fallback of the documentation, never NaN in an output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from depthdif import UserError
from depthdif.build import build_data, build_module
from depthdif.checkpoints.trained_run import open_trained
from depthdif.data.datamodule import OceanDataModule
from depthdif.data.dataset import Conditioner, collate
from depthdif.data.synthetic import synthetic_field
from depthdif.diffusion.module import TRAINING, DiffusionModule
from depthdif.training import train

Config = Callable[..., DictConfig]

FIRST_GUESSES = ("none", "idw", "oi")


def ocean() -> xr.Dataset:
    """A small ocean as a file would hold it."""
    field = synthetic_field(times=2, depths=4, height=40, width=80)
    return xr.merge([field.target, field.surface[0]])


@pytest.fixture
def write(tmp_path: Path) -> Callable[[xr.Dataset, str], list[str]]:
    """Writes a data set, and returns the overrides that train on it."""

    def written(dataset: xr.Dataset, name: str) -> list[str]:
        dataset.to_netcdf(tmp_path / name)
        return [
            "data=glorys",
            f"data.path='{tmp_path / name}'",
            f"data.variable={next(str(key) for key, array in dataset.items() if 'depth' in array.dims)}",
            f"data.surface=[{','.join(str(key) for key, array in dataset.items() if 'depth' not in array.dims)}]",
            "data.num_workers=0",
        ]

    return written


def built(cfg: DictConfig) -> tuple[OceanDataModule, DiffusionModule]:
    data = build_data(cfg)
    torch.manual_seed(0)
    module = build_module(cfg, data).eval()
    # The last layer of a new U-Net: not small, so that an output shows what went in.
    torch.nn.init.normal_(module.denoiser.unet.conv_out.weight)  # type: ignore[union-attr, arg-type]
    return data, module


def patch_with(
    cfg: DictConfig, data: OceanDataModule, observe: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Tensor]:
    """The first validation patch, as prediction would condition it, observed where `observe` of its ocean mask says."""
    sample = data.val_dataloader().dataset[0]
    ocean_mask = sample["ocean_mask"]
    surface = data.statistics.surface_standardization.restore(sample["surface"])
    conditions = Conditioner(data.standardization, data.statistics.surface_standardization)(
        np.where(observe(ocean_mask), data.standardization.restore(sample["target"]), np.nan),
        np.where(sample["surface_mask"], surface, np.nan),
        ocean_mask,
        sample["latitude"],
        sample["longitude"],
        sample["day_of_year"],
    )
    patch = {**conditions, "target": sample["target"], "target_mask": ocean_mask, "index": np.int64(0)}
    return collate([patch], instantiate(cfg.model.first_guess))


def nothing(ocean_mask: np.ndarray) -> np.ndarray:
    return np.zeros_like(ocean_mask)


def one_cell(ocean_mask: np.ndarray) -> np.ndarray:
    observed = nothing(ocean_mask)
    observed[tuple(np.argwhere(ocean_mask)[0])] = True
    return observed


def one_column(ocean_mask: np.ndarray) -> np.ndarray:
    _, row, column = np.argwhere(ocean_mask)[-1]
    observed = nothing(ocean_mask)
    observed[:, row, column] = ocean_mask[:, row, column]
    return observed


def no_level_but_the_second(ocean_mask: np.ndarray) -> np.ndarray:
    observed = nothing(ocean_mask)
    observed[1, ::4, ::4] = ocean_mask[1, ::4, ::4]
    return observed


def everything(ocean_mask: np.ndarray) -> np.ndarray:
    return ocean_mask


@pytest.mark.parametrize("first_guess", FIRST_GUESSES)
@pytest.mark.parametrize("observe", [nothing, one_cell, one_column, no_level_but_the_second, everything])
def test_however_few_observations_there_are_the_reconstruction_is_finite(
    small_run: Config, observe: Callable[[np.ndarray], np.ndarray], first_guess: str
) -> None:
    cfg = small_run("data.field.depths=4", "data.field.times=1", f"model/first_guess={first_guess}")
    data, module = built(cfg)
    batch = patch_with(cfg, data, observe)
    sample = module.reconstruct(batch)[:, 0]
    assert sample.isfinite().all()
    assert sample[batch["ocean_mask"]].abs().min() > 0
    assert (sample[~batch["ocean_mask"]] == 0).all()
    assert all(part.isfinite().all() for part in module.errors(batch, TRAINING))
    if first_guess != "none":
        unobserved = ~batch["observed_mask"].any(dim=(2, 3))
        assert (batch["first_guess"][unobserved] == 0).all()  # the training mean
        assert torch.equal(batch["first_guess_error"][unobserved], batch["ocean_mask"][unobserved].float())


@pytest.mark.parametrize("first_guess", FIRST_GUESSES)
def test_a_field_without_surface_variables_trains(
    small_run: Config, tmp_path: Path, write: Callable[..., list[str]], first_guess: str
) -> None:
    cfg = small_run(*write(ocean().drop_vars("sst"), "ocean.nc"), f"model/first_guess={first_guess}",
                    "data.patch_size=16", "trainer.max_steps=1", "logger=csv")  # fmt: skip
    assert np.isfinite(train(cfg))


@pytest.mark.parametrize("first_guess", FIRST_GUESSES)
def test_a_surface_variable_that_is_missing_throughout_a_patch_is_no_nan(
    small_run: Config, write: Callable[..., list[str]], first_guess: str
) -> None:
    dataset = ocean()
    dataset["sst"] = dataset["sst"].where((dataset["longitude"] < 20) | (dataset["longitude"] > 120))
    cfg = small_run(*write(dataset, "ocean.nc"), f"model/first_guess={first_guess}", "data.patch_size=16")
    data, module = built(cfg)
    batch = next(iter(data.val_dataloader()))
    assert not batch["surface_mask"].any()
    assert module.reconstruct(batch).isfinite().all()


def test_a_level_that_is_never_defined_in_training_says_how_to_leave_it_out(
    small_run: Config, write: Callable[..., list[str]]
) -> None:
    dataset = ocean()
    dataset["temperature"] = dataset["temperature"].where(dataset["depth"] < 500)
    cfg = small_run(*write(dataset, "ocean.nc"), "data.patch_size=16")
    with pytest.raises(ValueError, match=r"never defined at 1000 m.*data\.max_depth=444\.4"):
        train(cfg)


@pytest.mark.parametrize("first_guess", FIRST_GUESSES)
def test_an_observation_on_land_is_one_error(small_run: Config, first_guess: str) -> None:
    cfg = small_run("data.field.depths=4", "data.field.times=1", f"model/first_guess={first_guess}")
    data, module = built(cfg)
    with pytest.raises(ValueError, match=r"outside the ocean.*subset of ocean_mask") as error:
        module.reconstruct(patch_with(cfg, data, np.ones_like))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("first_guess", FIRST_GUESSES)
@pytest.mark.parametrize("name", ["observations", "surface"])
def test_nan_in_a_batch_is_one_error_and_no_nan_in_the_output(
    small_run: Config, name: str, first_guess: str
) -> None:
    cfg = small_run("data.field.depths=4", "data.field.times=1", f"model/first_guess={first_guess}")
    data, module = built(cfg)
    batch = patch_with(cfg, data, one_column)
    mask = batch["observed_mask" if name == "observations" else "surface_mask"]
    batch[name] = torch.where(mask, torch.nan, batch[name])
    with pytest.raises(ValueError, match=rf"{int(mask.sum())} values of {name} are NaN or infinite"):
        module.reconstruct(batch)


@pytest.fixture
def trained(small_run: Config, tmp_path: Path, write: Callable[..., list[str]]) -> Path:
    """The checkpoint of a run on `ocean` with inverse distance weighting."""
    train(small_run(*write(ocean(), "ocean.nc"), "model/first_guess=idw", "data.patch_size=16",
                    "trainer.max_steps=1", "logger=csv", name="first"))  # fmt: skip
    return tmp_path / "first/checkpoints/last.ckpt"


def options(checkpoint: Path, *run_overrides: str) -> DictConfig:
    """What a script gives to `open_trained`."""
    return OmegaConf.create({"checkpoint": str(checkpoint), "run_overrides": [*run_overrides]})


def in_kelvin(dataset: xr.Dataset, name: str) -> xr.Dataset:
    return dataset.assign({name: (dataset[name] + 273.15).assign_attrs(units="K")})


OTHERS: dict[str, tuple[Callable[[xr.Dataset], xr.Dataset], str]] = {
    "variable": (lambda data: data.rename(temperature="thetao"), "no variable|data.variable=temperature"),
    "depths": (lambda data: data.isel(depth=[0, 1, 3]), "trained on 4 depths from 0 to 1000 m, the data have 3"),
    "units": (lambda data: in_kelvin(data, "temperature"), "temperature in degree_Celsius, the data have it in K"),
    "units_of_surface": (lambda data: in_kelvin(data, "sst"), "sst in degree_Celsius, the data have it in K"),
    "no_surface": (lambda data: data.drop_vars("sst"), r"sst"),
}  # fmt: skip


def check_refused(error: pytest.ExceptionInfo[Exception]) -> None:
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_checkpoint_is_refused_with_other_data_when_opened_and_when_resumed(
    small_run: Config, trained: Path, tmp_path: Path, write: Callable[..., list[str]]
) -> None:
    for kind, (change, message) in OTHERS.items():
        overrides = write(change(ocean()), f"{kind}.nc")
        path = next(override for override in overrides if override.startswith("data.path="))
        with pytest.raises(ValueError, match=message) as error:
            open_trained(options(trained, "data=glorys", *overrides, "data.patch_size=16"))
        check_refused(error)
        with pytest.raises(ValueError, match=message) as error:
            open_trained(options(trained, path))
        check_refused(error)
        with pytest.raises(ValueError, match=message) as error:
            train(small_run(*overrides, "model/first_guess=idw", "data.patch_size=16", "logger=csv",
                            f"resume='{trained}'", "trainer.max_steps=2", name=f"second_{kind}"))  # fmt: skip
        check_refused(error)
        assert not (tmp_path / f"second_{kind}").exists()


def test_units_that_are_spelled_otherwise_open(trained: Path, write: Callable[..., list[str]]) -> None:
    dataset = ocean()
    for array in dataset.values():
        array.attrs["units"] = "degC"
    path = next(key for key in write(dataset, "degC.nc") if key.startswith("data.path="))
    run = open_trained(options(trained, path))
    assert run.module.reconstruct(next(iter(run.data.val_dataloader()))).isfinite().all()


@pytest.mark.parametrize(
    ("option", "message"),
    [("none", "InverseDistance, the data have none; set model/first_guess=idw"), ("oi", "set model/first_guess=idw")],
)  # fmt: skip
def test_a_checkpoint_is_refused_with_another_first_guess_when_opened_and_when_resumed(
    small_run: Config, trained: Path, tmp_path: Path, option: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        open_trained(options(trained, f"model/first_guess={option}"))
    check_refused(error)
    data = ("data=glorys", f"data.path='{tmp_path / 'ocean.nc'}'", "data.variable=temperature",
            "data.surface=[sst]", "data.num_workers=0", "data.patch_size=16")  # fmt: skip
    with pytest.raises(ValueError, match=message) as error:
        train(small_run(*data, f"model/first_guess={option}", f"resume='{trained}'", "trainer.max_steps=2",
                        "logger=csv", name="second"))  # fmt: skip
    check_refused(error)
    assert not (tmp_path / "second").exists()


def test_another_setting_of_the_first_guess_is_refused_with_the_value_to_type(trained: Path) -> None:
    with pytest.raises(ValueError, match=r"than power=2\.5; set model\.first_guess\.power=4\.89$") as error:
        open_trained(options(trained, "model/first_guess=idw", "model.first_guess.power=2.5"))
    check_refused(error)


def test_a_batch_of_other_depths_than_trained_is_one_error(
    small_run: Config, make_batch: Callable[..., Any]
) -> None:
    _, module = built(small_run("data.field.depths=4", "data.field.times=1"))
    with pytest.raises(ValueError, match="the batch has 3 depths, but the model was trained on 4"):
        module.reconstruct(make_batch())


def test_an_optimizer_that_does_not_take_a_value_of_the_config_is_named_with_what_to_remove(
    small_run: Config,
) -> None:
    radam = ("logger=csv", "trainer.max_steps=1", "model.optimizer._target_=torch.optim.RAdam")
    with pytest.raises(UserError, match=r"'fused'; remove .* such as ~model\.optimizer\.fused"):
        train(small_run(*radam))
    assert train(small_run(*radam, "~model.optimizer.fused")) > 0

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint

from depthdif import UserError
from depthdif.config_folder import CONF, config_groups
from depthdif.data.anomalies import SimulatedAnomalies
from depthdif.data.datamodule import OceanDataModule
from depthdif.data.field import OceanField, open_field, sample_path
from depthdif.data.normalization import measure
from depthdif.data.patches import Box, TimeRange
from depthdif.data.profiles import ProfileSampler
from depthdif.data.synthetic import synthetic_field
from depthdif.first_guess.climatology_fit import ClimatologyFit
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation

# Lightning's advice on a resumed run whose ModelCheckpoint was left out, which is what these tests want.
pytestmark = pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*")

FIELD = synthetic_field(times=3, depths=4, height=20, width=40)
VALIDATION = Box(longitude=(-120, 0))


def module(field: OceanField = FIELD, **options: Any) -> OceanDataModule:
    small: dict[str, Any] = {
        "validation": VALIDATION,
        "patch_size": 6,
        "batch_size": 2,
        "patches_per_epoch": 8,
        "validation_patches": 6,
    }
    return OceanDataModule(field, **(small | options))


def ready(**options: Any) -> OceanDataModule:
    data = module(**options)
    data.setup()
    return data


def same(first: Sequence[dict[str, torch.Tensor]], other: Sequence[dict[str, torch.Tensor]]) -> bool:
    return len(first) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(first, other, strict=True)
    )


class Recorder(pl.LightningModule):
    """Records the draws it is trained on; fails before a step."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.fail_at = fail_at
        self.seen: list[list[int]] = []

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        if self.global_step == self.fail_at:
            raise InterruptedError
        self.seen.append(batch["index"].tolist())
        return self.layer(batch["target"].mean().reshape(1)).sum()

    def validation_step(self, *_: Any) -> None:
        """Nothing: only that the loop runs."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


def fit(
    data: OceanDataModule,
    model: Recorder,
    *callbacks: pl.Callback,
    resume: Path | None = None,
    **options: Any,
) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(model, data, ckpt_path=resume, weights_only=True)
    return trainer


def test_shipped_sample_gives_batches(compose_train: Callable[..., DictConfig]) -> None:
    data = instantiate(compose_train("data=woa").data, _convert_="all")
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["target"].shape == (16, 19, 32, 32)
    assert batch["surface"].shape == (16, 1, 32, 32)
    assert data.surface_channels == 1
    np.testing.assert_array_equal(data.depths[:3], [0, 10, 20])
    values = batch["target"][batch["ocean_mask"]]
    assert values.abs().max() < 10
    assert 0.3 < values.std() < 3


@pytest.mark.parametrize("name", ["synthetic", "synthetic_glorys"])
def test_shipped_synthetic_data_can_be_built(compose_train: Callable[..., DictConfig], name: str) -> None:
    config = compose_train(f"data={name}", "data.field.times=1").data
    if name == "synthetic_glorys":
        config.field.update(depths=2, eddies=2)
    data = instantiate(config, _convert_="all")
    assert data.patch_size == ((128, 128) if name == "synthetic_glorys" else (16, 16))


def test_own_files_are_read_by_the_glorys_config(
    compose_train: Callable[..., DictConfig], tmp_path: Path
) -> None:
    target = FIELD.target.rename("thetao").assign_attrs(standard_name="sea_water_potential_temperature")
    target.to_dataset().assign(zos=FIELD.surface[0]).to_netcdf(tmp_path / "glorys.nc")
    config = compose_train(
        "data=glorys",
        f"data.path='{tmp_path}/*.nc'",
        "data.patch_size=6",
        "data/validation=time_range",
        "data.validation.start=2000-03",
        "data.validation.stop=2000-03",
    ).data
    data = instantiate(config, _convert_="all")
    assert (data.field.variable, data.field.surface_names) == ("thetao", ("zos",))
    assert not isinstance(data.field.target.variable._data, np.ndarray)


def test_data_configs_have_the_same_keys_in_the_same_order(compose_train: Callable[..., DictConfig]) -> None:
    woa, *others = (compose_train(f"data={name}").data for name in ("woa", "glorys", "eddies"))
    assert all(list(other) == list(woa) for other in others)
    synthetic = list(compose_train("data=synthetic").data)
    assert [key for key in woa if key in synthetic] == [key for key in synthetic if key != "field"]


def test_the_shared_keys_of_the_data_configs_are_no_option_and_are_not_repeated() -> None:
    assert config_groups()["data"] == [
        *("eddies", "eddies_from_profiles", "glorys", "profiles", "synthetic", "synthetic_glorys"),
        *("woa", "woa_anomalies", "woa_salinity"),
    ]
    shared = OmegaConf.load(CONF / "data_shared.yaml")
    for name in config_groups()["data"]:
        option = OmegaConf.load(CONF / f"data/{name}.yaml")
        based_on_it = "/data_shared@_here_" in option.defaults
        assert based_on_it == (name not in ("eddies_from_profiles", "synthetic_glorys"))
        assert not [key for key in option if based_on_it and key in shared and option[key] == shared[key]]


def test_errors_of_observation_are_in_the_observations_alone_also_in_validation() -> None:
    exact, noisy = (ready(profiles=ProfileSampler(0.1, 0.5, error=error)) for error in (0.0, 0.4))
    for loader in ("train_dataloader", "val_dataloader"):
        for clean, sample in zip(getattr(exact, loader)(), getattr(noisy, loader)(), strict=True):
            assert [key for key in clean if not torch.equal(clean[key], sample[key])] == ["observations"]
    observed = torch.cat([batch["observed_mask"] for batch in noisy.val_dataloader()])
    difference = torch.cat(
        [batch["observations"] - batch["target"] * batch["observed_mask"] for batch in noisy.val_dataloader()]
    )
    scale = torch.as_tensor(noisy.standardization.std)[:, None, None]
    error = (difference * scale)[observed]
    assert 0.2 < error.std() < 0.6
    assert not difference[~observed].any()


def test_validation_profiles_have_the_gaps_of_training() -> None:
    data = ready(profiles=ProfileSampler(0.1, 0.0, few_levels_fraction=1.0))
    for density in (None, 0.5):
        samples = data.validation_samples(density)
        levels = np.stack([samples[i]["observed_mask"].sum(0) for i in range(len(samples))])
        assert set(np.unique(levels)) <= {0, 1, 2, 3}


def test_validation_set_is_the_same_every_epoch_and_run() -> None:
    data = ready()
    first = list(data.val_dataloader())
    assert same(first, list(data.val_dataloader()))
    assert same(first, list(ready(batch_size=2, profiles=ProfileSampler((0.5, 0.9))).val_dataloader()))
    assert not same(first, list(ready(seed=1).val_dataloader()))


def test_anomalies_of_training_and_validation_are_fixed_by_seed_and_draw_whatever_is_observed() -> None:
    plain = ready()
    sparse, dense = (
        ready(anomalies=SimulatedAnomalies(), profiles=ProfileSampler(density), validation_density=density)
        for density in (0.05, 0.5)
    )
    for loader in ("train_dataloader", "val_dataloader"):
        batches = list(getattr(sparse, loader)())
        assert same(batches, list(getattr(sparse, loader)()))
        others = getattr(dense, loader)()
        for batch, other, unchanged in zip(batches, others, getattr(plain, loader)(), strict=True):
            assert torch.equal(batch["target"], other["target"])
            assert not torch.equal(batch["observed_mask"], other["observed_mask"])
            assert torch.equal(batch["ocean_mask"], unchanged["ocean_mask"])
            difference = batch["target"] - unchanged["target"]
            assert difference[batch["ocean_mask"]].std() > 0.01
            assert not difference[~batch["ocean_mask"]].any()
    first, again = sparse.validation_samples()[0]["target"], sparse.validation_samples(0.5)[0]["target"]
    assert np.array_equal(first, again)


def test_validation_set_has_distinct_patches_at_balanced_times() -> None:
    data = ready(validation_patches=12)
    patches = data._validation_patches
    assert len({(patch.row, patch.column) for patch in patches}) == 12
    assert np.bincount([patch.time for patch in patches]).tolist() == [4, 4, 4]


def test_workers_change_nothing() -> None:
    alone, helped = ready(), ready(num_workers=2)
    assert same(list(alone.train_dataloader()), list(helped.train_dataloader()))
    assert same(list(alone.val_dataloader()), list(helped.val_dataloader()))


def test_the_first_guess_is_made_where_a_batch_is_loaded_on_a_cpu_and_after_the_transfer_elsewhere() -> None:
    first_guess = OptimalInterpolation(900.0, 2000.0, 2.0, 0.1)
    data = ready(first_guess=first_guess)
    (loaded, *_), device = data.val_dataloader(), torch.device("cpu")
    assert data.transfer_batch_to_device(loaded, device, 0)["first_guess"] is loaded["first_guess"]
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    data.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1)
    (batch, *_) = data.val_dataloader()
    assert "first_guess" not in batch
    assert same([data.transfer_batch_to_device(batch, device, 0)], [loaded])
    # Without values, nothing can have been read back from the device.
    there = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert {name: (part.shape, part.dtype) for name, part in there.items()} == {
        name: (part.shape, part.dtype) for name, part in loaded.items()
    }
    assert there["first_guess_error"].device.type == "meta"


def test_loaders_leave_the_global_random_numbers_alone() -> None:
    data = ready()
    torch.manual_seed(0)
    list(data.train_dataloader())
    list(data.val_dataloader())
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))


def test_files_read_on_demand_give_the_batches_of_memory(tmp_path: Path) -> None:
    FIELD.target.to_dataset().assign(sst=FIELD.surface[0]).to_netcdf(tmp_path / "ocean.nc")
    options: dict[str, Any] = {"validation": VALIDATION, "patch_size": 6, "patches_per_epoch": 16}
    loaders = []
    for more in ({"in_memory": True}, {"in_memory": False}, {"in_memory": False, "num_workers": 1}):
        data = OceanDataModule.from_files(tmp_path / "ocean.nc", "temperature", ["sst"], **options, **more)
        data.setup()
        loaders.append(list(data.train_dataloader()))
    assert same(loaders[0], loaders[1])
    assert same(loaders[0], loaders[2])


def test_training_batches_hold_no_validation_cell() -> None:
    data = ready(patches_per_epoch=400)
    for batch in data.train_dataloader():
        longitude = (batch["longitude"].numpy() + 180) % 360 - 180
        assert not ((longitude > -120) & (longitude < 0)).any()


def test_statistics_come_from_the_training_region_alone() -> None:
    poisoned = FIELD.target.where((FIELD.target.longitude < -120) | (FIELD.target.longitude > 0), 1e3)
    sst = FIELD.surface[0]
    data = ready(field=OceanField(poisoned, (sst,)))
    assert data.standardization.maximum.max() < 100
    np.testing.assert_array_equal(data.standardization.mean, ready().standardization.mean)
    expected = measure(sst, VALIDATION.select(FIELD).complement(), 99)
    np.testing.assert_array_equal(data.statistics.surface_standardization.mean, expected.mean)


def test_training_region_of_the_config_is_used() -> None:
    data = ready(training=TimeRange("2000-01", "2000-01"), validation=TimeRange("2000-03", "2000-03"))
    assert {int(batch["time"][0]) for batch in data.train_dataloader()} == {int(FIELD.days[0])}
    assert {int(batch["time"][0]) for batch in data.val_dataloader()} == {int(FIELD.days[2])}


@pytest.mark.parametrize(
    ("limits", "saving", "step", "workers"),
    [
        ({"max_epochs": 3}, {"every_n_train_steps": 2}, 2, 0),
        ({"max_epochs": 3}, {"every_n_train_steps": 2}, 6, 2),
        ({"max_epochs": 3}, {"every_n_train_steps": 4}, 8, 0),
        ({"max_epochs": 3}, {"every_n_epochs": 1}, 4, 2),
        ({"max_steps": 12}, {"every_n_epochs": 1}, 4, 0),
        ({"max_steps": 12}, {"every_n_epochs": 1, "save_on_train_epoch_end": False}, 8, 0),
        ({"max_steps": 12}, {"every_n_train_steps": 3}, 3, 0),
        ({"max_steps": 11, "val_check_interval": 2}, {"every_n_epochs": 1}, 6, 0),
        ({"max_steps": 12, "limit_train_batches": 3}, {"every_n_train_steps": 2}, 4, 0),
        ({"max_steps": 6, "accumulate_grad_batches": 2}, {"every_n_train_steps": 1}, 3, 0),
    ],
)
def test_interrupted_and_resumed_training_sees_the_draws_of_an_uninterrupted_one(
    tmp_path: Path, limits: dict[str, Any], saving: dict[str, Any], step: int, workers: int
) -> None:
    whole = Recorder()
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", **saving)
    fit(module(num_workers=workers), whole, saver, **limits)
    assert [d for batch in whole.seen for d in batch] == list(range(2 * len(whole.seen)))
    resumed = Recorder()
    fit(module(num_workers=workers), resumed, resume=tmp_path / f"step={step}.ckpt", **limits)
    done = step * limits.get("accumulate_grad_batches", 1)
    assert resumed.seen == whole.seen[done:]
    assert resumed.seen


def test_training_that_failed_in_the_middle_of_a_batch_resumes_with_that_batch(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, filename="failed", save_on_exception=True)
    broken = Recorder(fail_at=6)
    with pytest.raises(InterruptedError):
        fit(module(), broken, saver, max_epochs=3)
    (saved,) = (path for path in tmp_path.glob("*.ckpt") if torch.load(path)["global_step"] == 6)
    resumed = Recorder()
    fit(module(), resumed, resume=saved, max_epochs=3)
    assert [d for batch in broken.seen + resumed.seen for d in batch] == list(range(24))


def test_a_run_resumed_with_other_batches_goes_on_with_the_next_draws_and_says_what_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[Recorder] = []
    for number, (batch_size, steps) in enumerate(((2, 3), (4, 5), (1, 8))):
        saver = ModelCheckpoint(tmp_path / str(number), filename="saved", every_n_train_steps=1)
        earlier = tmp_path / str(number - 1) / "saved.ckpt" if number else None
        runs.append(Recorder())
        fit(module(batch_size=batch_size), runs[-1], saver, resume=earlier, max_steps=steps)
    assert [len(batch) for run in runs for batch in run.seen] == [2, 2, 2, 4, 4, 1, 1, 1]
    assert [draw for run in runs for batch in run.seen for draw in batch] == list(range(17))
    told = [message for message in caplog.messages if message.startswith("a batch has")]
    assert [line.partition(",")[0] for line in told] == [
        "a batch has 4 patches (4 on each of 1 devices)",
        "a batch has 1 patches (1 on each of 1 devices)",
    ]
    assert "draws go on after 14" in told[1]


@pytest.mark.filterwarnings("error:.*not resumable.*")
def test_lightning_does_not_warn_that_the_loader_cannot_resume(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", every_n_train_steps=3)
    fit(module(), Recorder(), saver, max_steps=4)
    fit(module(), Recorder(), resume=tmp_path / "step=3.ckpt", max_steps=4)


@pytest.mark.parametrize("weights_only", [False, True])
def test_checkpoint_holds_what_prediction_needs(tmp_path: Path, weights_only: bool) -> None:
    data = module()
    trainer = fit(data, Recorder(), max_steps=1)
    trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=weights_only)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["OceanDataModule"]
    assert [variable["name"] for variable in state["variables"]] == ["temperature"]
    assert state["surface"] == ["sst"]
    assert [variable["units"] for variable in state["variables"]] == ["degree_Celsius"]
    assert state["patch_size"] == [6, 6]
    assert state["depths"] == FIELD.depths.tolist()
    other = module()
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.standardization.mean, data.standardization.mean)
    np.testing.assert_array_equal(
        other.statistics.surface_standardization.std, data.statistics.surface_standardization.std
    )


def test_resumed_training_keeps_the_statistics_of_the_checkpoint(tmp_path: Path) -> None:
    fit(module(), Recorder(), max_steps=1).save_checkpoint(tmp_path / "last.ckpt")
    warmer = module(field=OceanField(FIELD.target + 1, FIELD.surface))
    fit(warmer, Recorder(), resume=tmp_path / "last.ckpt", max_steps=2)
    np.testing.assert_array_equal(warmer.standardization.mean, ready().standardization.mean)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            OceanField(FIELD.target.isel(depth=slice(0, 3)), FIELD.surface),
            "trained on 4 depths from 0 to 1000 m",
        ),
        (OceanField(FIELD.target.rename("salinity"), FIELD.surface), "set data.variable=temperature"),
        (OceanField(FIELD.target), r"set data.surface=\[sst\]"),
    ],
)
def test_checkpoint_of_other_data_is_refused(field: OceanField, message: str) -> None:
    state = ready().state_dict()
    with pytest.raises(UserError, match=message) as error:
        module(field=field).load_state_dict(state)
    assert "\n" not in str(error.value)


def test_state_of_a_data_module_is_safe_to_load() -> None:
    file = io.BytesIO()
    torch.save(ready().state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["variables"][0]["name"] == "temperature"


def test_the_first_guess_in_the_state_survives_a_checkpoint_with_the_lists_of_a_config() -> None:
    scales = OmegaConf.create([2.0])
    data = ready(first_guess=OptimalInterpolation(900.0, 2000.0, scales, 0.1))
    file = io.BytesIO()
    torch.save(data.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert state["first_guess"]["kind"] == "OptimalInterpolation"
    assert state["first_guess"]["settings"]["surface_scale"] == [2.0]
    assert state["first_guess"]["settings"]["prior_profiles"] == math.inf
    module(first_guess=OptimalInterpolation(900.0, 2000.0, [2.0], 0.1)).load_state_dict(state)


def test_unknown_statistics_are_not_guessed() -> None:
    with pytest.raises(RuntimeError, match="call setup"):
        _ = module().standardization


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("patches_per_epoch", 0),
        ("validation_patches", 0),
        ("statistics_times", 0),
        ("num_workers", -1),
        ("seed", -1),
        ("batch_size", 2.5),
        ("validation_density", 0),
        ("validation_density", 1.5),
        ("min_ocean_fraction", 2),
        ("patch_size", 0),
        ("patch_size", 100),
        ("validation_patches", 10_000),
    ],
)
def test_value_out_of_range_is_refused_by_name(option: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"data\.{option}=") as error:
        module(**{option: value})
    assert "\n" not in str(error.value)


def test_overlapping_regions_are_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"data\.training and data\.validation overlap.*data\.training=null"):
        module(training=Box(longitude=(-60, 60)))


def test_validation_on_land_is_refused_before_training() -> None:
    field = open_field(sample_path())
    with pytest.raises(UserError, match="the validation region holds no ocean"):
        module(field=field, validation=Box((60, 80), (35, 50)))


def test_validation_time_without_data_is_refused_before_training() -> None:
    target = FIELD.target.copy()
    target[2] = np.nan
    with pytest.raises(UserError, match="missing in a validation patch at 2000-03-16") as error:
        module(field=OceanField(target, FIELD.surface)).setup()
    assert "\n" not in str(error.value)


def test_epoch_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.patches_per_epoch=3 is less than one batch of 4"):
        ready(batch_size=4, patches_per_epoch=3).train_dataloader()


BY_TIME: dict[str, Any] = {
    "validation": TimeRange("2000-03", "2000-03"),
    "climatology": ClimatologyFit(harmonics=0, smoothing=0),
}
ABOUT_CLIMATOLOGY = OptimalInterpolation(900.0, 2000.0, 2.0, 0.1, background="climatology", regressions=True)


def test_the_climatology_is_the_mean_of_the_training_times_and_is_in_every_sample() -> None:
    data = ready(**BY_TIME, first_guess=ABOUT_CLIMATOLOGY)
    for sample in (data.validation_samples()[0], data.train_dataloader().dataset[0]):
        patch = FIELD.target.isel(time=slice(2)).sel(
            latitude=sample["latitude"], longitude=(sample["longitude"] + 180) % 360 - 180, method="nearest"
        )
        assert np.isfinite(patch).any()
        background = data.standardization.restore(sample["background"])
        np.testing.assert_allclose(
            background[sample["ocean_mask"]], patch.mean("time").values[sample["ocean_mask"]], atol=1e-3
        )
        assert sample["surface_background"].shape == sample["surface"].shape
    assert "background" not in ready(validation=BY_TIME["validation"]).validation_samples()[0]


def test_loaded_climatology_and_regressions_are_used_without_measuring_again() -> None:
    data = ready(**BY_TIME, first_guess=ABOUT_CLIMATOLOGY)
    file = io.BytesIO()
    torch.save(data.state_dict(), file)
    file.seek(0)
    warmer = module(
        field=OceanField(FIELD.target + 1, FIELD.surface), **BY_TIME, first_guess=ABOUT_CLIMATOLOGY
    )
    warmer.load_state_dict(torch.load(file, weights_only=True))
    warmer.setup()
    ours, theirs = (each.validation_samples()[0] for each in (warmer, data))
    for name in ("background", "surface_background", "surface_slopes", "level_covariance"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    # That of the checkpoint counts, none here.
    none = ready(validation=BY_TIME["validation"])
    other = module(**BY_TIME)
    other.load_state_dict(none.state_dict())
    other.setup()
    assert other.statistics.climatology is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"validation": VALIDATION},
            r"\d+ ocean cells of the validation region have no training data: set data/clim",
        ),
        (
            {"climatology": None, "first_guess": ABOUT_CLIMATOLOGY},
            r"no climatology was measured; set data/climatology=sea",
        ),
        ({"climatology": ClimatologyFit()}, r"2 training times that cover \d+ days; expected a year"),
    ],
)
def test_a_climatology_that_the_training_data_do_not_give_is_one_error_before_training(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        ready(**BY_TIME | options)
    assert "\n" not in str(error.value)

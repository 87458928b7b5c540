"""Training, from a config to a fitted model: reads as a table of contents."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.normalization import ResidualStatistics
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.residual import Residual
from depthdif.evaluation.reconstruction import ReconstructionCallback
from depthdif.resume import check_resumed, read_statistics

RETURNED_METRIC = "val/recon_mse_full_recon"
ABOUT_LIGHTNING = ("💡", "GPU available", "TPU available", "`Trainer.fit` stopped")


class KnownData(Protocol):
    """What a model must know of its data, of an opened field or of an export."""

    @property
    def depths(self) -> np.ndarray:
        """(D,) metres below the surface."""

    @property
    def surface_channels(self) -> int:
        """Number of surface variables."""

    @property
    def residual_statistics(self) -> ResidualStatistics | None:
        """What the first guess leaves of the training fields; None without a first guess."""


def train(cfg: DictConfig) -> float:
    """Build everything that `cfg` names, fit, and return `val/recon_mse_full_recon`, which a sweeper can minimise.

    NaN when the reconstruction is not finite, or when validation was switched off.
    `cfg` is `conf/train.yaml` as Hydra composes it; outside of a Hydra job set `output_dir`.

    Raises:
        ValueError, OSError: for bad input, in one line and before any training starts.
    """
    silence_libraries()
    seed_everything(cfg.seed, workers=True, verbose=False)
    cfg = with_decays_as_numbers(cfg)
    data = build_data(cfg, None if cfg.resume is None else read_statistics(cfg.resume))
    module = build_module(cfg, data)
    callbacks = build_callbacks(cfg, data)
    if cfg.resume is not None:
        check_resumed(cfg.resume, module.state_dict())
    write_config(cfg)
    rank_zero_info(summary(cfg, data, module))
    loggers = build_loggers(cfg)
    try:
        trainer: Trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=loggers)
        trainer.fit(module, datamodule=data, ckpt_path=cfg.resume, weights_only=True)
        return float(trainer.callback_metrics.get(RETURNED_METRIC, math.nan))
    finally:
        close(loggers)


def with_decays_as_numbers(cfg: DictConfig) -> DictConfig:
    """`cfg` with the decays that its EMA suits to the length of the run worked out, so that records of the run show them."""
    laws = {field: node for field, node in cfg.model.ema.items() if OmegaConf.is_dict(node)}
    decays = {field: instantiate(law) for field, law in laws.items()} if cfg.model.ema.enabled else {}
    settled = copy.deepcopy(cfg)
    settled.model.ema.update(decays)
    return settled


def build_data(cfg: DictConfig, statistics: Mapping[str, Any] | None = None) -> OceanDataModule:
    """Open the field, and compute its statistics unless a checkpoint gives them: what is wrong with the data is said here."""
    data: OceanDataModule = instantiate(cfg.data, _partial_=True)(
        first_guess=instantiate(cfg.model.first_guess)
    )
    if statistics is not None:
        data.load_state_dict(dict(statistics))
    data.setup("fit")
    return data


def build_module(cfg: DictConfig, data: KnownData) -> DiffusionModule:
    """The model for the depths and surface fields of `data`; EMA belongs to the trainer, the first guess to the data."""
    statistics = data.residual_statistics
    of_module = OmegaConf.masked_copy(
        cfg.model, [key for key in cfg.model if key not in ("ema", "first_guess")]
    )
    of_module._set_parent(cfg)
    denoiser = instantiate(cfg.model.denoiser)(
        depths=len(data.depths),
        surface_channels=data.surface_channels,
        first_guess=statistics is not None,
    )
    residual = Residual() if statistics is None else Residual(**dataclasses.asdict(statistics))
    module: DiffusionModule = instantiate(of_module, denoiser=denoiser, residual=residual)
    # Logged by every logger and written into every checkpoint.
    module.save_hyperparameters(resolved(cfg) | {"overrides": task_overrides()})
    return module


def build_callbacks(cfg: DictConfig, data: OceanDataModule) -> list[Callback]:
    """The callbacks of the config, and that of EMA when it is enabled."""
    callbacks: list[Callback] = []
    if cfg.model.ema.enabled:
        callbacks.append(
            instantiate(OmegaConf.masked_copy(cfg.model.ema, [k for k in cfg.model.ema if k != "enabled"]))
        )
    callbacks += [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None]
    for callback in callbacks:
        if isinstance(callback, ReconstructionCallback):
            callback.check_samples(data)
    return callbacks


def build_loggers(cfg: DictConfig) -> list[Logger]:
    """The loggers of the config, named after the run and its sweep."""
    return [instantiate(logger) for logger in cfg.logger.values() if logger is not None]


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain values, every interpolation resolved."""
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def task_overrides() -> list[str]:
    """What the user typed; empty outside of a Hydra job."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def summary(cfg: DictConfig, data: OceanDataModule, module: DiffusionModule) -> str:
    """What is about to be trained, on what, and where it goes, in one line."""
    parameters = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    surface = f" with {', '.join(data.field.surface_names)}" if data.surface_channels else ""
    return (
        f"training {type(module.denoiser).__name__} ({parameters:.2f} M parameters) on {data.field.variable} at "
        f"{len(data.depths)} depths{surface}; run folder {cfg.output_dir}"
    )


@rank_zero_only
def write_config(cfg: DictConfig) -> None:
    """Keep the resolved config in the run folder, beside what Hydra keeps."""
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "config.unfinished.yaml"
    OmegaConf.save(OmegaConf.create(resolved(cfg)), unfinished)
    unfinished.replace(folder / "config.yaml")


def close(loggers: Sequence[Logger]) -> None:
    """Finish the W&B run, so that the next job of a sweep opens its own."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def silence_libraries() -> None:
    """Drop what the libraries say of themselves and a user can do nothing about."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(says_something)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    # Epochs carry no meaning here, and may be shorter than the interval of logging.
    warnings.filterwarnings("ignore", message="The number of training batches")
    # A resumed run keeps its checkpoints in its own folder.
    warnings.filterwarnings("ignore", message="The dirpath has changed")
    # The sample lies in memory: workers would only cost.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def says_something(record: logging.LogRecord) -> bool:
    """Whether a log record of Lightning is about the run rather than about Lightning."""
    return not record.getMessage().startswith(ABOUT_LIGHTNING)

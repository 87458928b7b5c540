"""Objects from a config: data, module, callbacks and loggers, for training, evaluation and export alike."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.normalization import ResidualStatistics
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.residual import Residual


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
        # What a callback cannot do with these data is said before any training starts.
        if check := getattr(callback, "check_data", None):
            check(data)
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


def with_decays_as_numbers(cfg: DictConfig) -> DictConfig:
    """`cfg` with the decays that its EMA suits to the length of the run worked out, so that records of the run show them."""
    laws = {field: node for field, node in cfg.model.ema.items() if OmegaConf.is_dict(node)}
    decays = {field: instantiate(law) for field, law in laws.items()} if cfg.model.ema.enabled else {}
    settled = copy.deepcopy(cfg)
    settled.model.ema.update(decays)
    return settled

"""Objects from a config: data, module, callbacks and loggers, for training, evaluation and export alike."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger

from depthdif import UserError
from depthdif.data.datamodule import OceanDataModule
from depthdif.data.normalization import ResidualStatistics
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.residual import Residual

# Lightning's short forms.
SHORT_PRECISIONS = {
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    "32": "32-true",
    "64": "64-true",
    "None": "32-true",
}


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
    """Open the field, and compute its statistics unless a checkpoint gives them.

    Raises:
        UserError, OSError: data that cannot be used.
    """
    first_guess = instantiate(cfg.model.first_guess)
    with config_errors():
        data: OceanDataModule = instantiate(cfg.data, _partial_=True)(first_guess=first_guess)
    if statistics is not None:
        data.load_state_dict(dict(statistics))
    data.setup("fit")
    return data


def build_module(cfg: DictConfig, data: KnownData) -> DiffusionModule:
    """The model for the depths and surface fields of `data`; EMA belongs to the trainer, the first guess to the data."""
    statistics = data.residual_statistics
    own = OmegaConf.masked_copy(cfg.model, [key for key in cfg.model if key not in ("ema", "first_guess")])
    own._set_parent(cfg)
    with config_errors():
        denoiser = instantiate(cfg.model.denoiser)(
            depths=len(data.depths),
            surface_channels=data.surface_channels,
            first_guess=statistics is not None,
        )
    residual = Residual() if statistics is None else Residual(**dataclasses.asdict(statistics))
    module: DiffusionModule = instantiate(own, denoiser=denoiser, residual=residual)
    # Logged by every logger and written into every checkpoint.
    module.save_hyperparameters(resolved(cfg) | {"overrides": task_overrides()})
    return module


@contextmanager
def config_errors() -> Iterator[None]:
    """Turn what a part of the config raises about its values into a UserError, as `instantiate` marks them by its own error."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, UserError) else UserError(str(error)) from error


def build_callbacks(cfg: DictConfig, data: OceanDataModule) -> list[Callback]:
    """The callbacks of the config, and that of EMA when it is enabled."""
    callbacks: list[Callback] = []
    if cfg.model.ema.enabled:
        callbacks.append(
            instantiate(OmegaConf.masked_copy(cfg.model.ema, [k for k in cfg.model.ema if k != "enabled"]))
        )
    callbacks += [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None]
    for callback in callbacks:
        # What a callback cannot do with these data is an error before any training starts.
        if check := getattr(callback, "check_data", None):
            with config_errors():
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
    """The overrides of the command line; empty outside of a Hydra job."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def settled(cfg: DictConfig) -> DictConfig:
    """A copy of `cfg` in which what depends on the machine and the length of the run is worked out, so that records show it.

    These are the decays of the EMA (`model.ema`, where it is enabled) and `trainer.precision`, as Lightning's string.
    """
    plain = copy.deepcopy(cfg)
    if cfg.model.ema.enabled:
        for field, node in cfg.model.ema.items():
            if OmegaConf.is_dict(node):
                plain.model.ema[field] = instantiate(node)
    plain.trainer.precision = precision_string(cfg.trainer.precision)
    return plain


def precision_string(precision: Any) -> str:
    """`trainer.precision` in full: what a config node names is called, and a short form is written out, 32 as "32-true"."""
    value = (
        instantiate(precision)
        if isinstance(precision, Mapping) or OmegaConf.is_dict(precision)
        else precision
    )
    return SHORT_PRECISIONS.get(str(value), str(value))

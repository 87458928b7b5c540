"""Objects from a config: data, module and callbacks, for training, evaluation and export alike."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback

from depthdif import UserError
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.conditions import Conditions, Domain
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.objective import MaskedDiffusionObjective
from depthdif.diffusion.residual import Residual
from depthdif.garbage import collection_paused

# Lightning's short forms.
SHORT_FORMS = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true", "None": "32-true"}


@collection_paused()
def build_data(cfg: DictConfig, statistics: Mapping[str, Any] | None = None) -> OceanDataModule:
    """Open the field, and compute its statistics unless those of a checkpoint are passed.

    Raises:
        UserError, OSError: data that cannot be used.
    """
    first_guess = instantiate(cfg.model.first_guess)
    with config_errors():
        weights = instantiate(cfg.model.objective).cell_weights
        data: OceanDataModule = instantiate(cfg.data, _partial_=True)(
            first_guess=first_guess, coast_distance=weights is not None and weights.needs_coast_distance
        )
    if statistics is not None:
        data.load_state_dict(dict(statistics))
    data.setup("fit")
    return data


@collection_paused()
def build_module(cfg: DictConfig, data: OceanDataModule | Mapping[str, Any]) -> DiffusionModule:
    """The model for the depths and surface fields of a data module or its state dict.

    EMA belongs to the trainer, the first guess to the data.
    """
    state = data if isinstance(data, Mapping) else data.state_dict()
    own = OmegaConf.masked_copy(
        cfg.model, [key for key in cfg.model if key not in ("ema", "first_guess", "conditions", "objective")]
    )
    own._set_parent(cfg)
    with config_errors():
        objective: MaskedDiffusionObjective = instantiate(cfg.model.objective)
        if objective.cell_weights is not None:
            objective.cell_weights.check(len(state["depths"]), len(state["variables"]))
        denoiser = instantiate(cfg.model.denoiser)(
            depths=len(state["variables"]) * len(state["depths"]),
            surface_channels=len(state["surface"]),
            conditions=conditions_of(cfg.model),
            domain=Domain(**state["domain"]),
            first_guess=state["residual"] is not None,
        )
    residual = Residual(**(state["residual"] or {}))
    module: DiffusionModule = instantiate(own, denoiser=denoiser, objective=objective, residual=residual)
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    # Logged by every logger and written into every checkpoint.
    module.save_hyperparameters(resolved(cfg) | {"overrides": overrides})
    return module


def conditions_of(model: DictConfig) -> Conditions:
    """The conditions of a model: where its objective shows the noisy field in a part of the cells, also which."""
    sees_part = instantiate(model.objective).sampled_columns is not None
    return dataclasses.replace(instantiate(model.conditions), noised_mask=sees_part)


@contextmanager
def config_errors() -> Iterator[None]:
    """Turn TypeError and ValueError about values of the config into UserError."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, UserError) else UserError(str(error)) from error


def build_callbacks(cfg: DictConfig, data: OceanDataModule) -> list[Callback]:
    """The callbacks of the config, and that of EMA when it is enabled."""
    ema = OmegaConf.masked_copy(cfg.model.ema, [key for key in cfg.model.ema if key != "enabled"])
    nodes = [ema if cfg.model.ema.enabled else None, *cfg.callbacks.values()]
    callbacks: list[Callback] = [instantiate(node) for node in nodes if node is not None]
    for callback in callbacks:
        # What a callback cannot do with these data is an error before any training starts.
        if check := getattr(callback, "check_data", None):
            with config_errors():
                check(data)
    return callbacks


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain values, every interpolation resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))


def settled(cfg: DictConfig) -> DictConfig:
    """A copy of `cfg` with the values that depend on the machine and the length of the run computed, so that records show them.

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
    """Lightning's full string for `trainer.precision`: that of a short form such as 32, or what a config node computes."""
    value = instantiate(precision) if isinstance(precision, Mapping) else precision
    return SHORT_FORMS.get(str(value), str(value))

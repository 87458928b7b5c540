"""Training, from a config to a fitted model: reads as a table of contents."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only

from depthdif.build import (
    build_callbacks,
    build_data,
    build_loggers,
    build_module,
    resolved,
    with_decays_as_numbers,
)
from depthdif.checkpoints.resume import check_resumed, read_statistics
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule

RETURNED_METRIC = "val/recon_mse_full_recon"
ABOUT_LIGHTNING = ("💡", "GPU available", "TPU available", "`Trainer.fit` stopped")


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

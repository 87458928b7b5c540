"""Training, from a config to a fitted model."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning_fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException

from depthdif.build import build_callbacks, build_data, build_loggers, build_module, resolved, settled
from depthdif.checkpoints.resume import ReadCheckpoint, check_resumed, read_resumed, statistics_in
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.files import atomic_path

RETURNED_METRIC = "val/recon_mse_full_recon"
ABOUT_LIGHTNING = ("💡", "GPU available", "TPU available", "`Trainer.fit` stopped")

# What a shell gives for a command that SIGTERM ends.
TERMINATED = 143


def train(cfg: DictConfig, checkpoint: dict[str, Any] | None = None) -> float:
    """Build everything that `cfg` names, fit, and return `val/recon_mse_full_recon`, which a sweeper can minimise.

    NaN when the reconstruction is not finite, or when validation was switched off. A process that is ended by SIGTERM saves
    its checkpoint and exits with 143.

    Args:
        cfg: `conf/train.yaml` as Hydra composes it; outside of a Hydra job set `output_dir`.
        checkpoint: content of the file at `cfg.resume`, where it was read already.

    Raises:
        UserError, OSError, InstantiationException: bad input, before any training starts.
    """
    silence_libraries()
    seed_everything(cfg.seed, workers=True, verbose=False)
    cfg = settled(cfg)
    if cfg.resume is not None and checkpoint is None:
        checkpoint = read_resumed(cfg.resume)
    data = build_data(cfg, statistics_in(checkpoint) if checkpoint else None)
    module = build_module(cfg, data)
    callbacks = build_callbacks(cfg, data)
    if checkpoint is not None:
        check_resumed(cfg.resume, checkpoint, module.state_dict())
    write_config(cfg)
    rank_zero_info(summary(cfg, data, module))
    with finished(build_loggers(cfg)) as loggers:
        trainer: Trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=loggers)
        # A plugin of the user reads and writes in its own way.
        if checkpoint is not None and type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = ReadCheckpoint(checkpoint)
        trainer.fit(module, datamodule=data, ckpt_path=cfg.resume, weights_only=True)
        return float(trainer.callback_metrics.get(RETURNED_METRIC, math.nan))


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
    with atomic_path(Path(cfg.output_dir) / "config.yaml") as path:
        OmegaConf.save(OmegaConf.create(resolved(cfg)), path)


@contextmanager
def finished(loggers: Sequence[Logger]) -> Iterator[Sequence[Logger]]:
    """Finish the W&B run at the end of the block, as failed where it ends by an exception.

    The next job of a sweep opens a run of its own. SIGTERM, for which Lightning raises an exit with 0, exits with 143.
    """
    try:
        yield loggers
    except BaseException as error:
        finish(loggers, exit_code=1)
        if isinstance(error, SIGTERMException):
            sys.exit(TERMINATED)
        raise
    finish(loggers, exit_code=0)


def finish(loggers: Sequence[Logger], exit_code: int) -> None:
    """Close the W&B run among the loggers."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=exit_code)


def silence_libraries() -> None:
    """Drop messages of the libraries that are not about the run and that a user cannot act on."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(is_about_run)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    # Epochs have no meaning here, and may be shorter than the interval of logging.
    warnings.filterwarnings("ignore", message="The number of training batches")
    # A resumed run keeps its checkpoints in its own folder.
    warnings.filterwarnings("ignore", message="The dirpath has changed")
    # The sample is in memory: workers would only cost.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def is_about_run(record: logging.LogRecord) -> bool:
    """Whether a log record of Lightning is about the run rather than about Lightning."""
    return not record.getMessage().startswith(ABOUT_LIGHTNING)

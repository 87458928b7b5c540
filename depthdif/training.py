"""Training, from a config to a fitted model."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning_fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only, rank_zero_warn
from pytorch_lightning.utilities.exceptions import SIGTERMException

from depthdif.build import build_callbacks, build_data, build_module, resolved, settled
from depthdif.callbacks.monitors import check_monitors
from depthdif.checkpoints.resume import ReadCheckpoint, check_resumed, read_run_checkpoint
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.files import atomic_path
from depthdif.processes import Processes
from depthdif.terminal import silence_libraries


def train(cfg: DictConfig, checkpoint: dict[str, Any] | None = None) -> float:
    """Build everything in `cfg`, fit, and return `val/recon_mse_full_recon`, which a sweeper can minimise.

    NaN when the reconstruction is not finite, or when validation is switched off. A process that is ended by SIGTERM saves
    its checkpoint and exits with 143.

    Args:
        cfg: `conf/train.yaml` as Hydra composes it; outside of a Hydra job set `output_dir`.
        checkpoint: content of the file at `cfg.resume`, where it was read already.

    Raises:
        UserError, OSError, InstantiationException: bad input, before any training starts.
    """
    silence_libraries()
    # Samples take their seed from their number: with workers=True every worker would import Lightning, which takes seconds.
    seed_everything(cfg.seed, workers=False, verbose=False)
    # Each worker gets a core of its own: threads that share one with a worker wait for each other at every operation.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(min(torch.get_num_threads(), max(1, cores - cfg.data.num_workers)))
    cfg = settled(cfg)
    if cfg.resume is not None and checkpoint is None:
        checkpoint = read_run_checkpoint("resume", cfg.resume)
    # Before the module is built: they scale its residual, and other data than those of the checkpoint are an error.
    statistics = checkpoint.get(OceanDataModule.__qualname__) if checkpoint else None
    data = build_data(cfg, statistics if isinstance(statistics, dict) else None)
    module = build_module(cfg, data)
    callbacks = build_callbacks(cfg, data)
    check_monitors(cfg.callbacks, callbacks, module)
    if checkpoint is not None:
        check_resumed(cfg.resume, checkpoint, module.state_dict())
    if advice := instantiate(cfg.model.conditions).advice(data.validates_new_region):
        rank_zero_warn(advice)
    write_config(cfg)
    rank_zero_info(summary(cfg, data, module))
    processes = Processes()
    with finished([instantiate(logger) for logger in cfg.logger.values() if logger is not None]) as loggers:
        trainer: Trainer = instantiate(cfg.trainer, callbacks=[*callbacks, processes], logger=loggers)
        # A checkpoint plugin of the user has its own file format.
        if checkpoint is not None and type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = ReadCheckpoint(checkpoint)
        with processes.started(trainer):
            trainer.fit(module, datamodule=data, ckpt_path=cfg.resume, weights_only=True)
        return float(trainer.callback_metrics.get("val/recon_mse_full_recon", math.nan))


def summary(cfg: DictConfig, data: OceanDataModule, module: DiffusionModule) -> str:
    """Model, data and run folder in one line."""
    parameters = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    surface = f" with {', '.join(data.field.surface_names)}" if data.surface_channels else ""
    return (
        f"training {type(module.denoiser).__name__} ({parameters:.2f} M parameters) on {data.field.variable} at "
        f"{len(data.depths)} depths{surface}; run folder {cfg.output_dir}"
    )


@rank_zero_only
def write_config(cfg: DictConfig) -> None:
    """Write the resolved config into the run folder, beside the files of Hydra."""
    with atomic_path(Path(cfg.output_dir) / "config.yaml") as path:
        OmegaConf.save(OmegaConf.create(resolved(cfg)), path)


@contextmanager
def finished(loggers: Sequence[Logger]) -> Iterator[Sequence[Logger]]:
    """Finish the W&B run at the end of the block, as failed where it ends by an exception.

    The next job of a sweep opens a run of its own. SIGTERM, for which Lightning raises an exit with 0, exits with 143.
    """
    exit_code = 1
    try:
        yield loggers
        exit_code = 0
    except SIGTERMException:
        sys.exit(143)
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish(exit_code=exit_code)

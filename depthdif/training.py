"""Training, from a config to a fitted model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning_fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from depthdif import UserError
from depthdif.build import build_callbacks, build_data, build_module, resolved, settled
from depthdif.callbacks.closing_table import TABLE
from depthdif.callbacks.monitors import check_monitors
from depthdif.callbacks.processes import Processes
from depthdif.callbacks.stop_signals import StopSignals
from depthdif.checkpoints.resume import (
    RunCheckpoint,
    RunCheckpointIO,
    check_resumed,
    checkpoint_to_resume,
    continuation,
)
from depthdif.checkpoints.warm_start import warm_start
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.files import atomic_path, near
from depthdif.loggers.metrics_file import METRICS, drop_rows_from, last_row_with
from depthdif.scores.score_names import MONITORED
from depthdif.terminal import silence_libraries


def train(cfg: DictConfig, checkpoint: RunCheckpoint | None = None) -> float:
    """Build everything in `cfg`, fit, and return `val/recon_mse_full_recon`, which a sweeper can minimise.

    NaN when the reconstruction is not finite, or when validation is switched off. A run that is finished already returns
    its score. A process that is ended by a signal saves its checkpoint and exits with 128 and its number, 143 for SIGTERM.

    Args:
        cfg: `conf/train.yaml` as Hydra composes it; outside of a Hydra job set `output_dir`.
        checkpoint: what `cfg.resume` asks for, where it was read already.

    Raises:
        UserError, OSError, InstantiationException: bad input, before any training starts.
        KeyboardInterrupt: Ctrl-C, after the checkpoint is saved.
    """
    silence_libraries()
    # Samples take their seed from their number: with workers=True every worker would import Lightning, which takes seconds.
    seed_everything(cfg.seed, workers=False, verbose=False)
    # Each worker gets a core of its own: threads that share one with a worker wait for each other at every operation.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(min(torch.get_num_threads(), max(1, cores - cfg.data.num_workers)))
    cfg = settled(cfg)
    checkpoint = checkpoint or checkpoint_to_resume(cfg)
    if checkpoint is not None and is_finished(cfg, checkpoint):
        return last_score(cfg)
    # Before the module is built: they scale its residual, and other data than those of the checkpoint are an error.
    statistics = checkpoint.content.get(OceanDataModule.__qualname__) if checkpoint else None
    data = build_data(cfg, statistics if isinstance(statistics, dict) else None)
    module = build_module(cfg, data)
    if data.field.is_sparse and module.objective.sampled_columns is None:
        raise UserError(
            "the field is known at profiles alone, but model/objective=default learns from a dense field; set "
            "model/objective=ambient"
        )
    callbacks = build_callbacks(cfg, data)
    check_monitors(cfg.callbacks, callbacks, module)
    if checkpoint is None and cfg.init_from is not None:
        for line in warm_start(cfg, module, data):
            rank_zero_info(line)
    if checkpoint is not None:
        if cfg.init_from is not None and not checkpoint.is_own:
            raise UserError(
                f"init_from={cfg.init_from} and resume={cfg.resume}: a resumed run has its weights already; set "
                "init_from=null or resume=null"
            )
        check_resumed(checkpoint.path, checkpoint.content, module.state_dict())
        rank_zero_info(continuation(cfg, checkpoint))
    if advice := instantiate(cfg.model.conditions).advice(data.validates_new_region):
        rank_zero_warn(advice)
    prepare_folder(cfg, checkpoint.steps if checkpoint else 0)
    rank_zero_info(summary(cfg, data, module))
    processes, stop = Processes(), StopSignals()
    with finished([instantiate(logger) for logger in cfg.logger.values() if logger is not None]) as loggers:
        trainer: Trainer = instantiate(cfg.trainer, callbacks=[*callbacks, processes, stop], logger=loggers)
        # A checkpoint plugin of the user has its own file format.
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = RunCheckpointIO(checkpoint)
        path = str(checkpoint.path) if checkpoint else None
        with processes.started(trainer), stop.obeyed():
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
        return float(trainer.callback_metrics.get(MONITORED, last_score(cfg)))


def is_finished(cfg: DictConfig, checkpoint: RunCheckpoint) -> bool:
    """Whether an earlier attempt made all planned steps and wrote its closing table; then one line says so."""
    table, steps = Path(cfg.output_dir) / TABLE, checkpoint.steps
    is_closed = table.is_file() and table.stat().st_mtime >= checkpoint.path.stat().st_mtime
    if not (checkpoint.is_own and is_closed and 0 <= cfg.trainer.max_steps <= steps):
        return False
    rank_zero_info(
        f"finished: {near(cfg.output_dir)} has all {steps} steps; set trainer.max_steps={2 * steps} to train on"
    )
    return True


def last_score(cfg: DictConfig) -> float:
    """The score of the last validation of earlier attempts at this run; NaN without one."""
    return last_row_with(Path(cfg.output_dir) / METRICS, MONITORED).get(MONITORED, math.nan)


def summary(cfg: DictConfig, data: OceanDataModule, module: DiffusionModule) -> str:
    """Model, data and run folder in one line."""
    parameters = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    surface = f" with {', '.join(data.field.surface_names)}" if data.surface_channels else ""
    variables = " and ".join(variable.name for variable in data.variables)
    return (
        f"training {type(module.denoiser).__name__} ({parameters:.2f} M parameters) on {variables} at "
        f"{len(data.depths)} depths{surface}; run folder {cfg.output_dir}"
    )


@rank_zero_only
def prepare_folder(cfg: DictConfig, first_step: int) -> None:
    """Write the resolved config into the run folder, and drop the scalars of steps that will be made again."""
    with atomic_path(Path(cfg.output_dir) / "config.yaml") as path:
        OmegaConf.save(OmegaConf.create(resolved(cfg)), path)
    drop_rows_from(Path(cfg.output_dir) / METRICS, first_step)


@contextmanager
def finished(loggers: Sequence[Logger]) -> Iterator[Sequence[Logger]]:
    """Finish the W&B run at the end of the block, as failed where it ends by an exception.

    The next job of a sweep opens a run of its own.
    """
    exit_code = 1
    try:
        yield loggers
        exit_code = 0
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish(exit_code=exit_code)

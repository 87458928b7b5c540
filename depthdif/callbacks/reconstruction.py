"""Reconstruction of the same patches with each variant of the weights after every validation epoch: scores and panels."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from depthdif import UserError, check_integer
from depthdif.callbacks.panels import PanelWriter
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.distributed import first_of_each, gathered
from depthdif.diffusion.ensemble import independent_members
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.reconstruction import reconstruct
from depthdif.ema import EMACallback
from depthdif.evaluation.variable_scores import score_variables
from depthdif.scores.score_names import FIRST_GUESS, STANDARD, log_keys


class ReconstructionCallback(Callback):
    """Caches the first validation mini-batch and runs the full reverse chain on it with the standard and the EMA weights.

    Several processes share the mini-batch, and each reconstructs its part. The first one scores and shows the whole of it.
    The noise of the chain depends on the sampler's seed and on the sample alone, so that the weights are the only difference
    between two panels, of one validation and of any two. Scores are logged as `val/*`, with EMA as `val_standard/*` and
    `val_ema/*`, those of the first guess on the same mini-batch as `val_first_guess/*`; where there are several variables also
    those of each, at keys that end with its name. The precision is that of the trainer.

    Args:
        folder: of the PNG files of the panels, which go to W&B and TensorBoard too.
        panel_samples: patches in a panel.
        panel_depths: depths in a panel, metres; the nearest levels are taken.

    Raises:
        UserError: for no sample or no depth, and at the start of a fit for more samples than the first validation mini-batch has.
    """

    def __init__(self, folder: str | Path, panel_samples: int, panel_depths: Sequence[float]) -> None:
        check_integer("callbacks.reconstruction.panel_samples", panel_samples, 1)
        if not panel_depths or min(panel_depths) < 0:
            raise UserError(
                f"panel_depths is {list(panel_depths)}: expected metres below the surface, "
                "such as callbacks.reconstruction.panel_depths=[0,100,500]"
            )
        self.panel_samples = panel_samples
        self.panels = PanelWriter(folder, panel_samples, panel_depths)
        self.batch: dict[str, Tensor] | None = None

    def check_data(self, data: OceanDataModule) -> None:
        """Raise UserError when a panel shows more samples than the first validation mini-batch has."""
        patches = len(data.val_dataloader().dataset)  # type: ignore[arg-type]
        available = min(data.batch_size, patches)
        if self.panel_samples > available:
            raise UserError(
                f"panel_samples is {self.panel_samples}, but the first validation mini-batch has {available} "
                f"(data.batch_size={data.batch_size}, data.validation_patches={patches}): "
                f"set callbacks.reconstruction.panel_samples={available} or less"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say where the CRPS will be missing."""
        assert isinstance(pl_module, DiffusionModule)
        sampler = pl_module.sampler
        if independent_members(sampler.ensemble_size, sampler.antithetic) < 2:
            rank_zero_info(
                f"recon_crps_full_recon is left out: model.sampler.ensemble_size={sampler.ensemble_size} has one "
                "independent member; set model.sampler.ensemble_size=4"
            )

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Cache the first mini-batch, or the part of this process."""
        if batch_idx == 0 and dataloader_idx == 0 and not trainer.sanity_checking:
            self.batch = batch

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reconstruct with each variant, log the scores, show the panels."""
        if trainer.sanity_checking or self.batch is None:
            return
        assert isinstance(pl_module, DiffusionModule)
        data: OceanDataModule = trainer.datamodule  # type: ignore[attr-defined]
        statistics = data.standardization
        # In the order of the samples, whatever number of processes share them.
        order = first_of_each(gathered(self.batch["index"], pl_module.device))
        whole = {name: gathered(tensor, pl_module.device)[order] for name, tensor in self.batch.items()}
        ema = ema_callback(trainer)
        scores, members = {}, {}
        for variant in (STANDARD,) if ema is None else ema.variants:
            with contextlib.nullcontext() if ema is None else ema.weights(variant):
                part = reconstruct(pl_module, self.batch, statistics, str(trainer.precision))
            parts = gathered(torch.from_numpy(part.members), pl_module.device)[order]
            if trainer.is_global_zero:
                ensemble = dataclasses.replace(part, members=parts.cpu().numpy())
                scores[variant] = score_variables(data, whole, ensemble)
                # A copy of what the panel shows: the members of all variants together would be large.
                members[variant] = ensemble.members[: self.panel_samples].copy()
        logged: dict[str, float] = {}
        if trainer.is_global_zero:
            prefixes = {"val": scores[STANDARD if ema is None else ema.evaluates]}
            if ema is not None:
                prefixes |= {f"val_{variant}": of_variant for variant, of_variant in scores.items()}
            if "first_guess" in whole:
                prefixes[f"val_{FIRST_GUESS}"] = score_variables(data, whole)
            for prefix, of_variables in prefixes.items():
                for variable, values in of_variables.items():
                    logged |= log_keys(prefix, values, variable)
        pl_module.log_dict(
            trainer.strategy.broadcast(logged), batch_size=len(order), sync_dist=trainer.world_size > 1
        )
        if trainer.is_global_zero:
            self.panels.write(trainer, data, whole, members, with_ema=ema is not None)
        self.batch = None


def ema_callback(trainer: Trainer) -> EMACallback | None:
    """The callback that keeps the averages of a run; None without EMA."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, EMACallback)), None)

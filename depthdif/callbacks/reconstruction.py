"""Reconstructs the same patches with each weight state after every validation epoch, scores them and shows them side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from depthdif.callbacks.panels import PanelWriter
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.ema import EMACallback
from depthdif.scores.metrics import reconstruction_metrics

STANDARD = "standard"


def score_keys(prefix: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Log keys of the scores of a full reverse chain, such as `val_ema/recon_mse_full_recon`."""
    return {f"{prefix}/recon_{name}_full_recon": score for name, score in scores.items()}


class ReconstructionCallback(Callback):
    """Caches the first validation mini-batch and runs the full reverse chain on it with the standard and the EMA weights.

    The noise of the chain depends on the sampler's seed and on the sample alone, so that the weights are the only difference
    between two panels, of one validation and of any two. Scores go to `val/*`, and with EMA to `val_standard/*` and
    `val_ema/*`; panels to every logger that takes pictures and to `folder`.

    `first_guess_scores` holds the scores of the first guess on the same mini-batch, which the model has to beat.

    Args:
        folder: where the PNG of each panel is kept.
        panel_samples: patches that a panel shows.
        panel_depths: depths that a panel shows, metres; the nearest levels are taken.

    Raises:
        ValueError: for no sample or no depth, and at the start of a fit for more samples than the validation mini-batch holds.
    """

    def __init__(
        self, folder: str | Path, panel_samples: int = 2, panel_depths: Sequence[float] = (0, 100, 500)
    ) -> None:
        if panel_samples < 1:
            raise ValueError(
                f"panel_samples is {panel_samples}: expected at least 1, such as callbacks.reconstruction.panel_samples=2"
            )
        if not panel_depths or min(panel_depths) < 0:
            raise ValueError(
                f"panel_depths is {list(panel_depths)}: expected metres below the surface, "
                "such as callbacks.reconstruction.panel_depths=[0,100,500]"
            )
        self.panel_samples = panel_samples
        self.panels = PanelWriter(folder, panel_samples, panel_depths)
        self.batch: dict[str, Tensor] | None = None
        self.first_guess_scores: dict[str, float] = {}

    def check_data(self, data: OceanDataModule) -> None:
        """Raise ValueError when a panel asks for more samples than the first validation mini-batch of `data` holds."""
        validation = len(data.val_dataloader().dataset)  # type: ignore[arg-type]
        held = min(data.batch_size, validation)
        if self.panel_samples > held:
            raise ValueError(
                f"panel_samples is {self.panel_samples}, but the first validation mini-batch holds {held} "
                f"(data.batch_size={data.batch_size}, data.validation_patches={validation}): "
                f"type callbacks.reconstruction.panel_samples={held} or less"
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
        """Cache the first mini-batch."""
        if batch_idx == 0 and dataloader_idx == 0 and not trainer.sanity_checking:
            self.batch = batch

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reconstruct with each weight state, log the scores, show the panels."""
        if trainer.sanity_checking or self.batch is None:
            return
        assert isinstance(pl_module, DiffusionModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        ema = next((callback for callback in callbacks if isinstance(callback, EMACallback)), None)
        reconstructions = {
            variant: self.reconstruct(trainer, pl_module, data) for variant in held_weights(ema)
        }
        scores = {
            variant: self.scores(fields.mean(dim=1), data) for variant, fields in reconstructions.items()
        }
        if "first_guess" in self.batch:
            first_guess = data.standardization.restore(self.batch["first_guess"].float().cpu())
            self.first_guess_scores = self.scores(first_guess, data)
        evaluated = STANDARD if ema is None else ema.evaluates
        logged = score_keys("val", scores[evaluated])
        if ema is not None:
            for variant, of_variant in scores.items():
                logged |= score_keys(f"val_{variant}", of_variant)
        if self.first_guess_scores:
            logged |= score_keys("val_first_guess", self.first_guess_scores)
        # Every rank reconstructs its own batch (sharded weights need them all); what the first one found is what counts.
        pl_module.log_dict(
            trainer.strategy.broadcast(logged),
            batch_size=len(self.batch["target"]),
            sync_dist=trainer.world_size > 1,
        )
        if trainer.is_global_zero:
            self.panels.write(trainer, data, self.batch, reconstructions, with_ema=ema is not None)
        self.batch = None

    def reconstruct(self, trainer: Trainer, module: DiffusionModule, data: OceanDataModule) -> Tensor:
        """The cached batch through the reverse chain: members (B, E, D, H, W) in physical units, on the CPU."""
        assert self.batch is not None
        with trainer.precision_plugin.val_step_context():
            samples = module.reconstruct(self.batch)
        return data.standardization.restore(samples.float().cpu())

    def scores(self, reconstruction: Tensor, data: OceanDataModule) -> dict[str, float]:
        """MSE, PSNR and SSIM of the cached batch over the ocean, in physical units."""
        assert self.batch is not None
        statistics = data.standardization
        return reconstruction_metrics(
            reconstruction,
            statistics.restore(self.batch["target"].float().cpu()),
            self.batch["ocean_mask"].cpu(),
            torch.as_tensor(statistics.minimum),
            torch.as_tensor(statistics.maximum),
        )


def held_weights(ema: EMACallback | None) -> Iterator[str]:
    """The name of each weight state, while the module holds it; the standard weights alone without EMA."""
    for variant in (STANDARD,) if ema is None else ema.variants:
        with contextlib.nullcontext() if ema is None else ema.weights(variant):
            yield variant

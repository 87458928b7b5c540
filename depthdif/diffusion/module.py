"""The LightningModule: denoiser, noise schedule, objective and reverse sampler together, and their training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn import Module

from depthdif import UserError
from depthdif.diffusion.compilation import check_compile, compile_network
from depthdif.diffusion.ensemble import Ensemble
from depthdif.diffusion.objective import PREDICTION_TYPES, MaskedDiffusionObjective
from depthdif.diffusion.precision import autocast
from depthdif.diffusion.reconstruction import check_batch, reconstruct
from depthdif.diffusion.residual import Residual
from depthdif.diffusion.sampler import ReverseSampler


class DiffusionModule(LightningModule):
    """Conditional diffusion of standardised depth fields.

    Args, besides objective, sampler and residual:
        denoiser: network from (noisy field, time steps, batch) to the prediction.
        noise_schedule: `diffusers` scheduler of the forward process; its `prediction_type` is what the denoiser predicts.
        optimizer: function from the parameters to the optimiser.
        lr_scheduler: function from the optimiser and `num_training_steps` to the learning-rate schedule.
        seed: of every draw in training and of the draws of `val/loss`.
        compile: whether training compiles the denoiser, or the mode of `torch.compile`.

    Raises:
        ValueError: for a `prediction_type` that is none of sample, epsilon, v_prediction, or that the scheduler of the sampler
            does not take, and for more reverse steps than the noise schedule has.
    """

    def __init__(
        self,
        denoiser: Module,
        noise_schedule: Any,
        objective: MaskedDiffusionObjective,
        sampler: ReverseSampler,
        residual: Residual,
        optimizer: Callable[..., torch.optim.Optimizer],
        lr_scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
        seed: int,
        compile: bool | str = False,
    ) -> None:
        super().__init__()
        check_compile(compile)
        prediction_type = noise_schedule.config.prediction_type
        if prediction_type not in PREDICTION_TYPES:
            raise ValueError(
                f"prediction_type is {prediction_type!r}: expected one of {', '.join(PREDICTION_TYPES)}, "
                "such as model.noise_schedule.prediction_type=sample"
            )
        # Raises here rather than at the first validation.
        sampler.prepared_scheduler(noise_schedule, torch.device("cpu"))
        self.denoiser = denoiser
        self.noise_schedule = noise_schedule
        self.objective = objective
        self.sampler = sampler
        self.residual = residual
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.seed = seed
        self.compile_mode = compile

    def reconstruct(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Run the reverse chain: standardised (B, E, D, H, W) float32, 0 outside the ocean.

        Raises:
            ValueError: for a batch that the model cannot reconstruct (`check_batch`).
        """
        timed = self.sampler.time_correlated_noise is not None
        check_batch(batch, self.denoiser, first_guess=self.residual.std is not None, time=timed)
        known = self.residual.from_field(batch["observations"], batch, batch["observed_mask"])
        conditions = self.residual.conditions(batch)
        samples = self.sampler(self.denoiser, self.noise_schedule, known, conditions)
        return self.residual.to_field(samples, batch)

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Tensor:
        """The objective on one batch."""
        clean = self.residual.from_field(batch["target"], batch, batch["ocean_mask"])
        conditions = self.residual.conditions(batch)
        return self.objective(self.denoiser, self.noise_schedule, clean, conditions, generator)

    def setup(self, stage: str) -> None:
        """Raise UserError for a precision that the reverse chain cannot run in, and compile the denoiser before a fit."""
        autocast(str(self.trainer.precision), self.device)
        if stage == "fit":
            compile_network(self.denoiser, self.compile_mode, self.trainer.strategy.root_device)

    def on_train_batch_start(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        # Time steps, noise and dropout of a batch depend on its number in the run alone, so that a resumed run draws the same
        # as an uninterrupted one. (Lightning's epoch number runs ahead after a resume.)
        batches_done = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
        place = [self.seed, batches_done, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch, logged as `train/loss`."""
        loss = self.loss(batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["target"]))
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Log `val/loss`, at the same time steps and noise in every epoch."""
        generator = torch.Generator().manual_seed(self.seed + batch_idx)
        loss = self.loss(batch, generator)
        self.log("val/loss", loss, prog_bar=True, batch_size=len(batch["target"]), sync_dist=True)

    def predict_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Ensemble:
        """Reconstruct one batch: an ensemble in units of the field, on the CPU.

        Raises:
            UserError: the trainer has no data module, which holds the statistics of the field.
        """
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise UserError(
                "the units of the field are not known: call trainer.predict(module, datamodule=data)"
            )
        return reconstruct(self, batch, data.standardization, str(self.trainer.precision))

    def configure_optimizers(self) -> Any:
        """Optimiser, and its learning-rate schedule over the steps of the training.

        Raises:
            UserError: when the number of planned steps is not known, or the optimizer does not take a value of the config.
        """
        planned = self.trainer.estimated_stepping_batches
        if planned == float("inf"):
            raise UserError(
                "the number of training steps is not bounded: set trainer.max_steps=2000 or trainer.max_epochs=10"
            )
        try:
            optimizer = self.optimizer(self.parameters())
        except TypeError as error:
            raise UserError(
                f"model.optimizer: {error}; remove what this optimizer does not take, such as ~model.optimizer.fused"
            ) from error
        # A fused optimizer unscales float16 gradients itself, within its step: too late for their norm and clipping. (With this
        # attribute PyTorch and Lightning unscale them first.)
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        lr_scheduler = self.lr_scheduler(optimizer=optimizer, num_training_steps=int(planned))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"}}

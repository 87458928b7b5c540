"""The LightningModule: denoiser, noise schedule, objective and reverse sampler together, and their training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor
from torch.nn import Module

from depthdif import UserError
from depthdif.diffusion.compilation import check_compile, compile_network
from depthdif.diffusion.distributed import first_of_each, gathered, shard
from depthdif.diffusion.ensemble import Ensemble
from depthdif.diffusion.noise import noise_of_cells
from depthdif.diffusion.objective import PREDICTION_TYPES, MaskedDiffusionObjective, forward_draws
from depthdif.diffusion.precision import autocast
from depthdif.diffusion.reconstruction import check_batch, reconstruct
from depthdif.diffusion.residual import Residual
from depthdif.diffusion.sampler import ReverseSampler
from depthdif.diffusion.tiles import TiledDenoiser, TiledRegion

# Keys that keep the draws of training and validation samples apart.
TRAINING, VALIDATION = range(2)


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
        self.validated: list[Tensor] = []
        self.compile_mode = compile

    def reconstruct(self, batch: Mapping[str, Tensor], region: TiledRegion | None = None) -> Tensor:
        """Run the reverse chain: standardised (B, E, D, H, W) float32, 0 outside the ocean.

        With a `region`, B is 1, and the patch may be larger than those of the training: it is sampled in fused tiles, from noise
        of the seed, the member, the `time` and the cells of the grid.

        Raises:
            UserError: for a batch that the model cannot reconstruct (`check_batch`), or with a `region` a scheduler that draws
                noise of its own at every step.
        """
        timed = region is not None or self.sampler.time_correlated_noise is not None
        check_batch(batch, self.denoiser, first_guess=self.residual.std is not None, time=timed)
        known = self.residual.from_field(batch["observations"], batch, batch["observed_mask"])
        denoiser = self.objective.sampling_denoiser(self.denoiser, self.noise_schedule)
        noise, conditions = None, batch
        if region is None:
            conditions = self.residual.conditions(batch)
        else:
            denoiser = TiledDenoiser(denoiser, region, self.residual.conditions)
            noise = functools.partial(self.noise_of_region, region, int(batch["time"]), known.shape[1])
        columns = self.objective.sampled_columns
        samples = self.sampler(denoiser, self.noise_schedule, known, conditions, noise, columns)
        return self.residual.to_field(samples, batch)

    def noise_of_region(self, region: TiledRegion, day: int, depths: int, member: int, step: int) -> Tensor:
        """(D, H, W) noise of a member at a step on a day; of the seed of the sampler and the cells of the whole grid."""
        identity = [self.sampler.seed, member, step]
        efolding = self.sampler.time_correlated_noise
        return noise_of_cells(depths, region.rows, region.columns, identity, day, efolding)

    def errors(self, batch: Mapping[str, Tensor], stream: int) -> tuple[Tensor, Tensor]:
        """The objective: sum of the squared errors of each sample and its weight, (B,) each.

        Time steps and noise of a sample depend on the seed, the `stream` (TRAINING or VALIDATION) and its `index` alone.
        """
        clean = self.residual.from_field(batch["target"], batch, batch["target_mask"])
        identities = [(self.seed, stream, index) for index in batch["index"].tolist()]
        conditions = self.objective.conditions(self.residual.conditions(batch), identities)
        steps = self.noise_schedule.config.num_train_timesteps
        # Those of validation are the same on every device, those of training quick.
        device = clean.device if stream == TRAINING else "cpu"
        draws = forward_draws(identities, clean.shape[1:], steps, device)
        timesteps, noise = (draw.to(clean.device) for draw in draws)
        return self.objective(self.denoiser, self.noise_schedule, clean, conditions, timesteps, noise)

    def configure_model(self) -> None:
        """Cut the denoiser into shards where the strategy of the trainer asks for it."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            shard(self.denoiser, self.trainer.strategy.device_mesh)

    def setup(self, stage: str) -> None:
        """Raise UserError for a precision that the reverse chain cannot run in, and compile the denoiser before a fit."""
        autocast(str(self.trainer.precision), self.device)
        if stage == "fit":
            compile_network(self.denoiser, self.compile_mode, self.trainer.strategy.root_device)

    def on_train_batch_start(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        # Dropout of a batch depends on its number in the run and the process alone, so that a resumed run draws the same as an
        # uninterrupted one. (Lightning's epoch number runs ahead after a resume.)
        batches_done = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
        place = [self.seed, batches_done, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """The mean over the cells of the batches of all processes; logged as `train/loss`."""
        error, weight = (each.sum() for each in self.errors(batch, TRAINING))
        # The strategies average gradients over processes, whose batches have more or less ocean.
        mean = self.trainer.strategy.reduce(torch.stack([error.detach(), weight]), reduce_op="mean")
        self.log("train/loss", mean[0] / mean[1], prog_bar=True, batch_size=len(batch["target"]))
        return error / mean[1]

    def on_validation_epoch_start(self) -> None:
        self.validated = []

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Keep index, error and weight of each sample, at the same time steps and noise in every validation."""
        error, weight = self.errors(batch, VALIDATION)
        self.validated.append(torch.stack([batch["index"].to(error), error, weight], dim=1))

    def on_validation_epoch_end(self) -> None:
        """Log `val/loss`, the mean over the cells of the validation set, whatever the batch size and number of processes."""
        samples = gathered(torch.cat(self.validated), self.device).cpu().double()
        _, error, weight = samples[first_of_each(samples[:, 0])].sum(dim=0)
        loss = (error / weight).to(self.device, torch.float32)
        self.log("val/loss", loss, prog_bar=True, sync_dist=self.trainer.world_size > 1)

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

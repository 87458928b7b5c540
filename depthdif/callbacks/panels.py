"""Draws the panels of a validation as PNG files and logs them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.normalization import Standardization
from depthdif.data.variables import Variable, channels_of, part_of_batch
from depthdif.figures.case import Case, case_of
from depthdif.figures.panel import (
    display_units,
    error_limits,
    nearest_levels,
    reconstruction_figure,
    save_figure,
)
from depthdif.scores.score_names import variant_label
from depthdif.terminal import in_one_line

log = logging.getLogger(__name__)

IMAGE_KEY = "val_imgs/x_y_full_reconstruction"


class PanelWriter:
    """Draws the first patches of a mini-batch, one panel for each variable and variant.

    When a panel cannot be written, as on a full disk, a warning is logged once and training goes on.
    """

    def __init__(self, folder: str | Path, samples: int, depths: Sequence[float]) -> None:
        self.folder = Path(folder)
        self.samples = samples
        self.depths = tuple(depths)
        self.has_warned = False

    def write(
        self,
        trainer: Trainer,
        data: OceanDataModule,
        batch: Mapping[str, Tensor],
        members: Mapping[str, np.ndarray],
        with_ema: bool,
    ) -> None:
        """Draw and log the panel of each variable and variant, from its `members` (B, E, C, H, W) in physical units."""
        pictures = {}
        try:
            for number, variable in enumerate(data.variables):
                channels = channels_of(number, len(data.depths))
                figures = self.figures(
                    data.depths,
                    part_of_batch(batch, channels),
                    {variant: fields[:, :, channels] for variant, fields in members.items()},
                    data.standardization.part(channels),
                    variable,
                    f"{variable.name}, step {trainer.global_step}"
                    if number
                    else f"step {trainer.global_step}",
                )
                for variant, figure in figures.items():
                    key = f"{IMAGE_KEY}_{variant}" if with_ema else IMAGE_KEY
                    folder = self.folder / variable.name if number else self.folder
                    path = folder / f"{key.rpartition('/')[2]}_step={trainer.global_step:07d}.png"
                    pictures[f"{key}/{variable.name}" if number else key] = save_figure(figure, path)
            # Lightning numbers optimizer steps from 0 in what it logs: the pictures have the step of the scores.
            for logger in trainer.loggers:
                log_pictures(logger, pictures, step=max(trainer.global_step - 1, 0))
        except OSError as error:
            if not self.has_warned:
                log.warning(
                    "panels cannot be written (%s): training goes on without them", in_one_line(error)
                )
            self.has_warned = True

    def figures(
        self,
        depths: np.ndarray,
        batch: Mapping[str, Tensor],
        members: Mapping[str, np.ndarray],
        standardization: Standardization,
        variable: Variable,
        title: str,
    ) -> dict[str, Figure]:
        """The panel of each variant of one variable, whose depths are the channels of all arguments."""
        cases: dict[str, list[Case]] = {variant: [] for variant in members}
        for variant, fields in members.items():
            for index, ensemble in enumerate(fields[: self.samples]):
                sample = {name: tensor[index].cpu() for name, tensor in batch.items()}
                member = ensemble[0] if len(ensemble) > 1 else None
                cases[variant].append(case_of(sample, ensemble.mean(axis=0), standardization, member))
        levels = nearest_levels(depths, self.depths)
        # The same error colours for all variants: only then do their panels compare at a glance.
        limits = [
            error_limits([case.error for case in same], levels) for same in zip(*cases.values(), strict=True)
        ]
        units = display_units(variable.units)
        return {
            variant: reconstruction_figure(
                shown, depths, levels, limits, units, f"{variant_label(variant)} weights, {title}"
            )
            for variant, shown in cases.items()
        }


def log_pictures(logger: Logger, pictures: Mapping[str, Path], step: int) -> None:
    """Log the PNGs of one validation to W&B or TensorBoard; other loggers take scalars only."""
    if isinstance(logger, WandbLogger):
        from wandb import Image

        logger.log_metrics({key: [Image(str(path))] for key, path in pictures.items()}, step)  # type: ignore[misc]
    elif isinstance(logger, TensorBoardLogger):
        from matplotlib.image import imread

        for key, path in pictures.items():
            logger.experiment.add_image(key, imread(path)[..., :3], step, dataformats="HWC")

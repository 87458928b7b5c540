"""Draws the panels of a validation as PNG files and logs them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from depthdif.data.datamodule import OceanDataModule
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
    """Draws the first patches of a mini-batch, one panel for each variant.

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
        """Draw and log the panel of each variant, from its `members` (B, E, D, H, W) in physical units."""
        cases: dict[str, list[Case]] = {variant: [] for variant in members}
        for variant, fields in members.items():
            for index, ensemble in enumerate(fields[: self.samples]):
                sample = {name: tensor[index].cpu() for name, tensor in batch.items()}
                member = ensemble[0] if len(ensemble) > 1 else None
                cases[variant].append(case_of(sample, ensemble.mean(axis=0), data.standardization, member))
        levels = nearest_levels(data.depths, self.depths)
        # The same error colours for all variants: only then do their panels compare at a glance.
        limits = [
            error_limits([case.error for case in same], levels) for same in zip(*cases.values(), strict=True)
        ]
        units, step = display_units(data.field.units), trainer.global_step
        pictures = {}
        try:
            for variant, shown in cases.items():
                title = f"{variant_label(variant)} weights, step {step}"
                figure = reconstruction_figure(shown, data.depths, levels, limits, units, title)
                key = f"{IMAGE_KEY}_{variant}" if with_ema else IMAGE_KEY
                path = self.folder / f"{key.rpartition('/')[2]}_step={step:07d}.png"
                pictures[key] = save_figure(figure, path)
            # Lightning numbers optimizer steps from 0 in what it logs: the pictures have the step of the scores.
            for logger in trainer.loggers:
                log_pictures(logger, pictures, step=max(step - 1, 0))
        except OSError as error:
            if not self.has_warned:
                log.warning(
                    "panels cannot be written (%s): training goes on without them", in_one_line(error)
                )
            self.has_warned = True


def log_pictures(logger: Logger, pictures: Mapping[str, Path], step: int) -> None:
    """Log the PNGs of one validation to W&B or TensorBoard; other loggers take scalars only."""
    if isinstance(logger, WandbLogger):
        from wandb import Image

        logger.log_metrics({key: [Image(str(path))] for key, path in pictures.items()}, step)  # type: ignore[misc]
    elif isinstance(logger, TensorBoardLogger):
        from matplotlib.image import imread

        for key, path in pictures.items():
            logger.experiment.add_image(key, imread(path)[..., :3], step, dataformats="HWC")

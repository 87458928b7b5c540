"""Draws the panels of a validation, keeps them as PNG and hands them to the loggers."""

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
    """Shows the first patches of a mini-batch, one panel for each variant.

    A panel that cannot be written, as on a full disk, is warned of once, and training goes on without it.

    Args:
        folder: of the PNGs.
        samples: patches that a panel shows.
        depths: that a panel shows, metres; the nearest levels are taken.
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
        members: Mapping[str, Tensor | np.ndarray],
        with_ema: bool,
    ) -> None:
        """Draw, keep and log the panel of each variant, from its `members` (B, E, D, H, W) in physical units."""
        cases = {variant: self.cases(data, batch, fields) for variant, fields in members.items()}
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
                pictures[key] = save_figure(figure, panel_path(self.folder, key, step))
            # Lightning numbers optimizer steps from 0 in what it logs: the pictures stand beside the scores.
            for logger in trainer.loggers:
                log_pictures(logger, pictures, step=max(step - 1, 0))
        except OSError as error:
            if not self.has_warned:
                log.warning(
                    "panels cannot be written (%s): training goes on without them", in_one_line(error)
                )
            self.has_warned = True

    def cases(
        self, data: OceanDataModule, batch: Mapping[str, Tensor], members: Tensor | np.ndarray
    ) -> list[Case]:
        """The first patches, with the mean of their members and the first of several."""
        cases = []
        for index, ensemble in enumerate(members[: self.samples]):
            sample = {name: tensor[index].cpu() for name, tensor in batch.items()}
            member = ensemble[0] if len(ensemble) > 1 else None
            cases.append(case_of(sample, ensemble.mean(axis=0), data.standardization, member))
        return cases


def panel_path(folder: Path, key: str, step: int) -> Path:
    """File of the panel of an image key at an optimizer step."""
    return folder / f"{key.rpartition('/')[2]}_step={step:07d}.png"


def log_pictures(logger: Logger, pictures: Mapping[str, Path], step: int) -> None:
    """Hand the PNGs of one validation to a logger that takes pictures; the others keep scalars alone."""
    if isinstance(logger, WandbLogger):
        from wandb import Image

        logger.log_metrics({key: [Image(str(path))] for key, path in pictures.items()}, step)  # type: ignore[misc]
    elif isinstance(logger, TensorBoardLogger):
        from matplotlib.image import imread

        for key, path in pictures.items():
            logger.experiment.add_image(key, imread(path)[..., :3], step, dataformats="HWC")

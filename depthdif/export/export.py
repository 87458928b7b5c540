"""A checkpoint as a folder that `diffusers` loads: one variant of its weights, its settings, and a model card."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
from diffusers.utils.logging import disable_progress_bar
from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.checkpoints.trained_run import TrainedRun, open_trained
from depthdif.checkpoints.trusted_targets import foreign_targets
from depthdif.diffusion.reconstruction import reconstruct
from depthdif.export.model_card import evaluation_records, model_card
from depthdif.export.pipeline import ModelDescription, OceanPipeline
from depthdif.files import sha256

log = logging.getLogger(__name__)


def export(cfg: DictConfig) -> Path:
    """Write one variant of the weights of `cfg.checkpoint` as a `diffusers` folder, load it back, and return its path.

    The folder appears only when it is complete and reproduces the numbers of the checkpoint. `cfg` is `conf/export.yaml`.

    Raises:
        FileNotFoundError, FileExistsError, UserError: no such checkpoint or variant, a model with classes of another package,
            or a folder that exists already; before anything is written.
    """
    disable_progress_bar()
    run = open_trained(cfg)
    for name, part in run.cfg.model.items():
        # A folder cannot carry the code of another package.
        if foreign := foreign_targets(part):
            raise UserError(
                f"checkpoint={run.path}: model.{name!s} is {foreign[0]}, which is not a part of depthdif, so that an export "
                "could not be loaded; use the checkpoint instead"
            )
    try:
        variant = run.load(cfg.which)
    except ValueError as error:
        raise UserError(f"which={cfg.which}: {error}; set which=standard") from error
    folder = Path(cfg.output) if cfg.output else run.path.parent.parent / "export" / variant
    if folder.exists() and not cfg.overwrite:
        raise FileExistsError(f"output={folder}: exists already; set overwrite=true to replace it")
    digest = sha256(run.path)
    evaluations = evaluation_records(run, digest, cfg.evaluation)
    unfinished, replaced = (folder.with_name(f"{folder.name}.{end}") for end in ("unfinished", "replaced"))
    shutil.rmtree(unfinished, ignore_errors=True)
    trained = ModelDescription.from_config(run.cfg, run.data.state_dict(), run.precision)
    OceanPipeline.from_module(run.module, trained).save_pretrained(unfinished)
    model_card(run, variant, digest, evaluations).save(unfinished / "README.md")
    recorded = OmegaConf.create(dict(run.checkpoint["hyper_parameters"]))
    OmegaConf.save(recorded, unfinished / "training_config.yaml")
    check_same_numbers(run, unfinished)
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    unfinished.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    log.info("exported the %s weights of %s to %s", variant, run.path, folder)
    return folder


def check_same_numbers(run: TrainedRun, folder: Path) -> None:
    """Load the folder back and reconstruct the first validation patch with it; RuntimeError where one bit differs."""
    batch = run.data.collate([run.data.val_dataloader().dataset[0]])
    expected = reconstruct(run.module, batch, run.data.standardization, run.precision).members
    exported = OceanPipeline.from_pretrained(folder).reconstruct(batch).members
    if not np.array_equal(expected, exported, equal_nan=True):
        difference = float(np.nanmax(np.abs(expected - exported)))
        raise RuntimeError(f"{folder}: reconstructs other numbers than {run.path} (up to {difference:g})")

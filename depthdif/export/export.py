"""A checkpoint as a folder that `diffusers` loads: the weights chosen, all that goes with them, and a model card."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.logging import disable_progress_bar
from omegaconf import DictConfig, OmegaConf

from depthdif.checkpoints.trained_run import TrainedRun, open_trained
from depthdif.checkpoints.trusted_targets import foreign_targets
from depthdif.evaluation.provenance import sha256
from depthdif.export.evaluation_record import evaluation_of
from depthdif.export.model_card import model_card
from depthdif.export.model_description import TrainedModel
from depthdif.export.pipeline import OceanPipeline

log = logging.getLogger(__name__)


def export(cfg: DictConfig) -> Path:
    """Write weights of `cfg.checkpoint` as a `diffusers` folder, load it back, and return it.

    The folder appears only when it is complete and gives the numbers of the checkpoint. `cfg` is `conf/export.yaml`.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint or weights, a model that is not ours alone, or a folder that is
            there already; in one line and before anything is written.
    """
    disable_progress_bar()
    run = open_trained(cfg)
    check_exportable(run)
    try:
        weights = run.load(cfg.which)
    except ValueError as error:
        raise ValueError(f"which={cfg.which}: {error}; type which=standard") from error
    folder = Path(cfg.output) if cfg.output else run.path.parent.parent / "export" / weights
    if folder.exists() and not cfg.overwrite:
        raise FileExistsError(f"output={folder}: is there already; type overwrite=true to replace it")
    evaluation = evaluation_of(run.path, sha256(run.path), cfg.evaluation)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write(run, weights, unfinished, evaluation)
    check_same_numbers(run, unfinished)
    put_in_place(unfinished, folder)
    log.info("exported the %s weights of %s to %s", weights, run.path, folder)
    return folder


def check_exportable(run: TrainedRun) -> None:
    """Raise ValueError where the model has parts that are not ours: a folder cannot carry their code."""
    for name, part in run.cfg.model.items():
        if foreign := foreign_targets(part):
            raise ValueError(
                f"checkpoint={run.path}: model.{name!s} is {foreign[0]}, which is not a part of depthdif, so that an export "
                "could not be loaded; use the checkpoint itself"
            )


def write(run: TrainedRun, weights: str, folder: Path, evaluation: Mapping[str, Any] | None) -> None:
    """The whole export of a run that holds its weights already."""
    OceanPipeline.of(run.module, TrainedModel.of(run.cfg, run.data.state_dict())).save_pretrained(folder)
    (folder / "README.md").write_text(model_card(run, weights, evaluation), encoding="utf-8")
    OmegaConf.save(
        OmegaConf.create(dict(run.checkpoint["hyper_parameters"])), folder / "training_config.yaml"
    )


def check_same_numbers(run: TrainedRun, folder: Path) -> None:
    """Load the folder back and reconstruct the first validation patch with it; RuntimeError where one bit differs."""
    patch = run.data.val_dataloader().dataset[0]
    batch = {name: torch.as_tensor(value)[None] for name, value in patch.items()}
    expected = run.data.standardization.restore(run.module.reconstruct(batch).float())
    found = OceanPipeline.from_pretrained(folder).reconstruct(batch)
    if not torch.equal(expected, found):
        difference = float((expected - found).abs().max())
        raise RuntimeError(f"{folder}: reconstructs other numbers than {run.path} (up to {difference:g})")


def put_in_place(unfinished: Path, folder: Path) -> None:
    """Rename a complete folder to its name; one that is there makes room first."""
    if folder.exists():
        replaced = folder.with_name(f"{folder.name}.replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
        unfinished.rename(folder)
        shutil.rmtree(replaced)
    else:
        unfinished.rename(folder)

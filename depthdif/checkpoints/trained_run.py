"""A trained run from its checkpoint: the config it was trained with, its data, and its module with any of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.build import build_data, build_module, precision_string
from depthdif.checkpoints.resume import check_architecture, read_run_checkpoint
from depthdif.checkpoints.run_overrides import with_overrides
from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.ema.checkpoint import select_weights

# The parts of a recorded config that a trained model is built from.
RECORDED = ("data", "model", "seed")


@dataclass(frozen=True)
class TrainedRun:
    """An opened checkpoint.

    Attributes:
        path: of the checkpoint.
        cfg: `data`, `model` and `seed` of the run, with the run overrides applied.
        data: with the statistics of the checkpoint; its validation set is the one of the run.
        module: on the CPU, in evaluation mode, with random weights until `load`.
        checkpoint: content of the file.
        precision: Lightning's string for the precision of the run, or the one that is set.
    """

    path: Path
    cfg: DictConfig
    data: OceanDataModule
    module: DiffusionModule
    checkpoint: dict[str, Any]
    precision: str

    def load(self, variant: str | float = "auto") -> str:
        """Load a variant of the weights into the module and return its name: "standard", "ema" or "ema_0.99".

        Raises:
            UserError: the checkpoint has no such weights.
        """
        try:
            state_dict, name = select_weights(self.checkpoint, variant, self.path)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.module.load_state_dict(state_dict)
        return name


def open_trained(cfg: DictConfig) -> TrainedRun:
    """Open `cfg.checkpoint` as it was trained; the file is read once.

    Depths, variable, statistics and first guess are checked against the checkpoint.

    Args:
        cfg: with `checkpoint`, and optionally `run_overrides`, a list such as ["data.path=other.nc", "model/sampler=ddim"],
            and `precision`.

    Raises:
        FileNotFoundError, UserError: no such file, no checkpoint of a training run, an override that does not fit to the run,
            a checkpoint with code that does not belong to depthdif, or that does not fit to the data.
    """
    path = Path(cfg.checkpoint)
    checkpoint = read_run_checkpoint("checkpoint", path)
    recorded = checkpoint.get("hyper_parameters")
    statistics = checkpoint.get(OceanDataModule.__qualname__)
    if not (isinstance(recorded, Mapping) and isinstance(statistics, Mapping) and {*RECORDED} <= {*recorded}):
        raise UserError(
            f"checkpoint={path}: has no config and no statistics of the data; set checkpoint to one that "
            "the training of depthdif wrote"
        )
    overrides = list(cfg.get("run_overrides") or [])
    as_trained = with_overrides(OmegaConf.create({key: recorded[key] for key in RECORDED}), overrides)
    precision = cfg.get("precision") or recorded.get("trainer", {}).get("precision")
    check_targets(f"checkpoint={path}", OmegaConf.create({**as_trained, "precision": precision}), cfg)
    data = build_data(as_trained, statistics)
    module = build_module(as_trained, data).eval()
    check_architecture(f"checkpoint={path}", module.state_dict(), checkpoint["state_dict"])
    return TrainedRun(path, as_trained, data, module, checkpoint, precision_string(precision))


def device_of(accelerator: str) -> torch.device:
    """The device for `accelerator=auto`, `cpu`, `gpu` or `cuda`.

    Raises:
        UserError: another name, or a GPU where there is none.
    """
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise UserError(f"accelerator={accelerator}; expected auto, cpu or gpu: set accelerator=auto")
    has_gpu = torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") and not has_gpu:
        raise UserError(f"accelerator={accelerator}, but this machine has no GPU; set accelerator=auto")
    return torch.device("cuda" if has_gpu and accelerator != "cpu" else "cpu")

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
from depthdif.checkpoints.resume import check_architecture
from depthdif.checkpoints.run_overrides import with_overrides
from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.ema import read_checkpoint
from depthdif.ema.checkpoint import select_weights

# The parts of a config that make a trained model what it is.
RECORDED = ("data", "model", "seed")


@dataclass(frozen=True)
class TrainedRun:
    """An opened checkpoint.

    Attributes:
        path: of the checkpoint.
        cfg: `data`, `model` and `seed` that the run was trained with, with the run overrides of now on top.
        data: with the statistics of the checkpoint; its validation set is the one of the run.
        module: on the CPU, in evaluation mode, with random weights until `load`.
        checkpoint: content of the file.
        precision: Lightning's string for the precision of the run, or the one that is set now.
    """

    path: Path
    cfg: DictConfig
    data: OceanDataModule
    module: DiffusionModule
    checkpoint: dict[str, Any]
    precision: str

    def load(self, variant: str | float = "auto") -> str:
        """Put a variant of the weights into the module and return its name: "standard", "ema" or "ema_0.99".

        Raises:
            UserError: the checkpoint holds no such weights.
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
        cfg: with `checkpoint`, and where something else than the recorded run is wanted `run_overrides`, a list such as
            ["data.path=other.nc", "model/sampler=ddim"], and `precision`.

    Raises:
        FileNotFoundError, UserError: no such file, no checkpoint of a training run, an override that does not fit to the run,
            a checkpoint that names code that does not belong to depthdif, or that does not fit to the data.
    """
    path = Path(cfg.checkpoint)
    try:
        checkpoint = read_checkpoint(path)
    except (FileNotFoundError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else UserError
        raise kind(f"checkpoint={error}; set checkpoint=runs/DATE_TIME/checkpoints/last.ckpt") from error
    recorded = checkpoint.get("hyper_parameters")
    statistics = checkpoint.get(OceanDataModule.__qualname__)
    if not (isinstance(recorded, Mapping) and isinstance(statistics, Mapping) and {*RECORDED} <= {*recorded}):
        raise UserError(
            f"checkpoint={path}: holds no config and no statistics of the data; set checkpoint to one that "
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
    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(f"accelerator={accelerator}, but this machine has no GPU; set accelerator=auto")
    return torch.device("cuda")

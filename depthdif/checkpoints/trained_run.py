"""A trained run from its checkpoint: the config it was trained with, its data, and its module with any of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from depthdif import UserError
from depthdif.build import build_data, build_module, precision_string
from depthdif.checkpoints.resume import check_architecture, read_run_checkpoint
from depthdif.checkpoints.run_overrides import with_overrides
from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.data.compatibility import check_first_guess, describe_first_guess
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.ema.checkpoint import select_weights

# The parts of a recorded config that a trained model is built from.
RECORDED = ("data", "model", "seed")


@dataclass(frozen=True)
class TrainedModel:
    """An opened checkpoint, without the data of its training.

    Attributes:
        path: of the checkpoint.
        cfg: `data`, `model` and `seed` of the run, with the run overrides applied.
        module: on the CPU, in evaluation mode, with random weights until `load`.
        checkpoint: content of the file.
        precision: Lightning's string for the precision of the run, or the one that is set.
    """

    path: Path
    cfg: DictConfig
    module: DiffusionModule
    checkpoint: dict[str, Any]
    precision: str

    @property
    def state(self) -> Mapping[str, Any]:
        """State of the data module: variable, units, depths, surface fields, and the statistics of the training region."""
        state: Mapping[str, Any] = self.checkpoint[OceanDataModule.__qualname__]
        return state

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


@dataclass(frozen=True)
class TrainedRun(TrainedModel):
    """An opened checkpoint with its `data`, which hold its statistics; their validation set is that of the run."""

    data: OceanDataModule


def open_model(cfg: DictConfig) -> TrainedModel:
    """Open `cfg.checkpoint` without the data that it was trained on; arguments and errors are those of `open_trained`."""
    path, checkpoint, as_trained, precision = _read(cfg)
    first_guess = describe_first_guess(instantiate(as_trained.model.first_guess))
    check_first_guess(checkpoint[OceanDataModule.__qualname__]["first_guess"], first_guess)
    return TrainedModel(path, as_trained, *_module(path, checkpoint, as_trained), precision)


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
    path, checkpoint, as_trained, precision = _read(cfg)
    data = build_data(as_trained, checkpoint[OceanDataModule.__qualname__])
    return TrainedRun(path, as_trained, *_module(path, checkpoint, as_trained), precision, data)


def _read(cfg: DictConfig) -> tuple[Path, dict[str, Any], DictConfig, str]:
    """Path and content of the checkpoint, its config with the overrides, and the precision."""
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
    return path, checkpoint, as_trained, precision_string(precision)


def _module(
    path: Path, checkpoint: dict[str, Any], as_trained: DictConfig
) -> tuple[DiffusionModule, dict[str, Any]]:
    module = build_module(as_trained, checkpoint[OceanDataModule.__qualname__]).eval()
    check_architecture(f"checkpoint={path}", module.state_dict(), checkpoint["state_dict"])
    return module, checkpoint


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

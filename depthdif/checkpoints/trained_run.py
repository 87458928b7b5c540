"""A trained run out of its checkpoint: the config it was trained with, its data, and its module with any of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from depthdif.build import build_data, build_module
from depthdif.checkpoints.resume import check_architecture
from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.ema import load_weights, read_checkpoint

# The parts of a config that make a trained model what it is.
RECORDED = ("data", "model", "seed")


@dataclass(frozen=True)
class TrainedRun:
    """A checkpoint that was opened.

    Attributes:
        path: of the checkpoint.
        cfg: what the run was trained with, and what was typed on top.
        data: with the statistics of the checkpoint; its validation set is the one of the run.
        module: on the CPU, in evaluation mode, with random weights until `load`.
        checkpoint: content of the file.
        precision: Lightning's name of the precision of the run, or what was set with `precision=`.
    """

    path: Path
    cfg: DictConfig
    data: OceanDataModule
    module: DiffusionModule
    checkpoint: Mapping[str, Any]
    precision: str = "32-true"

    def load(self, which: str | float = "auto") -> str:
        """Put weights of the checkpoint into the module; returns which: "standard", "ema" or "ema_0.99".

        Raises:
            ValueError: the checkpoint holds no such weights.
        """
        state_dict, name = load_weights(self.path, which)
        self.module.load_state_dict(state_dict)
        return name


def open_trained(cfg: DictConfig) -> TrainedRun:
    """Open `cfg.checkpoint` as it was trained.

    Depths, variable, statistics and first guess are checked against the checkpoint; what was typed on the command line
    (`data.path=other.nc`, `model/sampler=ddim`) replaces what the run was trained with.

    Args:
        cfg: with `checkpoint`, `data`, `model` and `seed`; those of a Hydra job, whose overrides count as typed.

    Raises:
        FileNotFoundError, ValueError: no such file, no checkpoint of a training run, one that names code that does not belong
            to depthdif, or one that does not fit to the data.
    """
    path = Path(cfg.checkpoint)
    try:
        checkpoint = read_checkpoint(path)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(
            f"checkpoint={error}; type checkpoint=runs/DATE_TIME/checkpoints/last.ckpt"
        ) from error
    recorded = checkpoint.get("hyper_parameters")
    statistics = checkpoint.get(OceanDataModule.__qualname__)
    if not (isinstance(recorded, Mapping) and isinstance(statistics, Mapping) and {*RECORDED} <= {*recorded}):
        raise ValueError(
            f"checkpoint={path}: holds no config and no statistics of the data; type the path of a checkpoint that "
            "scripts/train.py wrote"
        )
    typed = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    as_trained = with_typed(OmegaConf.create({key: recorded[key] for key in RECORDED}), cfg, typed)
    check_targets(f"checkpoint={path}", as_trained, cfg)
    data = build_data(as_trained, statistics)
    module = build_module(as_trained, data).eval()
    check_architecture(f"checkpoint={path}", module.state_dict(), checkpoint["state_dict"])
    return TrainedRun(path, as_trained, data, module, checkpoint, precision_of(recorded, cfg))


def precision_of(recorded: Mapping[str, Any], cfg: DictConfig) -> str:
    """Lightning's name of the precision: `cfg.precision` where it is set, else that of the recorded trainer."""
    precision = cfg.get("precision") or recorded.get("trainer", {}).get("precision", "32-true")
    return str(instantiate(precision) if isinstance(precision, Mapping) else precision)


def with_typed(recorded: DictConfig, composed: DictConfig, typed: list[str]) -> DictConfig:
    """The `recorded` config with every node that a `typed` override names taken from the `composed` one."""
    for override in typed:
        name = override.lstrip("+~").partition("=")[0].replace("/", ".")
        # An option put elsewhere, such as model/first_guess@baselines.oi, says nothing of the model.
        if name.partition(".")[0] in RECORDED and "@" not in name:
            value = OmegaConf.select(composed, name)
            plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            OmegaConf.update(recorded, name, plain, merge=False, force_add=True)
    return recorded


def device_of(accelerator: str) -> torch.device:
    """The device that `accelerator=auto`, `cpu`, `gpu` or `cuda` names.

    Raises:
        ValueError: another name, or a GPU where there is none.
    """
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise ValueError(f"accelerator={accelerator}; expected auto, cpu or gpu, e.g. accelerator=auto")
    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(f"accelerator={accelerator}, but there is no GPU here; type accelerator=auto")
    return torch.device("cuda")

"""Resuming a run: every way in which its checkpoint cannot be used is one clear error, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from lightning_fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from depthdif import UserError
from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.data.datamodule import OceanDataModule
from depthdif.ema import read_checkpoint


class ReadCheckpoint(TorchCheckpointIO):
    """Gives Lightning the content of a checkpoint that was read already, instead of reading the file again."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """The content, whatever the path; Lightning moves its tensors to the devices."""
        return self.content


def read_resumed(path: str | Path) -> dict[str, Any]:
    """The content of the checkpoint at `resume=path`; no code from the file is run.

    Raises:
        FileNotFoundError, UserError: it is missing, truncated, or no checkpoint of a training run.
    """
    try:
        checkpoint = read_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"resume={error}; set resume=runs/DATE_TIME/checkpoints/last.ckpt") from error
    except ValueError as error:
        raise UserError(f"resume={error}; set resume to the path of another checkpoint") from error
    if not isinstance(checkpoint.get("state_dict"), Mapping):
        raise UserError(
            f"resume={path}: holds no state_dict; set resume to the path of a checkpoint of a training run"
        )
    return checkpoint


def statistics_in(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the data module of the resumed run has measured; None where the checkpoint holds nothing of it.

    Taken before the module is built: the residual is scaled by them, and other data are refused at once.
    """
    statistics = checkpoint.get(OceanDataModule.__qualname__)
    return statistics if isinstance(statistics, dict) else None


def check_resumed(path: str | Path, checkpoint: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    """Raise UserError where the checkpoint at `path` cannot continue a model with the `expected` state dict."""
    check_architecture(f"resume={path}", expected, checkpoint["state_dict"])
    if "optimizer_states" not in checkpoint:
        raise UserError(
            f"resume={path}: holds weights without an optimizer, so training cannot go on as if never stopped; "
            "set resume to a checkpoint saved with callbacks.last_checkpoint.save_weights_only=false"
        )


def check_architecture(source: str, expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raise UserError where the tensors `given` in the checkpoint `source` are not those of the model."""
    missing, unknown = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
    reshaped = sorted(
        key for key in expected.keys() & given.keys() if expected[key].shape != given[key].shape
    )
    if missing or unknown or reshaped:
        raise UserError(
            f"{source}: of another architecture ({len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(reshaped)} of another shape, such as {(reshaped or missing or unknown)[0]}); "
            "set the model/denoiser and data that it was trained with"
        )


def keep_decays(resumed: DictConfig, recorded: Mapping[str, Any]) -> None:
    """Keep the decays that the resumed run had worked out: suited to another length they would be other averages."""
    for field, node in list(resumed.model.ema.items()):
        if OmegaConf.is_dict(node):
            resumed.model.ema[field] = recorded["model"]["ema"][field]


def with_overrides_of_resumed_run(cfg: DictConfig) -> tuple[DictConfig, dict[str, Any] | None]:
    """Where `resume` is set: the config that the resumed run was started with, with the overrides of now on top.

    Returns:
        That config and the content of the checkpoint; `cfg` and None where `resume` is not set.

    Raises:
        UserError, OSError: the checkpoint cannot be read.
    """
    if cfg.resume is None:
        return cfg, None
    checkpoint = read_resumed(cfg.resume)
    recorded = checkpoint.get("hyper_parameters", {})
    earlier = [
        override
        for override in recorded.get("overrides", [])
        if not override.lstrip("+~").startswith("resume=")
    ]
    now = list(HydraConfig.get().overrides.task)
    resumed = compose(config_name="train", overrides=earlier + now)
    if not any("model.ema" in override or "model/ema" in override for override in now):
        keep_decays(resumed, recorded)
    check_targets(f"resume={cfg.resume}", resumed, cfg)
    return resumed, checkpoint

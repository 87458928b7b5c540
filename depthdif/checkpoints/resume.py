"""Checkpoints of training runs, read once and checked before anything is written, and the config of a resumed run."""

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
from depthdif.ema import read_checkpoint


class ReadCheckpoint(TorchCheckpointIO):
    """Passes the content of a checkpoint that was read already to Lightning, instead of reading the file again."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """The content, for every path; Lightning moves its tensors to the devices."""
        return self.content


def read_run_checkpoint(key: str, path: str | Path) -> dict[str, Any]:
    """The content of the checkpoint of a training run at `KEY=PATH`; no code from the file is run.

    Raises:
        FileNotFoundError, UserError: it is missing, truncated, or no checkpoint of a training run.
    """
    try:
        checkpoint = read_checkpoint(path)
    except (FileNotFoundError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else UserError
        raise kind(f"{key}={error}; set {key}=runs/DATE_TIME/checkpoints/last.ckpt") from error
    if not isinstance(checkpoint.get("state_dict"), Mapping):
        raise UserError(
            f"{key}={path}: has no state_dict; set {key} to the path of a checkpoint of a training run"
        )
    return checkpoint


def check_resumed(path: str | Path, checkpoint: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    """Raise UserError where the checkpoint at `path` cannot continue a model with the `expected` state dict."""
    check_architecture(f"resume={path}", expected, checkpoint["state_dict"])
    if "optimizer_states" not in checkpoint:
        raise UserError(
            f"resume={path}: contains weights without an optimizer, so training cannot continue from it; "
            "set resume to a checkpoint saved with callbacks.last_checkpoint.save_weights_only=false"
        )


def check_architecture(source: str, expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> None:
    """Raise UserError where the tensors of the checkpoint `source` do not have the keys and shapes of the model."""
    missing, unknown = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
    common = sorted(expected.keys() & actual.keys())
    reshaped = [key for key in common if expected[key].shape != actual[key].shape]
    if missing or unknown or reshaped:
        raise UserError(
            f"{source}: of another architecture ({len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(reshaped)} of another shape, such as {(reshaped or missing or unknown)[0]}); "
            "set the model/denoiser and data that it was trained with"
        )


def keep_decays(resumed: DictConfig, recorded: Mapping[str, Any]) -> None:
    """Keep the computed decays of the resumed run: those for another length would make other averages."""
    for field, node in list(resumed.model.ema.items()):
        if OmegaConf.is_dict(node):
            resumed.model.ema[field] = recorded["model"]["ema"][field]


def with_overrides_of_resumed_run(cfg: DictConfig) -> tuple[DictConfig, dict[str, Any] | None]:
    """Where `resume` is set, the config of the resumed run with the present overrides applied after its own.

    Returns:
        That config and the content of the checkpoint; `cfg` and None where `resume` is not set.

    Raises:
        UserError, OSError: the checkpoint cannot be read.
    """
    if cfg.resume is None:
        return cfg, None
    checkpoint = read_run_checkpoint("resume", cfg.resume)
    recorded = checkpoint.get("hyper_parameters", {})
    earlier = [line for line in recorded.get("overrides", []) if not line.lstrip("+~").startswith("resume=")]
    now = list(HydraConfig.get().overrides.task)
    resumed = compose(config_name="train", overrides=earlier + now)
    if not any("model.ema" in override or "model/ema" in override for override in now):
        keep_decays(resumed, recorded)
    check_targets(f"resume={cfg.resume}", resumed, cfg)
    return resumed, checkpoint

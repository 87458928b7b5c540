"""Going on from a checkpoint: every way in which it cannot be used is one clear error, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.data.datamodule import OceanDataModule
from depthdif.ema import read_checkpoint


def read_resumed(path: str | Path) -> dict[str, Any]:
    """The content of the checkpoint at `resume=path`; no code from the file is run.

    Raises:
        FileNotFoundError, ValueError: when it is missing, truncated, or no checkpoint of a training run.
    """
    try:
        checkpoint = read_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"resume={error}; type resume=runs/DATE_TIME/checkpoints/last.ckpt"
        ) from error
    except ValueError as error:
        raise ValueError(f"resume={error}; type the path of another checkpoint") from error
    if not isinstance(checkpoint.get("state_dict"), Mapping):
        raise ValueError(
            f"resume={path}: holds no state_dict; type the path of a checkpoint of a training run"
        )
    return checkpoint


def read_statistics(path: str | Path) -> dict[str, Any] | None:
    """What the data module of the run resumed had measured; None where the checkpoint holds nothing of it.

    Taken before the module is built: the residual is scaled by them, and other data are refused at once.
    """
    statistics = read_resumed(path).get(OceanDataModule.__qualname__)
    return statistics if isinstance(statistics, dict) else None


def check_resumed(path: str | Path, expected: Mapping[str, Tensor]) -> None:
    """Check that `path` can continue the training of a model with the `expected` state dict.

    Raises:
        FileNotFoundError, ValueError: when it cannot, and why.
    """
    checkpoint = read_resumed(path)
    check_architecture(f"resume={path}", expected, checkpoint["state_dict"])
    if "optimizer_states" not in checkpoint:
        raise ValueError(
            f"resume={path}: holds weights without an optimizer, so training cannot go on as if never stopped; "
            "type the path of a checkpoint saved with callbacks.last_checkpoint.save_weights_only=false"
        )


def check_architecture(named: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise ValueError where the tensors `found` in the checkpoint `named` are not those of the model."""
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    reshaped = sorted(
        key for key in expected.keys() & found.keys() if expected[key].shape != found[key].shape
    )
    if missing or unknown or reshaped:
        raise ValueError(
            f"{named}: of another architecture ({len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(reshaped)} of another shape, such as {(reshaped or missing or unknown)[0]}); "
            "type the model/denoiser and data that it was trained with"
        )


def keep_decays(resumed: DictConfig, recorded: Mapping[str, Any]) -> None:
    """Go on with the decays that the run resumed had worked out: suited to another length they would be other averages."""
    for field, law in list(resumed.model.ema.items()):
        if OmegaConf.is_dict(law):
            resumed.model.ema[field] = recorded["model"]["ema"][field]


def with_overrides_of_resumed_run(cfg: DictConfig) -> DictConfig:
    """When `resume` is set: the config that the run resumed was started with, and the overrides typed now on top.

    Raises:
        ValueError, OSError: when the checkpoint cannot be read.
    """
    if cfg.resume is None:
        return cfg
    recorded = read_resumed(cfg.resume).get("hyper_parameters", {})
    earlier = recorded.get("overrides", [])
    typed = list(HydraConfig.get().overrides.task)
    kept = [override for override in earlier if not override.lstrip("+~").startswith("resume=")]
    resumed = compose(config_name="train", overrides=kept + typed)
    if not any("model.ema" in override or "model/ema" in override for override in typed):
        keep_decays(resumed, recorded)
    check_targets(f"resume={cfg.resume}", resumed, cfg)
    return resumed

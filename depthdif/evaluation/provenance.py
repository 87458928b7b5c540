"""What it takes to do an evaluation again, and whether its region was held out."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.data.patches import Selection
from depthdif.diffusion.precision import fastest_precision
from depthdif.evaluation.evaluator import Run
from depthdif.evaluation.plan import EvaluationPlan

PACKAGES = ("depthdif", "torch", "pytorch-lightning", "diffusers", "numpy", "xarray")


def provenance(
    plan: EvaluationPlan, run: Run, device: torch.device, config: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """Plain values for the JSON: checkpoint, versions, device, seeds and both configs."""
    return {
        "checkpoint": str(run.path),
        "checkpoint_sha256": sha256(run.path),
        "optimizer_steps": int(run.checkpoint["global_step"]),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "seed": plan.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "precision": fastest_precision(device.type),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "variable": run.data.field.variable,
        "units": run.data.field.units,
        "seen_in_training": seen_in_training(run, config),
        "run": OmegaConf.to_container(run.cfg, resolve=True),
        "evaluation": {key: value for key, value in config.items() if key not in ("data", "model")},
    }


def sha256(path: Path) -> str:
    """Checksum of a file, so that a checkpoint that was overwritten is told from this one."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seen_in_training(run: Run, config: Mapping[str, Any]) -> bool:
    """Whether the model was trained on cells of the region that is evaluated: only where another one was typed.

    Raises:
        ValueError: the checkpoint names code for its regions that neither we nor the user named.
    """
    data = run.checkpoint["hyper_parameters"]["data"]
    recorded = OmegaConf.create({name: data.get(name) for name in ("validation", "training")})
    check_targets(f"checkpoint={run.path}", recorded, config)

    def selected(region: Any) -> Selection:
        return instantiate(region).select(run.data.field)

    trained = selected(recorded.training) if recorded.training else selected(recorded.validation).complement()
    return trained.overlaps(selected(run.cfg.data.validation))

"""The record of an evaluation: checkpoint, versions, device, seeds, and whether the model was trained in its region."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.checkpoints.trusted_targets import check_targets
from depthdif.data.patches import Selection
from depthdif.evaluation.plan import EvaluationPlan
from depthdif.files import sha256

PACKAGES = ("depthdif", "torch", "pytorch-lightning", "diffusers", "numpy", "xarray")


def provenance(
    plan: EvaluationPlan,
    run: TrainedRun,
    device: torch.device,
    config: Mapping[str, Any],
    *,
    seconds: float,
    seen: bool,
) -> dict[str, Any]:
    """Plain values for the JSON: checkpoint, versions, device, seeds and both configs.

    `seconds` is the duration, `seen` whether the model was trained on a part of the region.
    """
    return {
        "checkpoint": str(run.path),
        "checkpoint_sha256": sha256(run.path),
        "optimizer_steps": int(run.checkpoint["global_step"]),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "seed": plan.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "precision": run.precision,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "seen_in_training": seen,
        "run": OmegaConf.to_container(run.cfg, resolve=True),
        "evaluation": {key: value for key, value in config.items() if key not in ("data", "model")},
    }


def seen_in_training(run: TrainedRun, config: Mapping[str, Any]) -> bool:
    """Whether the model was trained on cells of the region that is evaluated: only where another region was set.

    Raises:
        UserError: the checkpoint refers to code for its regions that is neither in depthdif nor in `config`.
    """
    data = run.checkpoint["hyper_parameters"]["data"]
    recorded = OmegaConf.create({name: data.get(name) for name in ("validation", "training")})
    check_targets(f"checkpoint={run.path}", recorded, config)

    def selected(region: Any) -> Selection:
        return instantiate(region).select(run.data.field)

    trained = selected(recorded.training) if recorded.training else selected(recorded.validation).complement()
    return trained.overlaps(selected(run.cfg.data.validation))

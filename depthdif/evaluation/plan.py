"""The settings of an evaluation, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from depthdif import UserError, check_integer

LEAST = {"ensemble_size": 1, "density_ensemble_size": 1, "bootstrap_samples": 100, "batch_size": 1, "seed": 0}


@dataclasses.dataclass(frozen=True)
class EvaluationPlan:
    """The keys of `conf/evaluate.yaml`, explained there, that are not part of the run.

    Raises:
        UserError: a value out of range.
    """

    weights: Sequence[str]
    ensemble_size: int
    patches: int | None
    densities: Sequence[float]
    density_ensemble_size: int
    bootstrap_samples: int
    panel_depths: Sequence[float]
    batch_size: int
    seed: int
    output_dir: Path
    baselines: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.weights:
            raise UserError("weights=[]; expected weights of the checkpoint, such as weights=[standard,ema]")
        for name, least in LEAST.items():
            check_integer(name, getattr(self, name), least)
        if self.patches is not None:
            check_integer("patches", self.patches, 1)
        if any(not 0 < density <= 1 for density in self.densities):
            raise UserError(
                f"densities={list(self.densities)}; expected shares of the ocean columns above 0 and at most 1, such as "
                "densities=[0.01,0.05]"
            )
        if not self.panel_depths or min(self.panel_depths) < 0:
            raise UserError(
                f"panel_depths={list(self.panel_depths)}; expected metres below the surface, such as panel_depths=[0,100,500]"
            )

    @classmethod
    def from_config(cls, cfg: DictConfig) -> EvaluationPlan:
        """The plan of a composed config."""
        names = [field.name for field in dataclasses.fields(cls)]
        values: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, names), resolve=True)
        return cls(**{**values, "output_dir": Path(cfg.output_dir)})

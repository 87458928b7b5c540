"""The settings of a trained model and the statistics of its data, as a JSON file beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from depthdif import UserError
from depthdif.build import resolved
from depthdif.checkpoints.trusted_targets import foreign_targets
from depthdif.data.conditions import Conditioner
from depthdif.data.normalization import Standardization
from depthdif.terminal import command

DESCRIPTION = "ocean.json"


@dataclass(frozen=True)
class TrainedModel:
    """A trained model without its weights; `ocean.json` of an export.

    Attributes:
        config: `model` and `seed` of the training config, resolved; without `ema`.
        data: state of the data module in a checkpoint (variable, units, depths, statistics).
        precision: that the network computes in, such as "bf16-mixed".
    """

    config: dict[str, Any]
    data: dict[str, Any]
    precision: str = "32-true"

    @classmethod
    def of(cls, cfg: DictConfig, data: Mapping[str, Any], precision: str) -> TrainedModel:
        """From a config of training, the `state_dict` of its data module, and the precision of the run."""
        model = {key: part for key, part in resolved(cfg.model).items() if key != "ema"}
        return cls({"model": model, "seed": cfg.seed}, dict(data), precision)

    def conditioner(self) -> Conditioner:
        """The function from physical units to the conditions of a patch."""
        target, surface = (
            Standardization(**{key: np.array(row, np.float64) for key, row in self.data[name].items()})
            for name in ("standardization", "surface_standardization")
        )
        return Conditioner(target, surface, instantiate(self.config["model"]["first_guess"]))

    @classmethod
    def read(cls, folder: str | Path) -> TrainedModel:
        """Read `ocean.json` of an export.

        Raises:
            FileNotFoundError: the folder has no such file.
            UserError: it has a `_target_` that does not belong to depthdif.
        """
        path = Path(folder) / DESCRIPTION
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected a folder written by {command('export')}")
        content = json.loads(path.read_text(encoding="utf-8"))
        if foreign := foreign_targets(content["config"]):
            raise UserError(f"{path}: uses {foreign[0]}, which is not a part of depthdif and is not run")
        return cls(**content)

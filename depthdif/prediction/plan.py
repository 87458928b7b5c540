"""The settings of a prediction, checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from depthdif import UserError, check_integer
from depthdif.data.patches import Box, as_patch_size
from depthdif.observations.quality import Quality

LEAST = {
    "ensemble_size": 1,
    "neighbours": 16,
    "patches_at_once": 1,
    "bootstrap_samples": 100,
    "seed": 0,
}


@dataclasses.dataclass(frozen=True)
class PredictionPlan:
    """The keys of `conf/predict.yaml`, explained there, that are not part of the run.

    Raises:
        UserError: a value out of range, or dates that are none or reversed.
    """

    observations: str | Sequence[str]
    times: Sequence[str]
    output: Path
    region: Box
    every: str
    window: str
    surface: str | Sequence[str] | None
    surface_variables: Mapping[str, str] | None
    regrid: bool
    grid: str | None
    standard_name: str | Sequence[str] | Mapping[str, str] | None
    weights: str | float | Sequence[str | float]
    ensemble_size: int
    quantiles: Sequence[float]
    members: bool
    quality: Quality
    columns: Mapping[str, str | None]
    level_tolerance: float
    neighbours: int
    tile: int | Sequence[int] | None
    overlap: float
    patches_at_once: int
    withhold: float
    bootstrap_samples: int
    figure_depths: Sequence[float]
    section: Mapping[str, Any] | None
    seed: int
    overwrite: bool
    baselines: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            check_integer(name, getattr(self, name), least)
        if not self.variants:
            raise UserError(
                "weights=[]; expected variants of the weights, such as weights=[standard,ema], or weights=auto"
            )
        for name, inside, expected, example in (
            ("quantiles", all(0 <= q <= 1 for q in self.quantiles), "numbers from 0 to 1", "[0.05,0.95]"),
            ("level_tolerance", 0 <= self.level_tolerance < math.inf, "metres, at least 0", "2"),
            ("overlap", 0 <= self.overlap <= 0.5, "a share of a tile from 0 to 0.5", "0.5"),
            ("withhold", 0 <= self.withhold < 1, "a share of the profiles from 0 to below 1", "0.2"),
            (
                "figure_depths",
                len(self.figure_depths) and min(self.figure_depths) >= 0,
                "metres below the surface",
                "[0,100]",
            ),
        ):
            if not inside:
                raise UserError(
                    f"{name}={getattr(self, name)}; expected {expected}, such as {name}={example}"
                )
        if self.quantiles and self.ensemble_size < 2:
            raise UserError(
                "quantiles need at least two members; set ensemble_size=8, or quantiles=[] to leave them out"
            )
        if self.tile is not None:
            as_patch_size(self.tile, "tile")
        self.dates  # noqa: B018 (checks times, every and window)
        self.half_window  # noqa: B018

    @classmethod
    def from_config(cls, cfg: DictConfig) -> PredictionPlan:
        """The plan of a composed config."""
        names = [field.name for field in dataclasses.fields(cls)]
        values: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, names), resolve=True)
        built = {name: instantiate(cfg[name]) for name in ("region", "quality")}
        return cls(**{**values, **built, "output": Path(cfg.output)})

    @property
    def variants(self) -> list[str | float]:
        """The weights as a list."""
        return [self.weights] if isinstance(self.weights, str | float) else list(self.weights)

    @property
    def dates(self) -> np.ndarray:
        """(T,) datetime64[s], the times to predict."""
        step = _duration("every", self.every)
        if len(self.times) != 2:
            raise UserError(
                f"times={list(self.times)}; expected the first and the last, such as times=[2016-01-01,2016-03-31]"
            )
        try:
            first, last = (pd.Timestamp(str(time)) for time in self.times)
        except ValueError as error:
            raise UserError(
                f"times={list(self.times)} are no dates ({error}); expected such as times=[2016-01-01,2016-03-31]"
            ) from error
        if first > last:
            raise UserError(
                f"times={list(self.times)} are reversed; expected the first date before the last: set "
                f"times=[{self.times[1]},{self.times[0]}]"
            )
        return pd.date_range(first, last, freq=step).values.astype("datetime64[s]")

    @property
    def half_window(self) -> np.timedelta64:
        """How far from a time its profiles may be."""
        return np.timedelta64(_duration("window", self.window) / 2, "s")


def _duration(key: str, text: str) -> pd.Timedelta:
    try:
        duration = pd.Timedelta(text)
    except ValueError as error:
        raise UserError(
            f"{key}={text} is no duration; expected such as {key}=7D, {key}=12h or {key}=30D"
        ) from error
    if not duration > pd.Timedelta(0):
        raise UserError(f"{key}={text}; expected a duration above 0, such as {key}=7D")
    return duration

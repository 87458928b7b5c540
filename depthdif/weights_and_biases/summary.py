"""Lightning's W&B logger, which keeps the best value of each validation score in the summary of the run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

STEP = "trainer/global_step"
BEST = {"loss": "min", "mse": "min", "psnr": "max", "ssim": "max"}
VALIDATED = re.compile(r"val(?:_[^/]+)?/(?:(loss)|recon_(mse|psnr|ssim)_full_recon)")


def best_of(key: str) -> str | None:
    """Which value of a logged key is its best: "min" of losses and MSE, "max" of PSNR and SSIM; None of all other keys."""
    found = VALIDATED.fullmatch(key)
    return BEST[found[1] or found[2]] if found else None


class BestValueLogger(WandbLogger):
    """Defines the summary of each score just before its first value: its best and its last (`KEY.min`, `KEY.last`).

    Key by key, because the names of the averages are not known when the run is opened, and because W&B takes any one of
    several globs that match a key (measured with 0.31: `val/*` beside `*` is heeded in some runs and not in others).
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.defined: set[str] = set()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values, their summaries defined."""
        for key in metrics.keys() - self.defined:
            self.defined.add(key)
            if best := best_of(key):
                # A bare dot, as in val_ema_0.99/..., would mean a nested value.
                name = key.replace(".", r"\.")
                self.experiment.define_metric(name, summary=f"{best},last", step_metric=STEP, step_sync=True)
        super().log_metrics(metrics, step)

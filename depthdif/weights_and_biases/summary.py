"""Lightning's W&B logger, which keeps the best value of each validation score in the summary of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from depthdif.scores.score_names import SCORES, parse_log_key
from depthdif.weights_and_biases import STEP


def best_value(key: str) -> str | None:
    """Which value of a log key is its best: "min" or "max" for a validation score or loss, None for any other key."""
    parsed = parse_log_key(key)
    if parsed is None:
        return None
    return "max" if parsed[1] in SCORES and SCORES[parsed[1]].higher_is_better else "min"


class BestValueLogger(WandbLogger):
    """Defines the summary of each score just before its first value: its best and its last (`KEY.min`, `KEY.last`).

    Each key is defined by its own name, because the averages are not known when the run is opened, and because W&B 0.31 uses
    an arbitrary one of several globs that match a key, such as `val/*` and `*`.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.defined: set[str] = set()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values; a key that is new is defined first."""
        for key in metrics.keys() - self.defined:
            self.defined.add(key)
            if best := best_value(key):
                # A dot that is not escaped, as in val_ema_0.99/..., means a nested value.
                name = key.replace(".", r"\.")
                self.experiment.define_metric(name, summary=f"{best},last", step_metric=STEP, step_sync=True)
        super().log_metrics(metrics, step)

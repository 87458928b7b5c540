"""Names of the scores of a reconstruction: log keys, labels, units, digits, and which direction is better."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STANDARD = "standard"
"""The variant of the raw optimiser weights; averages are "ema" and, for further ones, such as "ema_0.99"."""

FIRST_GUESS = "first_guess"
"""The first guess in log keys (`val_first_guess/...`)."""


@dataclass(frozen=True)
class ScoreName:
    """A score that is logged for each variant.

    Attributes:
        name: in keys and files.
        label: in tables and figures.
        units: "{}" is replaced by the units of the field; empty for a number without units.
        decimals: that a table shows.
        higher_is_better: direction.
    """

    name: str
    label: str
    units: str
    decimals: int
    higher_is_better: bool = False

    @property
    def key(self) -> str:
        """Last part of the log key, such as "recon_mse_full_recon"."""
        return f"recon_{self.name}_full_recon"

    def heading(self, units: str) -> str:
        """Label and units of a column, such as "MSE °C²"; of a field without units the label alone."""
        if not units and "{}" in self.units:
            return self.label
        return f"{self.label} {self.units.format(units)}".strip()

    def format(self, value: float | None) -> str:
        """The value with its decimals, three significant digits where these show fewer, or "-" where there is none."""
        if value is None or not math.isfinite(value):
            return "-"
        fixed = f"{value:.{self.decimals}f}"
        return fixed if abs(value) >= 10 ** (2 - self.decimals) or value == 0 else f"{value:#.3g}"


SCORES = {
    score.name: score
    for score in (
        ScoreName("mse", "MSE", "{}²", 4),
        ScoreName("crps", "CRPS", "{}", 4),
        ScoreName("psnr", "PSNR", "dB", 2, higher_is_better=True),
        ScoreName("ssim", "SSIM", "", 4, higher_is_better=True),
    )
}

MONITORED = f"val/{SCORES['mse'].key}"
"""Log key of the score that sweepers minimise, and the best checkpoint and the best job are chosen by."""


def log_keys(prefix: str, scores: Mapping[str, float], variable: str = "") -> dict[str, float]:
    """Scores by their log keys, such as `val_ema/recon_mse_full_recon` for the prefix "val_ema".

    That of one `variable` of several ends with its name: `val_ema/recon_mse_full_recon/salinity`.
    """
    suffix = f"/{variable}" if variable else ""
    return {f"{prefix}/{SCORES[name].key}{suffix}": value for name, value in scores.items()}


def scores_together(
    scores: Mapping[str, Mapping[str, float]], deviations: Mapping[str, float]
) -> dict[str, float]:
    """The scores of several variables as one, from those of each by its name.

    `mse` and `crps` are sums over the variables, each in units of the standard deviation of the variable (`deviations`), `psnr`
    and `ssim` are means over the variables. A score that one of them lacks is left out. The scores of a single variable stay in
    its own units.
    """
    if len(scores) == 1:
        return dict(*scores.values())
    scales = {"mse": {name: std**2 for name, std in deviations.items()}, "crps": deviations}
    together = {}
    for score in SCORES:
        if all(score in of_variable for of_variable in scores.values()):
            values = {name: of_variable[score] for name, of_variable in scores.items()}
            if score in scales:
                together[score] = sum(value / scales[score][name] for name, value in values.items())
            else:
                together[score] = sum(values.values()) / len(values)
    return together


def parse_log_key(key: str) -> tuple[str, str] | None:
    """Prefix and score of a log key: ("val_ema", "mse"), or ("val", "loss"); None for any other key.

    The keys of one variable of several are others (`of_variable`).
    """
    match = re.fullmatch(rf"(val(?:_[^/]+)?)/(?:(loss)|recon_({'|'.join(SCORES)})_full_recon)", key)
    return (match[1], match[2] or match[3]) if match else None


def of_variable(metrics: Mapping[str, Any], variable: str) -> dict[str, Any]:
    """The logged values of one variable of several, by the keys that those of a single variable have."""
    suffix = f"/{variable}"
    return {key.removesuffix(suffix): value for key, value in metrics.items() if key.endswith(suffix)}


def scores_by_variant(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """`{"standard": {"mse": ...}, "ema": ...}` from logged values; without EMA only the standard weights.

    The first guess is not a variant: `first_guess_scores` returns its scores.
    """
    variants: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        prefix, score = parse_log_key(key) or ("", "")
        if score in SCORES and prefix != f"val_{FIRST_GUESS}":
            variants.setdefault(prefix.removeprefix("val_"), {})[score] = float(value)
    configured = variants.pop("val", {})
    return variants or {STANDARD: configured}


def first_guess_scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Scores of the first guess from logged values; empty without one."""
    keys = {name: f"val_{FIRST_GUESS}/{score.key}" for name, score in SCORES.items()}
    return {name: float(metrics[key]) for name, key in keys.items() if key in metrics}


def variant_label(variant: str) -> str:
    """Such as "EMA 0.99" for "ema_0.99"."""
    return variant.replace("ema", "EMA", 1).replace("_", " ")

"""Fits the settings of a first guess by cross-validation over the observed columns of training patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from depthdif import UserError
from depthdif.files import near, write_text
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData
from depthdif.first_guess.search import Setting, crps, rmse, search
from depthdif.terminal import print_lines

if TYPE_CHECKING:
    from depthdif.data.datamodule import OceanDataModule
    from depthdif.data.dataset import Sample

# Training patches that the report scores; none of them takes part in the fit.
REPORTED_PATCHES = 64

IDW = {"power": Setting(2, 0.5, 20, "weights are distance^-power")}
OI_ESTIMATE = {
    "covariance": Setting(1.5, 0.5, 2, "exponent p of exp(-r^p); also gaussian (2) or exponential (1)"),
    "latitude_scale": Setting(1500, 1, 5e4, "km"),
    "longitude_scale": Setting(4000, 1, 5e4, "km"),
    "surface_scale": Setting(1.5, 0.05, 50, "standard deviations of the surface fields", True),
    "nugget": Setting(0.01, 1e-5, 10, "noise of the observations; variances are relative to variance"),
    "mean_variance": Setting(0.3, 1e-4, 1e2, "of the local mean about the training mean"),
    "trend_variance": Setting(1, 1e-4, 1e2, "of the slope on the surface fields", True),
}
OI_ERROR = {
    "variance": Setting(0.3, 1e-4, 1e2, "of the remainder; scales the error variance only"),
    "prior_profiles": Setting(10, 0.1, 1e4, "profiles that weigh as much as variance in its estimate"),
}

# The estimate is fitted by its RMSE; the settings that scale the error variance alone follow, by the CRPS.
STAGES: dict[type, list[tuple[dict[str, Setting], Callable[..., float]]]] = {
    InverseDistance: [(IDW, rmse)],
    OptimalInterpolation: [(OI_ESTIMATE, rmse), (OI_ERROR, crps)],
}


def fit_first_guess(cfg: DictConfig, overrides: Sequence[str]) -> float:
    """Fit `cfg.model.first_guess` to the training region of `cfg.data`, write it, and return its RMSE.

    The validation region takes no part in the fit; it is scored once at the end.

    Args:
        cfg: `conf/fit_first_guess.yaml` as Hydra composes it.
        overrides: of the command line, for the header of the file.

    Raises:
        UserError: a first guess without settings to fit, an unknown setting in `fixed`, or fewer than one patch.
    """
    check(cfg)
    stages = STAGES[get_class(cfg.model.first_guess._target_)]
    data: OceanDataModule = instantiate(cfg.data)
    data.setup()
    samples = data.train_dataloader().dataset
    patches = [PatchData.from_sample(samples[draw]) for draw in range(cfg.patches)]
    std = data.standardization.std
    options = dict(OmegaConf.to_container(cfg.model.first_guess, resolve=True))  # type: ignore[arg-type]
    for settings, score in stages:
        free = {name: setting for name, setting in settings.items() if name not in cfg.fixed}
        score_patches = partial(score, patches=patches, std=std)
        options |= fit_settings(options, free, score_patches, data.surface_channels)
    fitted: FirstGuess = instantiate(options)
    error = rmse(fitted, patches, std)
    header = [
        f"Fitted by: python scripts/fit_first_guess.py {' '.join(overrides)}".rstrip(),
        f"Leave-one-profile-out cross-validation over {cfg.patches} training patches of {data.field.variable} "
        f"(data.seed={cfg.data.seed}):",
        f"RMSE {error:.4f} {data.field.units}, CRPS {crps(fitted, patches, std):.4f}.",
    ]
    write_option(Path(cfg.output), options, header)
    later = [samples[draw] for draw in range(cfg.patches, cfg.patches + REPORTED_PATCHES)]
    validation = data.validation_samples()
    report(fitted, {"training": later, "validation": [validation[i] for i in range(len(validation))]}, data)
    print_lines(Console(), f"written: {near(cfg.output)}")
    return error


def fit_settings(
    options: Mapping[str, Any],
    settings: Mapping[str, Setting],
    score: Callable[[FirstGuess], float],
    surface_fields: int,
) -> dict[str, Any]:
    """The values of some settings that minimise the score of the first guess; its other `options` stay."""
    return search(settings, lambda values: score(instantiate({**options, **values})), surface_fields)


def check(cfg: DictConfig) -> None:
    """Raise UserError where the config asks for a fit that cannot be done."""
    kind = get_class(cfg.model.first_guess._target_)
    if kind not in STAGES:
        raise UserError(
            f"model.first_guess builds {kind.__name__}, which has no settings to fit; set model/first_guess=oi "
            "or model/first_guess=idw"
        )
    known = [name for settings, _ in STAGES[kind] for name in settings]
    if unknown := [name for name in cfg.fixed if name not in known]:
        raise UserError(f"fixed=[{','.join(unknown)}]; expected some of {', '.join(known)}")
    if cfg.patches < 1:
        raise UserError(f"patches={cfg.patches}; expected at least 1, e.g. patches=384")


def write_option(path: Path, options: Mapping[str, Any], header: Sequence[str]) -> None:
    """Write an option of the config group model/first_guess, each setting with its meaning."""
    settings = {**IDW, **OI_ESTIMATE, **OI_ERROR}
    lines = [f"# {line}" for line in header]
    for name, value in options.items():
        comment = f"  # {settings[name].meaning}" if name in settings else ""
        lines.append(f"{name}: {'null' if value is None else value}{comment}")
    write_text(path, "\n".join(lines) + "\n")


def report(first_guess: FirstGuess, samples: Mapping[str, Sequence[Sample]], data: OceanDataModule) -> None:
    """Print the RMSE over unobserved ocean cells, by depth and in all, beside that of the training mean."""
    std = data.standardization.std
    table = Table(title=f"RMSE over unobserved ocean cells, {data.field.units}")
    table.add_column("depth", justify="right")
    columns = []
    for name, part in samples.items():
        for label, estimate in (
            ("mean", lambda patch: np.zeros(patch.shape, np.float32)),
            ("first guess", lambda patch: first_guess(patch).estimate),
        ):
            table.add_column(f"{name}, {label}", justify="right")
            squares, count = squared_errors(estimate, part)
            overall = math.sqrt((squares * std**2).sum() / count.sum())
            columns.append([*(np.sqrt(squares / np.maximum(count, 1)) * std), overall])
    for row, depth in enumerate([*(f"{depth:g} m" for depth in data.depths), "all"]):
        table.add_row(depth, *(f"{column[row]:.3f}" for column in columns))
    Console().print(table)


def squared_errors(
    estimate: Callable[[PatchData], np.ndarray], samples: Sequence[Sample]
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squared errors over unobserved ocean cells and their count for each depth, standardised, (D,)."""
    squares, counts = [], []
    for sample in samples:
        hidden = sample["ocean_mask"] & ~sample["observed_mask"]
        error = np.where(hidden, estimate(PatchData.from_sample(sample)) - sample["target"], 0.0)
        squares.append(np.square(error).sum(axis=(1, 2)))
        counts.append(hidden.sum(axis=(1, 2)))
    return np.sum(squares, axis=0), np.sum(counts, axis=0)

"""Fits the settings of a first guess by cross-validation over the observed columns of training patches."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess
from depthdif.scores.gaussian import gaussian_crps

if TYPE_CHECKING:
    from depthdif.data.datamodule import OceanDataModule
    from depthdif.data.dataset import Sample

ARGUMENTS = (
    "observations",
    "observed_mask",
    "ocean_mask",
    "surface",
    "surface_mask",
    "latitude",
    "longitude",
)

# A compass search tries each setting times and over these factors, coarse ones first.
_FACTORS = (2.0, 1.4, 1.2, 1.1, 1.05)

Values = dict[tuple[str, int], float]
Score = Callable[[FirstGuess], float]


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where the search for a setting starts, its limits, and what the setting is."""

    start: float
    low: float
    high: float
    meaning: str
    each_surface: bool = False


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


def fit_first_guess(cfg: DictConfig, overrides: Sequence[str]) -> float:
    """Fit `cfg.model.first_guess` to the training region of `cfg.data`, write it, and return its score.

    The validation region takes no part in the fit; it is scored once at the end.

    Raises:
        ValueError: there is nothing to fit, or a setting to keep that does not exist.
    """
    kind = get_class(cfg.model.first_guess._target_)
    if kind not in (InverseDistance, OptimalInterpolation):
        raise ValueError(
            f"model.first_guess builds {kind.__name__}, which has nothing to fit; type model/first_guess=oi "
            "or model/first_guess=idw"
        )
    stages = {InverseDistance: [IDW], OptimalInterpolation: [OI_ESTIMATE, OI_ERROR]}[kind]
    known = [name for settings in stages for name in settings]
    if unknown := [name for name in cfg.fixed if name not in known]:
        raise ValueError(f"fixed=[{','.join(unknown)}]; expected some of {', '.join(known)}")
    if cfg.patches < 1:
        raise ValueError(f"patches={cfg.patches}; expected at least 1, e.g. patches=384")
    data: OceanDataModule = instantiate(cfg.data)
    data.setup()
    drawn = data.train_dataloader().dataset
    patches = [drawn[number] for number in range(cfg.patches)]
    std = data.standardization.std
    given = dict(OmegaConf.to_container(cfg.model.first_guess, resolve=True))  # type: ignore[arg-type]
    # The estimate first, by its error; what is left moves the error variance alone.
    scores: list[Score] = [lambda guess: rmse(guess, patches, std), lambda guess: crps(guess, patches, std)]
    for settings, score in zip(stages, scores, strict=False):
        free = {name: setting for name, setting in settings.items() if name not in cfg.fixed}
        given |= search(given, free, score, data.surface_channels)
    fitted: FirstGuess = instantiate(given)
    best = rmse(fitted, patches, std)
    about = [
        f"Fitted by: python scripts/fit_first_guess.py {' '.join(overrides)}".rstrip(),
        f"Leave-one-profile-out cross-validation over {cfg.patches} training patches of {data.field.variable} "
        f"(data.seed={cfg.data.seed}):",
        f"RMSE {best:.4f} {data.field.units}, CRPS {crps(fitted, patches, std):.4f}.",
    ]
    write(Path(cfg.output), given, {**IDW, **OI_ESTIMATE, **OI_ERROR}, about)
    fresh = [drawn[number] for number in range(cfg.patches, cfg.patches + 64)]
    held_out = data.val_dataloader().dataset
    fixed = [held_out[number] for number in range(len(held_out))]  # type: ignore[arg-type]
    report(fitted, {"training": fresh, "validation": fixed}, data)
    Console().print(f"written: {cfg.output}", highlight=False, soft_wrap=True)
    return best


def search(
    given: Mapping[str, Any], settings: Mapping[str, Setting], score: Score, surfaces: int
) -> dict[str, Any]:
    """The settings of least score, to three digits, found by a compass search over their logarithms.

    Args:
        given: the config of the first guess; its other settings stay.
        settings: what to search.
        score: of a first guess, the smaller the better.
        surfaces: number of surface fields; each has its own value of some settings.
    """
    counts = {name: surfaces if setting.each_surface else 1 for name, setting in settings.items()}
    best: Values = {(name, i): settings[name].start for name in settings for i in range(counts[name])}

    def value(values: Values) -> float:
        return score(instantiate({**given, **config(values, counts)}))

    scales = [key for key in best if key[0].endswith("_scale")]
    # The scales also move together, because one makes up for another.
    groups = [[key] for key in best] + ([scales] if len(scales) > 1 else [])
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[best]}"))
    with Progress(*columns, TimeElapsedColumn()) as progress:
        task = progress.add_task("fitting", total=len(_FACTORS), best="")
        least = value(best)
        for factor in _FACTORS:
            improved = True
            while improved:
                improved = False
                for keys, by in itertools.product(groups, (factor, 1 / factor)):
                    # A good direction is followed to its end.
                    while (found := value(tried := moved(best, keys, by, settings))) < least * (1 - 1e-6):
                        best, least, improved = tried, found, True
                        progress.update(task, best=f"score {least:.4f}")
            progress.advance(task)
    return config({key: float(f"{number:.3g}") for key, number in best.items()}, counts)


def moved(
    values: Values, keys: Sequence[tuple[str, int]], factor: float, settings: Mapping[str, Setting]
) -> Values:
    """Values of which some are multiplied by a factor, within their limits."""
    limits = {key: settings[key[0]] for key in keys}
    return values | {key: min(max(values[key] * factor, limits[key].low), limits[key].high) for key in keys}


def config(values: Values, counts: Mapping[str, int]) -> dict[str, Any]:
    """Settings as the constructor takes them: a list where there is one for each of several surface fields."""
    return {
        name: values[name, 0] if count == 1 else [values[name, i] for i in range(count)]
        for name, count in counts.items()
        if count
    }


def rmse(first_guess: FirstGuess, samples: Sequence[Sample], std: np.ndarray) -> float:
    """Root of the mean squared leave-one-out error over all observations, in units of the field."""
    squares = count = 0.0
    for sample in samples:
        errors, _ = first_guess.leave_one_out(*arguments(sample))
        squares += float(np.square(errors * std[:, None, None]).sum())
        count += float(sample["observed_mask"].sum())
    return math.sqrt(squares / count)


def crps(first_guess: FirstGuess, samples: Sequence[Sample], std: np.ndarray) -> float:
    """Mean leave-one-out CRPS of the Gaussian forecasts, in units of the field."""
    total = count = 0.0
    for sample in samples:
        errors, variances = first_guess.leave_one_out(*arguments(sample))
        seen = sample["observed_mask"]
        score = gaussian_crps(errors[seen], np.sqrt(variances[seen]))
        total += float((score * np.broadcast_to(std[:, None, None], seen.shape)[seen]).sum())
        count += float(seen.sum())
    return total / count


def residuals(first_guess: FirstGuess, samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squared errors over unobserved ocean cells and their count for each depth, standardised, (D,)."""
    squares, counts = [], []
    for sample in samples:
        guess, _ = first_guess(*arguments(sample))
        hidden = sample["ocean_mask"] & ~sample["observed_mask"]
        squares.append(np.square(np.where(hidden, guess - sample["target"], 0.0)).sum(axis=(1, 2)))
        counts.append(hidden.sum(axis=(1, 2)))
    return np.sum(squares, axis=0), np.sum(counts, axis=0)


def report(first_guess: FirstGuess, samples: Mapping[str, Sequence[Sample]], data: OceanDataModule) -> None:
    """Print the RMSE over unobserved ocean cells, by depth and in all, beside that of the training mean."""
    std, units = data.standardization.std, data.field.units
    table = Table(title=f"RMSE over unobserved ocean cells, {units}")
    for name in ["depth", *(f"{name}, {what}" for name in samples for what in ("mean", "first guess"))]:
        table.add_column(name, justify="right")
    columns = []
    for patches in samples.values():
        for guess in (_training_mean, first_guess):
            squares, count = residuals(guess, patches)  # type: ignore[arg-type]
            whole = math.sqrt((squares * std**2).sum() / count.sum())
            columns.append([*(np.sqrt(squares / np.maximum(count, 1)) * std), whole])
    for row, depth in enumerate([*(f"{depth:g} m" for depth in data.depths), "all"]):
        table.add_row(depth, *(f"{column[row]:.3f}" for column in columns))
    Console().print(table)


def write(
    path: Path, given: Mapping[str, Any], settings: Mapping[str, Setting], about: Sequence[str]
) -> None:
    """Write an option of the config group model/first_guess, beside its place and then into it."""
    lines = [f"# {line}" for line in about]
    for name, value in given.items():
        comment = f"  # {settings[name].meaning}" if name in settings else ""
        lines.append(f"{name}: {'null' if value is None else value}{comment}")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("\n".join(lines) + "\n")
    unfinished.replace(path)


def arguments(sample: Sample) -> list[np.ndarray]:
    """What a first guess is called with, from a sample of the data contract."""
    return [sample[name] for name in ARGUMENTS]


def _training_mean(observations: np.ndarray, *_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(observations), np.ones_like(observations)

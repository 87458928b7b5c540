"""Fits the settings of a first guess by cross-validation over the observed columns of training patches."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset, Subset

from depthdif import UserError
from depthdif.files import near, write_text
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.optimal_interpolation import OptimalInterpolation
from depthdif.first_guess.protocol import FirstGuess, PatchData
from depthdif.scores.probabilistic import gaussian_crps
from depthdif.terminal import command, print_lines, progress_bar

if TYPE_CHECKING:
    from depthdif.data.datamodule import OceanDataModule
    from depthdif.data.dataset import Sample


@dataclasses.dataclass(frozen=True)
class Setting:
    """Start and limits of the search for a setting, and its meaning; `each_surface`: one value for each surface field."""

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


def rmse(first_guess: FirstGuess, patches: PatchData, std: np.ndarray) -> float:
    """Root of the mean squared leave-one-out error over all observations, in units of the field.

    `std` (C,) is the standard deviation of each channel in these units.
    """
    misfit, _ = first_guess.leave_one_out(patches)
    squares = misfit.square().sum(dim=(0, 2, 3)) @ torch.from_numpy(std).square()
    return math.sqrt(float(squares) / int(patches.observed_mask.sum()))


def crps(first_guess: FirstGuess, patches: PatchData, std: np.ndarray) -> float:
    """Mean leave-one-out CRPS of the Gaussian forecasts over all observations, in units of the field."""
    misfit, variance = first_guess.leave_one_out(patches)
    observed = patches.observed_mask.numpy()
    scores = gaussian_crps(misfit.numpy()[observed], np.sqrt(variance.numpy()[observed]))
    return float((scores * std[np.nonzero(observed)[1]]).mean())


# The estimate is fitted by its RMSE, then the settings that scale the error variance alone by the CRPS.
Score = Callable[[FirstGuess, PatchData, np.ndarray], float]
STAGES: dict[type, list[tuple[dict[str, Setting], Score]]] = {
    InverseDistance: [(IDW, rmse)],
    OptimalInterpolation: [(OI_ESTIMATE, rmse), (OI_ERROR, crps)],
}


def fit_first_guess(cfg: DictConfig, overrides: Sequence[str]) -> float:
    """Fit `cfg.model.first_guess` to the training region of `cfg.data`, write it, and return its RMSE.

    The validation region takes no part in the fit; it is scored once at the end. `cfg` is `conf/fit_first_guess.yaml`
    as Hydra composes it; the overrides of the command line go to the header of the file.

    Raises:
        UserError: a first guess without settings to fit, an unknown setting in `fixed`, or fewer than one patch.
    """
    _check(cfg)
    stages = STAGES[get_class(cfg.model.first_guess._target_)]
    options = dict(OmegaConf.to_container(cfg.model.first_guess, resolve=True))  # type: ignore[arg-type]
    starts = {
        name: item.start for settings, _ in stages for name, item in settings.items() if name not in cfg.fixed
    }
    # The data measure what the first guess needs of them.
    data: OceanDataModule = instantiate(cfg.data, _partial_=True)(first_guess=instantiate(options | starts))
    data.setup()
    samples = data.train_dataloader().dataset
    patches = PatchData.from_batch(data.collate([samples[draw] for draw in range(cfg.patches)]))
    std = scale_of_scores(data)
    for settings, score in stages:

        def score_settings(values: Mapping[str, Any], score: Score = score) -> float:
            return score(instantiate({**options, **values}), patches, std)

        free = {name: setting for name, setting in settings.items() if name not in cfg.fixed}
        options.update(search(free, score_settings, data.surface_channels))
    fitted: FirstGuess = instantiate(options)
    error = rmse(fitted, patches, std)
    # An option of the config group model/first_guess, each setting with its meaning.
    lines = [
        f"# Fitted by: {command('fit_first_guess')} {' '.join(overrides)}".rstrip(),
        f"# Leave-one-profile-out cross-validation over {cfg.patches} training patches of "
        f"{' and '.join(variable.name for variable in data.variables)} (data.seed={cfg.data.seed}):",
        f"# RMSE {error:.4f} {units_of_scores(data)}, CRPS {crps(fitted, patches, std):.4f}.",
    ]
    comments = {name: f"  # {item.meaning}" for name, item in (IDW | OI_ESTIMATE | OI_ERROR).items()}
    comments["background"] = "  # mean_profile, or climatology with data/climatology=seasonal"
    comments["regressions"] = (
        "  # on the surface and between levels, over the training region: prior slopes, gaps of profiles"
    )
    comments["cross_covariance"] = "  # levels between variables too"
    for name, value in options.items():
        lines.append(f"{name}: {'null' if value is None else value}{comments.get(name, '')}")
    write_text(Path(cfg.output), "\n".join(lines) + "\n")
    # The report is on 64 training patches of which none is used for the fit.
    later, validation = Subset(samples, range(cfg.patches, cfg.patches + 64)), data.validation_samples()
    report(fitted, {"training": later, "validation": validation}, data)
    print_lines(Console(), f"written: {near(cfg.output)}")
    return error


def search(
    settings: Mapping[str, Setting], score: Callable[[dict[str, Any]], float], surface_fields: int
) -> dict[str, Any]:
    """The values of least score, to three digits, by a compass search over their logarithms, by name."""
    counts = {name: surface_fields if setting.each_surface else 1 for name, setting in settings.items()}
    best: dict[tuple[str, int], float] = {
        (name, i): settings[name].start for name in settings for i in range(counts[name])
    }

    def arguments(values: Mapping[tuple[str, int], float]) -> dict[str, Any]:
        """Settings as the constructor takes them: a list for several surface fields."""
        lists = {name: [values[name, i] for i in range(count)] for name, count in counts.items() if count}
        return {name: numbers[0] if len(numbers) == 1 else numbers for name, numbers in lists.items()}

    def moved(keys: Sequence[tuple[str, int]], factor: float) -> dict[tuple[str, int], float]:
        limits = {key: (settings[key[0]].low, settings[key[0]].high) for key in keys}
        return best | {key: float(np.clip(best[key] * factor, *limits[key])) for key in keys}

    scales = [key for key in best if key[0].endswith("_scale")]
    # The scales also move together, because one compensates for another.
    groups = [[key] for key in best] + ([scales] if len(scales) > 1 else [])
    # Each setting is multiplied and divided by these, coarse ones first.
    factors = (2.0, 1.4, 1.2, 1.1, 1.05)
    with progress_bar() as progress:
        task = progress.add_task("fitting", total=len(factors))
        least = score(arguments(best))
        for factor in factors:
            improved = True
            while improved:
                improved = False
                for keys, step in itertools.product(groups, (factor, 1 / factor)):
                    # A direction that improves the score is followed to its end.
                    while (value := score(arguments(trial := moved(keys, step)))) < least * (1 - 1e-6):
                        best, least, improved = trial, value, True
                        progress.update(task, description=f"fitting, score {least:.4f}")
            progress.advance(task)
    return arguments({key: float(f"{value:.3g}") for key, value in best.items()})


def scale_of_scores(data: OceanDataModule) -> np.ndarray:
    """(C,) standard deviation of each channel in the units of the scores: of several variables these have no units."""
    return np.ones(data.channels) if data.field.further else data.standardization.std


def units_of_scores(data: OceanDataModule) -> str:
    """Units of the scores: those of a single variable."""
    return "standard deviations" if data.field.further else data.field.units


def _check(cfg: DictConfig) -> None:
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


def report(first_guess: FirstGuess, samples: Mapping[str, Dataset[Sample]], data: OceanDataModule) -> None:
    """Print the RMSE over unobserved ocean cells, by depth and over all depths, beside that of the training mean."""
    std = scale_of_scores(data)
    table = Table(title=f"RMSE over unobserved ocean cells, {units_of_scores(data)}")
    table.add_column("depth", justify="right")
    columns = []
    for name, part in samples.items():
        squares, count = np.zeros((2, len(std))), np.zeros(len(std))
        for batch in DataLoader(part, data.batch_size, collate_fn=data.collate):
            hidden = batch["target_mask"] & ~batch["observed_mask"]
            count += hidden.sum(dim=(0, 2, 3)).numpy()
            for i, estimate in enumerate((0.0, first_guess(PatchData.from_batch(batch)).estimate)):
                error = torch.where(hidden, estimate - batch["target"], 0).double()
                squares[i] += error.square().sum(dim=(0, 2, 3)).numpy()
        for label, sums in zip(("mean", "first guess"), squares * std**2, strict=True):
            table.add_column(f"{name}, {label}", justify="right")
            columns.append([*np.sqrt(sums / np.maximum(count, 1)), math.sqrt(sums.sum() / count.sum())])
    names = [f"{variable.name} " if data.field.further else "" for variable in data.variables]
    levels = [f"{name}{depth:g} m" for name in names for depth in data.depths]
    for row, depth in enumerate([*levels, "all"]):
        table.add_row(depth, *(f"{column[row]:.3f}" for column in columns))
    Console().print(table)

"""RMSE and CRPS of a trained model against evaluations of the network, for the samplers of diffusers.

    python benchmarks/benchmark_sampler.py checkpoint=runs/DATE_TIME/checkpoints/last.ckpt

Every sampler of benchmark_sampler.yaml reconstructs the same patches from the same noise. See docs/samplers.md.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from diffusers.utils.logging import set_verbosity_error
from hydra.utils import instantiate
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from depthdif import UserError
from depthdif.checkpoints.trained_run import TrainedRun, device_of, open_trained
from depthdif.command_line import with_run_overrides
from depthdif.config_folder import CONF
from depthdif.diffusion.ensemble import Ensemble, independent_members
from depthdif.diffusion.reconstruction import reconstruct
from depthdif.diffusion.sampler import ReverseSampler, is_stochastic
from depthdif.evaluation.evaluator import first_patches
from depthdif.evaluation.tally import Truth
from depthdif.figures.panel import display_units, save_figure
from depthdif.files import near, write_csv
from depthdif.scores.score_names import variant_label
from depthdif.terminal import print_lines, progress_bar
from depthdif.training import silence_libraries

# What the schedulers of diffusers raise for a prediction type that they do not take, or too few steps.
SCHEDULER_ERRORS = (ValueError, IndexError, AssertionError, RuntimeError, ArithmeticError, ImportError)
SCORES = {
    "rmse": "RMSE of a sample",
    "rmse_mean": "RMSE of the mean of {members}",
    "crps": "CRPS of {members}",
}
NOT_FINITE, UNSTABLE = "not finite", "unstable"
# A chain whose RMSE is so many times the smallest one has left the data.
UNSTABLE_RATIO = 10.0
# Evaluations that count as few.
FEW = 10
TABLE_WIDTH = 120


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A sampler with a spacing of its time steps; `scheduler` makes it from the config of the noise schedule."""

    sampler: str
    spacing: str
    scheduler: Callable[..., Any]

    @property
    def name(self) -> str:
        """Such as `ddim, trailing`."""
        return f"{self.sampler}, {self.spacing}"


@dataclasses.dataclass(frozen=True)
class Point:
    """Scores of a candidate over the unobserved ocean cells, in units of the field.

    Attributes:
        candidate: which sampler.
        limit: evaluations of the network that a sample may take.
        evaluations: that it took.
        steps: `model.sampler.steps`.
        rmse: of a single sample; the squared errors of all members are averaged.
        rmse_mean: of the mean of the ensemble.
        crps: fair estimate from the ensemble.
        spread: root of the squared error that the ensemble predicts for its mean.
        seconds: wall time for one sample of one patch.
        fault: why there are no scores, "" where there are.
    """

    candidate: Candidate
    limit: int
    evaluations: int = 0
    steps: int = 0
    rmse: float = np.nan
    rmse_mean: float = np.nan
    crps: float = np.nan
    spread: float = np.nan
    seconds: float = np.nan
    fault: str = ""


class SamplerBenchmark:
    """Reconstructs fixed validation patches of a trained run with other samplers.

    Args:
        run: with its weights loaded.
        patches: the first so many of the validation set.
        ensemble_size: samples of each patch; the CRPS needs two independent ones.
        batch_size: patches reconstructed at a time.
        seed: of the noise, the same for every sampler.

    Raises:
        UserError: fewer than two independent samples, more patches than the validation set has.
    """

    def __init__(
        self, run: TrainedRun, patches: int, ensemble_size: int, batch_size: int, seed: int = 0
    ) -> None:
        self.trained = run.module.sampler
        if independent_members(ensemble_size, self.trained.antithetic) < 2:
            raise UserError(
                f"ensemble_size={ensemble_size}: the CRPS needs two independent members, and of antithetic pairs one "
                "is independent; set ensemble_size=4"
            )
        self.run, self.ensemble_size, self.seed = run, ensemble_size, seed
        samples = first_patches(run.data, patches)
        loader = DataLoader(samples, batch_size=batch_size, collate_fn=run.data.collate)
        statistics = run.data.standardization
        self.batches = [(batch, Truth.from_batch(batch, statistics)) for batch in loader]
        # What is wrong with the model or its data is raised here, and a device warms up.
        self.reconstruct(self.batches[0][0])

    def reconstruct(self, batch: Mapping[str, torch.Tensor]) -> Ensemble:
        """The ensemble of a batch with the sampler that is in the module, in the precision of the run."""
        return reconstruct(self.run.module, batch, self.run.data.standardization, self.run.precision)

    def point(self, candidate: Candidate, limit: int) -> Point:
        """Scores with at most `limit` evaluations of the network for each sample."""
        started = time.perf_counter()
        try:
            self.run.module.sampler, evaluations = self.sampler(candidate, limit)
            ensembles = [self.reconstruct(batch) for batch, _ in self.batches]
        except torch.OutOfMemoryError:
            raise
        except SCHEDULER_ERRORS as error:
            return Point(candidate, limit, fault=" ".join(f"{type(error).__name__}: {error}".split()))
        samples = self.ensemble_size * sum(len(truth.values) for _, truth in self.batches)
        seconds = (time.perf_counter() - started) / samples
        steps = self.run.module.sampler.steps
        return self.scored(Point(candidate, limit, evaluations, steps, seconds=seconds), ensembles)

    def sampler(self, candidate: Candidate, limit: int) -> tuple[ReverseSampler, int]:
        """The sampler with the most steps that take at most `limit` evaluations, and how many they take.

        The chain evaluates the network once for each entry of the scheduler's time steps: a step of Heun has two.
        """
        module = self.run.module
        for steps in range(limit, 0, -1):
            # All else as trained: clamping, inflation, pairs where the chain is deterministic. Not noise that is correlated in
            # time, which stochastic chains refuse.
            sampler = copy.copy(self.trained)
            sampler.time_correlated_noise = None
            sampler.scheduler, sampler.steps = candidate.scheduler, steps
            sampler.seed, sampler.ensemble_size, sampler.antithetic = self.seed, self.ensemble_size, False
            scheduler = sampler.prepared_scheduler(module.noise_schedule, module.device)
            if len(scheduler.timesteps) <= limit:
                sampler.antithetic = self.trained.antithetic and not is_stochastic(scheduler)
                return sampler, len(scheduler.timesteps)
        raise ValueError(f"takes more than {limit} evaluations")

    def scored(self, point: Point, ensembles: Sequence[Ensemble]) -> Point:
        """The point with the scores of the ensembles of all batches."""
        sums, count = np.zeros(4), 0
        for ensemble, (_, truth) in zip(ensembles, self.batches, strict=True):
            if not ensemble.is_finite(truth.ocean):
                return dataclasses.replace(point, fault=NOT_FINITE)
            errors = np.square(ensemble.members - truth.values[:, None], dtype=np.float64).mean(axis=1)
            mean_error = np.square(ensemble.mean - truth.values, dtype=np.float64)
            fields = (errors, mean_error, ensemble.variance(), ensemble.crps(truth.values))
            sums += [field[truth.scored].sum() for field in fields]
            count += int(truth.scored.sum())
        rmse, rmse_mean, spread = np.sqrt(sums[:3] / count).tolist()
        crps = float(sums[3] / count)
        return dataclasses.replace(point, rmse=rmse, rmse_mean=rmse_mean, crps=crps, spread=spread)

    def first_guess_rmse(self) -> float | None:
        """RMSE of the first guess on the same cells, which a sample has to beat; None without a first guess."""
        square, count = 0.0, 0
        for batch, truth in self.batches:
            if "first_guess" not in batch:
                return None
            guess = self.run.data.standardization.restore(batch["first_guess"].numpy())
            square += float(np.square(guess - truth.values, dtype=np.float64)[truth.scored].sum())
            count += int(truth.scored.sum())
        return float(np.sqrt(square / count))


def with_unstable(points: Sequence[Point]) -> list[Point]:
    """The points; one whose RMSE is far above the smallest one gets a fault that says so, and keeps its scores."""
    best = min((point.rmse for point in points if not point.fault), default=np.nan)
    return [
        dataclasses.replace(point, fault=UNSTABLE)
        if not point.fault and point.rmse > UNSTABLE_RATIO * best
        else point
        for point in points
    ]


def by_candidate(points: Sequence[Point]) -> dict[Candidate, list[Point]]:
    """The points of each candidate, by rising limit."""
    groups: dict[Candidate, list[Point]] = {point.candidate: [] for point in points}
    for point in sorted(points, key=lambda point: point.limit):
        groups[point.candidate].append(point)
    return groups


def fewest_evaluations(points: Sequence[Point], score: str, tolerance: float) -> int:
    """Evaluations from which on each of the `points`, in rising order, is at most `tolerance` above the last one."""
    limit = (1 + tolerance) * getattr(points[-1], score)
    fewest = points[-1].evaluations
    for point in reversed(points):
        # A lucky crossing at fewer evaluations does not count.
        if point.fault or getattr(point, score) > limit:
            break
        fewest = point.evaluations
    return fewest


def best_point(points: Sequence[Point], most: int = FEW) -> Point | None:
    """The lowest CRPS, a proper score of error and spread at once, with at most so many evaluations; None without any."""
    within = [point for point in points if not point.fault and point.evaluations <= most]
    return min(within, key=lambda point: point.crps, default=None)


def score_table(points: Sequence[Point], score: str, members: int, units: str) -> Table:
    """One score of each candidate against the limit of evaluations; `*` marks the best of a column."""
    limits = sorted({point.limit for point in points})
    table = Table(title=f"{SCORES[score].format(members=members)}, {units}, by evaluations of the network")
    table.add_column("sampler, spacing", no_wrap=True)
    best = {}
    for limit in limits:
        table.add_column(str(limit), justify="right", no_wrap=True)
        values = [getattr(point, score) for point in points if point.limit == limit and not point.fault]
        best[limit] = min(values, default=np.nan)

    def cell(point: Point) -> str:
        if point.fault:
            return point.fault if point.fault in (UNSTABLE, NOT_FINITE) else "-"
        fewer = f"({point.evaluations})" if point.evaluations != point.limit else ""
        value = getattr(point, score)
        return f"{fewer}{value:.3f}{'*' if value == best[point.limit] else ' '}"

    for candidate, curve in by_candidate(points).items():
        table.add_row(candidate.name, *map(cell, curve))
    return table


def convergence_table(points: Sequence[Point], tolerance: float) -> Table:
    """Of each candidate the scores at the most evaluations, and from how many on they stay within the tolerance above."""
    table = Table(
        title=f"At the most evaluations, and (from how many on a score is at most {100 * tolerance:g} % above)"
    )
    table.add_column("sampler, spacing", no_wrap=True)
    for column in ("RMSE", "of mean", "CRPS", "spread/skill", f"RMSE at {FEW} / this", "ms each"):
        table.add_column(column, justify="right", no_wrap=True)
    curves = [curve for curve in by_candidate(points).values() if not curve[-1].fault]
    for curve in sorted(curves, key=lambda curve: curve[-1].crps):
        last = curve[-1]
        scores = [
            f"{getattr(last, score):.3f} ({fewest_evaluations(curve, score, tolerance)})" for score in SCORES
        ]
        few = [point.rmse for point in curve if not point.fault and point.evaluations <= FEW]
        table.add_row(
            last.candidate.name,
            *scores,
            f"{last.spread / last.rmse_mean:.2f}",
            f"{few[-1] / last.rmse:.3f}" if few else "-",
            f"{1e3 * last.seconds / last.evaluations:.2f}",
        )
    return table


def summary(points: Sequence[Point], tolerance: float) -> str:
    """How many candidates converge with few evaluations, and which one is best there."""
    curves = [curve for curve in by_candidate(points).values() if not curve[-1].fault]
    quick = sum(fewest_evaluations(curve, "rmse", tolerance) <= FEW for curve in curves)
    line = f"{quick} of {len(curves)} samplers have with {FEW} evaluations the RMSE of their most within {100 * tolerance:g} %"
    best = best_point(points)
    if best is None:
        return line
    return (
        f"{line}; lowest CRPS with at most {FEW}: {best.candidate.name}, model.sampler.steps={best.steps} "
        f"({best.evaluations} evaluations), CRPS {best.crps:.3f}, RMSE {best.rmse:.3f}, of the mean {best.rmse_mean:.3f}, "
        f"spread/skill {best.spread / best.rmse_mean:.2f}"
    )


def fault_lines(points: Sequence[Point]) -> list[str]:
    """One line for each candidate and kind of failure, with its first message."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        if point.fault:
            groups.setdefault((point.candidate.name, point.fault.partition(":")[0]), []).append(point)
    return [
        f"{name} at {', '.join(str(point.limit) for point in failed)}: {failed[0].fault}"
        for (name, _), failed in groups.items()
    ]


def best_spacings(points: Sequence[Point]) -> list[list[Point]]:
    """The curve of each sampler with the spacing of the lowest CRPS at few evaluations."""
    best: dict[str, tuple[float, list[Point]]] = {}
    for candidate, curve in by_candidate(points).items():
        point = best_point(curve) or best_point(curve, curve[-1].limit)
        if point is not None and point.crps < best.get(candidate.sampler, (np.inf, []))[0]:
            best[candidate.sampler] = (point.crps, curve)
    return [curve for _, curve in best.values()]


def curves_figure(
    points: Sequence[Point], members: int, units: str, title: str, first_guess_rmse: float | None = None
) -> Figure:
    """Each score against evaluations, a line for each sampler with its best spacing; dotted: the first guess."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    limits = sorted({point.limit for point in points})
    axes = figure.subplots(1, len(SCORES))
    for axis, (score, heading) in zip(axes, SCORES.items(), strict=True):
        values = draw_curves(axis, best_spacings(points), score)
        if score != "crps" and first_guess_rmse is not None:
            axis.axhline(first_guess_rmse, color="0.3", linewidth=1.2, linestyle=":", label="first guess")
            values.append(first_guess_rmse)
        if values:
            # Curves that are far worse leave the panel at the top.
            low, middle = min(values), float(np.median(values))
            axis.set_ylim(low - 0.1 * (middle - low) - 0.01 * low, min(max(values), 2.5 * middle) * 1.02)
        axis.set_xscale("log")
        axis.set_xticks(limits, [str(limit) for limit in limits])
        axis.minorticks_off()
        axis.set_xlabel("evaluations of the network for each sample")
        axis.set_title(f"{heading.format(members=members)} ({units})", fontsize=10)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=6)
    return figure


def draw_curves(axis: Axes, curves: Sequence[Sequence[Point]], score: str) -> list[float]:
    """A line for each curve, failures left out; returns what is shown."""
    shown = []
    for number, curve in enumerate(curves):
        points = [point for point in curve if not point.fault]
        values = [getattr(point, score) for point in points]
        axis.plot(
            [point.evaluations for point in points],
            values,
            marker="osD^v<>"[number % 7],
            linestyle=("-", "--")[number // 10 % 2],
            color=f"C{number % 10}",
            markersize=4,
            linewidth=1.2,
            label=curve[0].candidate.name,
        )
        shown += values
    return shown


def candidates_from(cfg: DictConfig) -> list[Candidate]:
    """Each sampler of the config with each of its spacings."""
    return [
        Candidate(str(name), spacing, instantiate(sampler.scheduler, **cfg.spacings[spacing]))
        for name, sampler in cfg.samplers.items()
        for spacing in sampler.spacings
    ]


def benchmark(cfg: DictConfig) -> list[Point]:
    """Measure every sampler of the config, write `samplers.csv` and `samplers.png`, print the tables."""
    silence_libraries()
    set_verbosity_error()  # A scheduler warns about every setting that it does not know.
    run = open_trained(cfg)
    variant = run.load(cfg.weights)
    run.module.to(device_of(cfg.accelerator))
    folder, console = Path(cfg.output_dir), Console()
    console.width = max(console.width, TABLE_WIDTH)
    candidates, limits = candidates_from(cfg), sorted(set(cfg.evaluations))
    measured = SamplerBenchmark(run, cfg.patches, cfg.ensemble_size, cfg.batch_size, cfg.seed)
    points: list[Point] = []
    with progress_bar(console) as progress:
        task = progress.add_task("", total=sum(limits) * len(candidates))
        for candidate in candidates:
            progress.update(task, description=candidate.name)
            for limit in limits:
                points.append(measured.point(candidate, limit))
                progress.advance(task, limit)
    points = with_unstable(points)
    rows = [{**vars(point), **vars(point.candidate)} for point in points]
    columns = ["sampler", "spacing", *(field.name for field in dataclasses.fields(Point)[1:])]
    write_csv(folder / "samplers.csv", [{name: row[name] for name in columns} for row in rows])
    units, first_guess_rmse = display_units(run.data.field.units), measured.first_guess_rmse()
    title = f"{variant_label(variant)} weights, {cfg.patches} patches, unobserved ocean cells"
    figure = curves_figure(points, cfg.ensemble_size, units, title, first_guess_rmse)
    picture = save_figure(figure, folder / "samplers.png")
    for score in SCORES:
        console.print(score_table(points, score, cfg.ensemble_size, units))
    console.print(convergence_table(points, cfg.tolerance))
    lines = fault_lines(points)
    if first_guess_rmse is not None:
        lines.append(f"first guess: RMSE {first_guess_rmse:.3f} {units} on the same cells")
    lines += [summary(points, cfg.tolerance), f"{title}: {near(folder / 'samplers.csv')}, {near(picture)}"]
    print_lines(console, *lines)
    return points


@hydra.main(version_base="1.3", config_path=".", config_name="benchmark_sampler")
def main(cfg: DictConfig) -> None:
    benchmark(cfg)


if __name__ == "__main__":
    OmegaConf.register_new_resolver("depthdif_conf", lambda: str(CONF))
    sys.argv[1:] = with_run_overrides(sys.argv[1:])
    main()

"""The benchmark of samplers, from a trained run to tables, CSV and figure: a table of contents."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from diffusers.utils.logging import set_verbosity_error
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from depthdif.data.datamodule import OceanDataModule
from depthdif.diffusion.module import DiffusionModule
from depthdif.evaluation.sampler_benchmark import (
    SCORES,
    Candidate,
    Point,
    SamplerBenchmark,
    with_unstable_named,
)
from depthdif.evaluation.sampler_report import (
    curves_figure,
    fault_lines,
    score_table,
    verdict_line,
    verdict_table,
    write_csv,
)
from depthdif.figures.panel import display_units, save_figure

# A table that is folded cannot be read; a file has no width.
TABLE_WIDTH = 120


class Run(Protocol):
    """A trained run, as `depthdif.checkpoints.trained_run.open_trained` gives it."""

    @property
    def data(self) -> OceanDataModule:
        """With the statistics of the checkpoint."""

    @property
    def module(self) -> DiffusionModule:
        """As trained."""

    def load(self, which: str | float = "auto") -> str:
        """Put weights of the checkpoint into the module; returns which."""


def benchmark_sampler(cfg: DictConfig, run: Run, device: torch.device) -> list[Point]:
    """Measure every sampler of `conf/benchmark_sampler.yaml`, write `samplers.csv` and `samplers.png`, print the tables.

    Raises:
        ValueError: bad input, before any work starts.
    """
    evaluations = checked_evaluations(list(cfg.evaluations))
    candidates = candidates_of(cfg)
    weights = run.load(cfg.weights)
    set_verbosity_error()  # A scheduler says of every setting that it does not know it.
    folder, console = Path(cfg.output_dir), Console()
    console.width = max(console.width, TABLE_WIDTH)
    folder.mkdir(parents=True, exist_ok=True)
    points: list[Point] = []
    with bar(console) as progress:
        task = progress.add_task("warming up", total=sum(evaluations) * len(candidates))
        benchmark = SamplerBenchmark(
            run.module,
            run.data,
            device,
            **{name: cfg[name] for name in ("patches", "ensemble_size", "batch_size", "seed")},
            advance=lambda count: progress.advance(task, count),
        )
        for candidate in candidates:
            progress.update(task, description=candidate.name)
            points += benchmark.curve(candidate, evaluations)
            write_csv(with_unstable_named(points), folder / "samplers.csv")
    points = with_unstable_named(points)
    units = display_units(run.data.field.units)
    title = f"{weights.replace('ema', 'EMA', 1)} weights, {cfg.patches} patches, unobserved ocean cells"
    figure = curves_figure(points, cfg.ensemble_size, units, title, benchmark.first_guess_rmse)
    picture = save_figure(figure, folder / "samplers.png")
    for score in SCORES:
        console.print(score_table(points, score, cfg.ensemble_size, units))
    console.print(verdict_table(points, cfg.tolerance))
    lines = fault_lines(points)
    if benchmark.first_guess_rmse is not None:
        lines.append(f"first guess: RMSE {benchmark.first_guess_rmse:.3f} {units} on the same cells")
    lines += [verdict_line(points, cfg.tolerance), f"{title}: {folder / 'samplers.csv'}, {picture}"]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return points


def checked_evaluations(evaluations: list[int]) -> list[int]:
    """The evaluations in rising order; ValueError for none, or for any below 1."""
    if not evaluations or any(not isinstance(count, int) or count < 1 for count in evaluations):
        raise ValueError(
            f"evaluations={evaluations}; expected integers of at least 1, e.g. evaluations=[2,4,10,50]"
        )
    return sorted(set(evaluations))


def candidates_of(cfg: DictConfig) -> list[Candidate]:
    """Each sampler of the config with each of its spacings.

    Raises:
        ValueError: no sampler, or a spacing that the config does not know.
    """
    found = []
    for name, sampler in (cfg.samplers or {}).items():
        for spacing in sampler.spacings:
            if spacing not in cfg.spacings:
                raise ValueError(
                    f"samplers.{name}.spacings names {spacing}; expected some of {', '.join(cfg.spacings)}, e.g. "
                    f"samplers.{name}.spacings=[trailing]"
                )
            found.append(
                Candidate(str(name), spacing, instantiate(sampler.scheduler, **cfg.spacings[spacing]))
            )
    if not found:
        raise ValueError("samplers is empty; expected at least one, as in conf/benchmark_sampler.yaml")
    return found


def bar(console: Console) -> Progress:
    """One bar over all evaluations of the network."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )

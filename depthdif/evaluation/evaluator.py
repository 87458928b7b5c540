"""The work of an evaluation: every method over the same patches and the same observations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from depthdif.data.datamodule import OceanDataModule
from depthdif.data.dataset import Sample, collate
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.precision import fastest_precision
from depthdif.evaluation.baselines import Say, first_guess_forecast, make_baselines, training_mean
from depthdif.evaluation.forecast import Forecast, Truth
from depthdif.evaluation.plan import EvaluationPlan
from depthdif.evaluation.result import MODEL, OI, TRAINING_MEAN, Method, compared
from depthdif.evaluation.tally import Grid, Tally
from depthdif.figures.case import Case, case_of
from depthdif.first_guess.protocol import FirstGuess
from depthdif.scores.bootstrap import resample_counts
from depthdif.scores.score import Scores, over_depths
from depthdif.scores.spectra import WindowSpectra

Batch = dict[str, Tensor]
Tallies = dict[Method, Tally]


class Run(Protocol):
    """A trained run, as `depthdif.checkpoints.trained_run.open_trained` gives it."""

    @property
    def path(self) -> Path: ...
    @property
    def cfg(self) -> DictConfig: ...
    @property
    def data(self) -> OceanDataModule: ...
    @property
    def module(self) -> DiffusionModule: ...
    @property
    def checkpoint(self) -> Mapping[str, Any]: ...
    def load(self, which: str | float = "auto") -> str:
        """Put weights of the checkpoint into the module; ValueError where it does not hold them."""


class Evaluator:
    """Takes each method over the validation patches of a run and keeps sums for each patch.

    Args:
        plan: what to do.
        run: the checkpoint, opened; its module is moved to `device`, its sampler gets seed and ensemble size of the plan.
        device: where to reconstruct.
        say: prints a line.

    Attributes:
        weights: those of the plan that the checkpoint holds.
        counts: (S, P) resamples of the patches, the same for every method.

    Raises:
        ValueError: weights that the checkpoint does not hold, more patches than the validation set has.
    """

    def __init__(self, plan: EvaluationPlan, run: Run, device: torch.device, say: Say) -> None:
        self.plan = plan
        self.run = run
        self.device = device
        self.say = say
        self.weights = held_weights(run, plan.weights, say)
        self.samples = first_patches(run.data, plan.patches)
        self.counts = resample_counts(len(self.samples), plan.bootstrap_samples, plan.seed)
        own: FirstGuess | None = instantiate(run.cfg.model.first_guess)
        self.first_guesses = make_baselines(plan.baselines, own, self.samples[0], say)
        self.grid = grid_of(run.data)
        run.module.to(device)
        run.module.sampler.seed = plan.seed
        self.loaded = ""

    def progress_on(self, console: Console) -> Progress:
        """The bar over all the work; a baseline costs about as much as one sample of the model."""
        plan = self.plan
        each = (
            1
            + plan.ensemble_size * len(self.weights)
            + len(plan.densities) * (1 + plan.density_ensemble_size)
        )
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.progress.add_task("evaluating", total=each * len(self.samples))
        return self.progress

    def baselines(self, samples: Subset[Sample] | None = None) -> tuple[Tallies, Tally]:
        """Tallies of the training mean and the first guesses, and that of the truth, over the validation set."""
        rank_bins = self.plan.ensemble_size + 1
        tallies = {
            method: Tally(self.grid, rank_bins if method in self.first_guesses else 0)
            for method in (TRAINING_MEAN, *self.first_guesses)
        }
        of_truth = Tally(self.grid)
        generator = np.random.default_rng(self.plan.seed)
        for batch, truth in self.batches(samples or self.samples, "baselines", cost=1):
            of_truth.add_truth(truth)
            statistics = self.run.data.standardization
            tallies[TRAINING_MEAN].add(training_mean(batch, statistics), truth, generator)
            for method, first_guess in self.first_guesses.items():
                tallies[method].add(first_guess_forecast(first_guess, batch, statistics), truth, generator)
        return tallies, of_truth

    def model(
        self, weights: str, samples: Subset[Sample] | None = None, members: int | None = None
    ) -> Tallies:
        """Tallies of single samples and of their mean; none where a sample is not finite, which is said."""
        members = members or self.plan.ensemble_size
        self.use(weights)
        independent = (members + 1) // 2 if self.run.module.sampler.antithetic else members
        single, mean = Tally(self.grid), Tally(self.grid, rank_bins=independent + 1)
        generator = np.random.default_rng(self.plan.seed)
        for batch, truth in self.batches(samples or self.samples, f"{weights} weights", cost=members):
            forecast = self.reconstruct(batch, members)
            if not np.isfinite(forecast.members).all():
                self.say(
                    f"the {weights} weights reconstruct values that are not finite: their rows are left out"
                )
                return {}
            single.add_members(forecast, truth)
            if members > 1:
                mean.add(forecast, truth, generator)
        found = {Method(MODEL, weights): single}
        return found | ({Method(MODEL, weights, members): mean} if members > 1 else {})

    def density_curve(self, weights: str) -> dict[float, dict[Method, Scores]]:
        """Scores over all depths at each share of observed columns, of the baselines and one state of the weights."""
        found = {}
        for density in self.plan.densities:
            samples = first_patches(self.run.data, self.plan.patches, density)
            tallies, _ = self.baselines(samples)
            if weights:
                tallies |= self.model(weights, samples, self.plan.density_ensemble_size)
            sums = {method: over_depths(tally.sums) for method, tally in tallies.items()}
            found[density] = {method: scores[0] for method, scores in compared(sums, self.counts).items()}
        return found

    def reconstruct(self, batch: Batch, members: int) -> Forecast:
        """The model on a batch, in the precision of Lightning's validation on this device."""
        module = self.run.module
        module.sampler.ensemble_size = members
        mixed = fastest_precision(self.device.type) == "bf16-mixed"
        on_device = {name: tensor.to(self.device) for name, tensor in batch.items()}
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            samples = module.reconstruct(on_device)
        members_of_field = self.run.data.standardization.restore(samples.float().cpu().numpy())
        return Forecast(members_of_field, antithetic=module.sampler.antithetic)

    def use(self, weights: str) -> None:
        """Have these weights in the module; the file is read only where it holds others."""
        if weights != self.loaded:
            self.loaded = self.run.load(weights)

    def batches(self, samples: Subset[Sample], what: str, cost: int) -> Iterator[tuple[Batch, Truth]]:
        """The samples in their order, with the truth in physical units; `cost` moves the bar for each patch."""
        self.progress.update(self.task, description=what)
        for batch in DataLoader(samples, batch_size=self.plan.batch_size, collate_fn=collate):
            yield batch, Truth.of_batch(batch, self.run.data.standardization)
            self.progress.advance(self.task, cost * len(batch["target"]))

    def case(self, tallies: Tallies, weights: str) -> dict[str, Case]:
        """One patch in full, beside OI: the patch of median error with these weights, by the name of the estimate."""
        if not weights:
            return {}
        self.use(weights)
        best = max(
            (method for method in tallies if method.weights == weights), key=lambda found: found.members
        )
        whole = over_depths(tallies[best].sums)
        error = whole["square"][:, 0] / whole["count"][:, 0]
        middle = int(np.argsort(error)[len(error) // 2])
        sample = collate([self.samples[middle]])
        statistics = self.run.data.standardization
        oi = self.first_guesses.get(OI)
        beside = None if oi is None else first_guess_forecast(oi, sample, statistics).mean[0]
        forecast = self.reconstruct(sample, best.members)
        fields = {best.estimate: forecast.mean[0]} | {Method(MODEL).estimate: forecast.members[0, 0]}
        one = {name: tensor[0] for name, tensor in sample.items()}
        return {
            name: dataclasses.replace(
                case_of(one, field, statistics),
                first_guess=None if beside is None else np.where(one["ocean_mask"], beside, np.nan),
            )
            for name, field in fields.items()
        }

    def chosen(self, tallies: Tallies) -> str:
        """The weights for the density curve and the case: the average of the run, else the last that was scored; "" for none."""
        scored = [method.weights for method in tallies if method.weights]
        return "ema" if "ema" in scored else next(reversed(scored), "")


def held_weights(run: Run, wanted: Sequence[str], say: Say) -> list[str]:
    """Those of the weights wanted that the checkpoint holds; without any average the standard weights alone, which is said.

    Raises:
        ValueError: weights that it does not hold.
    """
    held = []
    for weights in wanted:
        try:
            held.append(run.load(weights))
        except ValueError as error:
            # The default asks for both.
            if weights != "ema" or len(wanted) == 1:
                raise
            say(f"no rows for the EMA weights: {error}")
    return held


def first_patches(data: OceanDataModule, count: int | None, density: float | None = None) -> Subset[Sample]:
    """The first `count` patches of the validation set, or all.

    Raises:
        ValueError: more than it has.
    """
    samples = data.validation_samples(density)
    if count is not None and count > len(samples):
        raise ValueError(
            f"patches={count}, but the validation set has {len(samples)}; for a larger one type "
            f"data.validation_patches={count} instead"
        )
    return Subset(samples, range(count or len(samples)))


def grid_of(data: OceanDataModule) -> Grid:
    """The grid that the patches of `data` are cut from."""
    field = data.field
    return Grid(
        latitude=field.latitude,
        longitude=field.longitude,
        ocean=field.surface_ocean_mask,
        scale=float(data.standardization.std.max()),
        spectra=WindowSpectra.of_grid(data.patch_size, field.latitude, field.longitude),
    )

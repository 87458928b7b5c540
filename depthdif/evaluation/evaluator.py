"""Scores of every method over the same patches and the same observations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from hydra.utils import instantiate
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from depthdif import UserError
from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.data.datamodule import OceanDataModule
from depthdif.data.dataset import Sample, collate
from depthdif.diffusion.ensemble import Ensemble, independent_members
from depthdif.diffusion.reconstruction import reconstruct
from depthdif.evaluation.baselines import Say, first_guess_forecast, make_baselines, training_mean
from depthdif.evaluation.forecast import Truth
from depthdif.evaluation.plan import EvaluationPlan
from depthdif.evaluation.result import MODEL, OI, TRAINING_MEAN, Method, compared
from depthdif.evaluation.tally import Grid, Tally
from depthdif.figures.case import Case, case_of
from depthdif.first_guess.protocol import FirstGuess
from depthdif.scores.score import Scores, over_depths, resample_counts
from depthdif.scores.spectra import WindowSpectra
from depthdif.terminal import progress_bar

Batch = dict[str, Tensor]
Tallies = dict[Method, Tally]


class Evaluator:
    """Scores each method over the validation patches of a run, as sums for each patch.

    Args:
        plan: the settings.
        run: the checkpoint, opened; its module is moved to `device`, its sampler gets seed and ensemble size of the plan.
        device: where to reconstruct.
        say: prints a line.

    Attributes:
        variants: those of the plan that the checkpoint has.
        counts: (S, P) resamples of the patches, the same for every method.

    Raises:
        UserError: a variant that the checkpoint does not have, more patches than the validation set has.
    """

    def __init__(self, plan: EvaluationPlan, run: TrainedRun, device: torch.device, say: Say) -> None:
        self.plan = plan
        self.run = run
        self.say = say
        self.variants = available_variants(run, plan.weights, say)
        self.samples = first_patches(run.data, plan.patches)
        self.counts = resample_counts(len(self.samples), plan.bootstrap_samples, plan.seed)
        own: FirstGuess | None = instantiate(run.cfg.model.first_guess)
        self.first_guesses = make_baselines(plan.baselines, own, self.samples[0], say)
        self.grid = grid_of(run.data)
        run.module.to(device)
        run.module.sampler.seed = plan.seed
        sizes = {"ensemble_size": plan.ensemble_size}
        if plan.densities:
            sizes["density_ensemble_size"] = plan.density_ensemble_size
        for key, size in sizes.items():
            if self.independent(size) < 2:
                say(f"{key}={size} has one independent member: no CRPS and spread of it; set {key}=4 or more")

    def independent(self, members: int) -> int:
        """How many of so many members are independent of each other."""
        return independent_members(members, self.run.module.sampler.antithetic)

    def progress_on(self, console: Console) -> Progress:
        """The bar over all the work; a baseline costs about as much as one sample of the model."""
        plan = self.plan
        each = (
            1
            + plan.ensemble_size * len(self.variants)
            + len(plan.densities) * (1 + plan.density_ensemble_size)
        )
        self.progress = progress_bar(console)
        self.task = self.progress.add_task("evaluating", total=each * len(self.samples))
        return self.progress

    def baselines(self, samples: Subset[Sample] | None = None) -> tuple[Tallies, Tally]:
        """Tallies of the training mean and the first guesses, and that of the truth, over the validation set."""
        # The PIT of a Gaussian is shown in as many bins as the ranks of the ensemble.
        rank_bins = self.plan.ensemble_size + 1
        tallies = {
            method: Tally(self.grid, rank_bins if method in self.first_guesses else 0)
            for method in (TRAINING_MEAN, *self.first_guesses)
        }
        truth_tally = Tally(self.grid)
        generator = np.random.default_rng(self.plan.seed)
        for batch, truth in self.batches(samples or self.samples, "baselines", cost=1):
            truth_tally.add_truth(truth)
            statistics = self.run.data.standardization
            tallies[TRAINING_MEAN].add(training_mean(batch, statistics), truth, generator)
            for method, first_guess in self.first_guesses.items():
                tallies[method].add(first_guess_forecast(first_guess, batch, statistics), truth, generator)
        return tallies, truth_tally

    def model(
        self, variant: str, samples: Subset[Sample] | None = None, members: int | None = None
    ) -> Tallies:
        """Tallies of single samples and of their mean; none, which is said, where a sample is not finite."""
        members = members or self.plan.ensemble_size
        self.run.load(variant)
        single, mean = Tally(self.grid), Tally(self.grid, rank_bins=self.independent(members) + 1)
        generator = np.random.default_rng(self.plan.seed)
        for batch, truth in self.batches(samples or self.samples, f"{variant} weights", cost=members):
            ensemble = self.reconstruct(batch, members)
            if not ensemble.is_finite(truth.ocean):
                self.say(
                    f"the {variant} weights reconstruct values that are not finite: their rows are left out"
                )
                return {}
            single.add_members(ensemble, truth)
            if members > 1:
                mean.add(ensemble, truth, generator)
        tallies = {Method(MODEL, variant): single}
        return tallies | ({Method(MODEL, variant, members): mean} if members > 1 else {})

    def density_curve(self, variant: str) -> dict[float, dict[Method, Scores]]:
        """Scores over all depths at each share of observed columns, of the baselines and one variant."""
        curve = {}
        for density in self.plan.densities:
            samples = first_patches(self.run.data, self.plan.patches, density)
            tallies, _ = self.baselines(samples)
            if variant:
                tallies |= self.model(variant, samples, self.plan.density_ensemble_size)
            sums = {method: over_depths(tally.sums) for method, tally in tallies.items()}
            curve[density] = {method: scores[0] for method, scores in compared(sums, self.counts).items()}
        return curve

    def reconstruct(self, batch: Batch, members: int) -> Ensemble:
        """So many members of each patch, in the precision of the run."""
        run = self.run
        run.module.sampler.ensemble_size = members
        return reconstruct(run.module, batch, run.data.standardization, run.precision)

    def batches(self, samples: Subset[Sample], what: str, cost: int) -> Iterator[tuple[Batch, Truth]]:
        """The samples in their order, with the truth in physical units; `cost` moves the bar for each patch."""
        self.progress.update(self.task, description=what)
        for batch in DataLoader(samples, batch_size=self.plan.batch_size, collate_fn=collate):
            yield batch, Truth.from_batch(batch, self.run.data.standardization)
            self.progress.advance(self.task, cost * len(batch["target"]))

    def case(self, tallies: Tallies, variant: str) -> dict[str, Case]:
        """The patch of median error with this variant, beside OI, for each estimate by its name."""
        if not variant:
            return {}
        self.run.load(variant)
        best = max((method for method in tallies if method.weights == variant), key=lambda row: row.members)
        sums = over_depths(tallies[best].sums)
        error = sums["square"][:, 0] / sums["count"][:, 0]
        median = int(np.argsort(error)[len(error) // 2])
        batch = collate([self.samples[median]])
        statistics = self.run.data.standardization
        oi = self.first_guesses.get(OI)
        guess = None if oi is None else first_guess_forecast(oi, batch, statistics).mean[0]
        ensemble = self.reconstruct(batch, best.members)
        fields = {best.estimate: ensemble.mean[0], Method(MODEL).estimate: ensemble.members[0, 0]}
        sample = {name: tensor[0] for name, tensor in batch.items()}
        first_guess = None if guess is None else np.where(sample["ocean_mask"], guess, np.nan)
        return {
            name: dataclasses.replace(case_of(sample, field, statistics), first_guess=first_guess)
            for name, field in fields.items()
        }


def chosen_variant(tallies: Tallies) -> str:
    """The variant of density curve and case: the average of the run, else the last that was scored; "" without any."""
    scored = [method.weights for method in tallies if method.weights]
    return "ema" if "ema" in scored else next(reversed(scored), "")


def available_variants(run: TrainedRun, variants: Sequence[str], say: Say) -> list[str]:
    """Those of the `variants` that the checkpoint has; a run without EMA has no "ema", which is said.

    Raises:
        UserError: a variant that it does not have.
    """
    available = []
    for variant in variants:
        try:
            available.append(run.load(variant))
        except ValueError as error:
            # The default evaluates both.
            if variant != "ema" or len(variants) == 1:
                raise
            say(f"no rows for the EMA weights: {error}")
    return available


def first_patches(data: OceanDataModule, count: int | None, density: float | None = None) -> Subset[Sample]:
    """The first `count` patches of the validation set, or all.

    Raises:
        UserError: more than it has.
    """
    samples = data.validation_samples(density)
    if count is not None and count > len(samples):
        raise UserError(
            f"patches={count}, but the validation set has {len(samples)}; for a larger one set "
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
        spectra=WindowSpectra.from_grid(data.patch_size, field.latitude, field.longitude),
    )

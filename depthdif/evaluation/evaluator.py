"""Scores of every method over the same patches and the same observations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from depthdif import UserError
from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.data.datamodule import OceanDataModule
from depthdif.data.dataset import Sample, collate
from depthdif.diffusion.ensemble import Ensemble, independent_members
from depthdif.diffusion.reconstruction import reconstruct
from depthdif.evaluation.followed import FLICKER_MEMBERS, SNAPSHOTS, Followed, flickers
from depthdif.evaluation.inversions import InversionCounts
from depthdif.evaluation.plan import EvaluationPlan
from depthdif.evaluation.result import (
    CLIMATOLOGY,
    IDW,
    MODEL,
    OI,
    TRAINING_MEAN,
    TRUTH,
    Method,
    best_method,
    scores_over_depths,
)
from depthdif.evaluation.tally import GaussianForecast, Tally
from depthdif.evaluation.variable import EvaluatedVariable
from depthdif.figures.case import Case, case_of, format_position
from depthdif.first_guess.protocol import FirstGuess, PatchData
from depthdif.scores.score import Scores, over_depths, resample_counts
from depthdif.terminal import command, progress_bar

Array = NDArray[np.floating]
Batch = dict[str, Tensor]
Tallies = dict[Method, Tally]
Say = Callable[[str], None]

BASELINES = {"idw": IDW, "oi": OI}


class Evaluator:
    """Scores each method over the validation patches of a run, as sums for each patch.

    The module of the run is moved to `device`, and its sampler gets seed and ensemble size of the plan. `say` prints a line.

    Attributes:
        variants: those of the plan that the checkpoint has.
        variables: of the run, each scored in its own units.
        inversions: density inversions over the validation set, where there are temperature and salinity.
        counts: (S, P) resamples of the patches, the same for every method.

    Raises:
        UserError: a variant that the checkpoint does not have, more patches than the validation set has.
    """

    def __init__(self, plan: EvaluationPlan, run: TrainedRun, device: torch.device, say: Say) -> None:
        self.plan = plan
        self.run = run
        self.say = say
        self.loaded = ""
        self.variants = self.available_variants()
        self.samples = first_patches(run.data, plan.patches)
        self.counts = resample_counts(len(self.samples), plan.bootstrap_samples, plan.seed)
        own: FirstGuess | None = instantiate(run.cfg.model.first_guess)
        self.first_guesses = make_baselines(plan.baselines, own, self.samples[0], say)
        self.variables = EvaluatedVariable.all_of(run.data)
        self.inversions = InversionCounts(run.data)
        run.module.to(device)
        run.module.sampler.seed = plan.seed
        for key in ("ensemble_size", "density_ensemble_size") if plan.densities else ("ensemble_size",):
            size = getattr(plan, key)
            if self.independent(size) < 2:
                say(f"{key}={size} has one independent member: no CRPS and spread of it; set {key}=4 or more")

    def available_variants(self) -> list[str]:
        """The variants of the plan that the checkpoint has; a line is printed when it has no "ema"."""
        available = []
        for variant in self.plan.weights:
            try:
                available.append(self.load(variant))
            except ValueError as error:
                # The default evaluates both.
                if variant != "ema" or len(self.plan.weights) == 1:
                    raise
                self.say(f"no rows for the EMA weights: {error}")
        return available

    def load(self, variant: str) -> str:
        """Load a variant of the weights into the module, unless it is there already; returns its name."""
        if variant != self.loaded:
            self.loaded = self.run.load(variant)
        return self.loaded

    def independent(self, members: int) -> int:
        """How many of an ensemble of so many members are independent of each other."""
        return independent_members(members, self.run.module.sampler.antithetic)

    def progress_on(self, console: Console) -> Progress:
        """The bar over all the work; a baseline costs about as much as one sample of the model."""
        plan = self.plan
        table = 1 + plan.ensemble_size * len(self.variants)
        density_curve = len(plan.densities) * (1 + plan.density_ensemble_size)
        followed = SNAPSHOTS * plan.ensemble_size * len(self.variables)
        self.progress = progress_bar(console)
        self.task = self.progress.add_task(
            "evaluating", total=(table + density_curve) * len(self.samples) + followed
        )
        return self.progress

    def baselines(self, samples: Subset[Sample] | None = None) -> list[tuple[Tallies, Tally]]:
        """Tallies of training mean, climatology and first guesses, and that of the truth, of each variable over a set of samples.

        None is the validation set, whose density inversions are counted.
        """
        # The PIT of a Gaussian is shown in as many bins as the ranks of the ensemble.
        rank_bins = self.plan.ensemble_size + 1
        has_climatology = self.run.data.statistics.climatology is not None
        tallied: list[tuple[Tallies, Tally]] = []
        for variable in self.variables:
            tallies = {TRAINING_MEAN: Tally(variable.grid)}
            tallies |= {CLIMATOLOGY: Tally(variable.grid)} if has_climatology else {}
            tallies |= {method: Tally(variable.grid, rank_bins) for method in self.first_guesses}
            tallied.append((tallies, Tally(variable.grid)))
        generators = [np.random.default_rng(self.plan.seed) for _ in self.variables]
        for batch in self.batches(samples or self.samples, "baselines", cost=1):
            patches = PatchData.from_batch(batch)
            results = {method: first_guess(patches) for method, first_guess in self.first_guesses.items()}
            estimates: dict[Method, list[Array]] = {}
            for variable, (tallies, of_truth), generator in zip(
                self.variables, tallied, generators, strict=True
            ):
                truth, restore = variable.truth(batch), variable.standardization.restore
                of_truth.add_structure(truth.values[:, None], truth)
                # The mean profile of the training region is 0 in standardised units.
                forecasts = {TRAINING_MEAN: GaussianForecast(restore(np.zeros_like(truth.values)))}
                if has_climatology:
                    background = variable.batch(batch)["background"].numpy()
                    forecasts[CLIMATOLOGY] = GaussianForecast(restore(background))
                forecasts |= {method: variable.forecast(result) for method, result in results.items()}
                for method, forecast in forecasts.items():
                    tallies[method].add(forecast, truth, generator)
                    estimates.setdefault(method, []).append(forecast.mean)
                estimates.setdefault(TRUTH, []).append(np.where(truth.ocean, truth.values, np.nan))
            if samples is None:
                for method, fields in estimates.items():
                    self.inversions.add(method, np.concatenate(fields, axis=1), batch)
        return tallied

    def model(
        self, variant: str, samples: Subset[Sample] | None = None, members: int | None = None
    ) -> list[Tallies]:
        """Tallies of single samples and of their mean, of each variable, over a set of samples, as in `baselines`.

        There are none, and a line is printed, where a sample is not finite.
        """
        members = members or self.plan.ensemble_size
        self.load(variant)
        rank_bins = self.independent(members) + 1
        tallied = [(Tally(each.grid), Tally(each.grid, rank_bins)) for each in self.variables]
        generators = [np.random.default_rng(self.plan.seed) for _ in self.variables]
        one, several = Method(MODEL, variant), Method(MODEL, variant, members)
        for batch in self.batches(samples or self.samples, f"{variant} weights", cost=members):
            ensemble = self.reconstruct(batch, members)
            if not ensemble.is_finite(batch["ocean_mask"].numpy()):
                self.say(
                    f"the {variant} weights reconstruct values that are not finite: their rows are left out"
                )
                self.inversions.drop(one, several)
                return [{} for _ in self.variables]
            for variable, (single, mean), generator in zip(self.variables, tallied, generators, strict=True):
                part, truth = ensemble.part(variable.channels), variable.truth(batch)
                single.add_members(part, truth)
                if members > 1:
                    mean.add(part, truth, generator)
            if samples is None:
                self.inversions.add(one, ensemble.members, batch)
                if members > 1:
                    self.inversions.add(several, ensemble.mean, batch)
        return [{one: single} | ({several: mean} if members > 1 else {}) for single, mean in tallied]

    def density_curve(self, variant: str) -> list[dict[float, dict[Method, Scores]]]:
        """Scores of each variable over all depths at each share of observed columns, of the baselines and one variant."""
        curves: list[dict[float, dict[Method, Scores]]] = [{} for _ in self.variables]
        for density in self.plan.densities:
            samples = first_patches(self.run.data, self.plan.patches, density)
            tallied = [tallies for tallies, _ in self.baselines(samples)]
            if variant:
                of_model = self.model(variant, samples, self.plan.density_ensemble_size)
                tallied = [first | then for first, then in zip(tallied, of_model, strict=True)]
            for curve, tallies in zip(curves, tallied, strict=True):
                curve[density] = scores_over_depths(tallies, self.counts)
        return curves

    def reconstruct(self, batch: Batch, members: int) -> Ensemble:
        """So many members of each patch, in the precision of the run."""
        run = self.run
        run.module.sampler.ensemble_size = members
        return reconstruct(run.module, batch, run.data.standardization, run.precision)

    def batches(self, samples: Dataset[Sample], what: str, cost: int) -> Iterator[Batch]:
        """The samples in their order; `cost` moves the bar for each patch."""
        self.progress.update(self.task, description=what)
        for batch in DataLoader(samples, batch_size=self.plan.batch_size, collate_fn=self.run.data.collate):
            yield batch
            self.progress.advance(self.task, cost * len(batch["target"]))

    def case(self, variable: EvaluatedVariable, tallies: Tallies, variant: str) -> dict[str, Case]:
        """The patch of median error with this variant, beside OI, for each estimate by its name."""
        best = best_method(tallies, variant)
        if best is None:
            return {}
        self.load(variant)
        batch = self.run.data.collate([self.samples[median_patch(tallies[best])]])
        ensemble = self.reconstruct(batch, best.members).part(variable.channels)
        fields = {best.estimate: ensemble.mean, Method(MODEL).estimate: ensemble.members[:, 0]}
        return {name: self.cases(variable, batch, field)[0] for name, field in fields.items()}

    def cases(
        self, variable: EvaluatedVariable, batch: Batch, reconstruction: Array, member: Array | None = None
    ) -> list[Case]:
        """Each patch of a batch with its reconstruction and a member of it (B, D, H, W); the first guess is OI, if any."""
        statistics = variable.standardization
        guesses: Sequence[Array | None] = [None] * len(reconstruction)
        if OI in self.first_guesses:
            guess = variable.forecast(self.first_guesses[OI](PatchData.from_batch(batch))).mean
            guesses = list(np.where(variable.batch(batch)["ocean_mask"].numpy(), guess, np.nan))
        batch, cases = variable.batch(batch), []
        for patch, field in enumerate(reconstruction):
            sample = {name: tensor[patch] for name, tensor in batch.items()}
            case = case_of(sample, field, statistics, None if member is None else member[patch])
            cases.append(dataclasses.replace(case, first_guess=guesses[patch]))
        return cases

    def followed(self, variable: EvaluatedVariable, tallies: Tallies, variant: str) -> Followed | None:
        """The patch of `case` at consecutive times; None, and a line is printed, where the region has too few."""
        best = best_method(tallies, variant)
        if best is None:
            return None
        samples = self.run.data.consecutive_samples(median_patch(tallies[best]), SNAPSHOTS)
        if samples is None:
            self.say(
                f"no followed case: the validation region has no {SNAPSHOTS} consecutive times of a patch"
            )
            return None
        self.load(variant)
        sampler, days = self.run.module.sampler, self.run.module.sampler.time_correlated_noise
        batches, members, independent = [], [], []
        for batch in self.batches(samples, "followed patch", cost=best.members):
            batches.append(batch)
            members.append(self.reconstruct(batch, best.members).part(variable.channels).members)
            if days is not None:
                sampler.time_correlated_noise = None
                apart = self.reconstruct(batch, FLICKER_MEMBERS).part(variable.channels)
                independent.append(apart.members)
                sampler.time_correlated_noise = days
        ensemble = np.concatenate(members).swapaxes(0, 1)
        mean = ensemble.mean(axis=0)
        estimates = {"one member": ensemble[:FLICKER_MEMBERS]}
        if independent:
            estimates["one member, independent noise"] = np.concatenate(independent).swapaxes(0, 1)
        if best.members > 1:
            estimates["ensemble mean"] = mean
        batch = {name: torch.cat([part[name] for part in batches]) for name in batches[0]}
        cases = self.cases(variable, batch, mean, ensemble[0] if best.members > 1 else None)
        if OI in self.first_guesses:
            estimates["OI"] = np.stack([case.first_guess for case in cases if case.first_guess is not None])
        truth = np.stack([case.truth for case in cases])
        dates = [str(np.datetime64(day, "D")) for day in batch["time"].tolist()]
        place = format_position(*batch["coordinates"][0].tolist())
        return Followed(cases, dates, place, flickers(estimates, truth))


def median_patch(tally: Tally) -> int:
    """Number of the patch of median squared error."""
    sums = over_depths(tally.sums)
    error = sums["square"][:, 0] / sums["count"][:, 0]
    return int(np.argsort(error)[len(error) // 2])


def make_baselines(
    configs: Mapping[str, Any], own: FirstGuess | None, sample: Sample, say: Say
) -> dict[Method, FirstGuess]:
    """The first guesses to compare with: `own`, which the run was trained with, for its kind, else that of `configs`.

    One that fails on the `sample`, because it was fitted to other surface fields, is left out.
    """
    baselines: dict[Method, FirstGuess] = {}
    for name, config in configs.items():
        method, configured = BASELINES[name], instantiate(config)
        if own is not None and type(own) is type(configured):
            baselines[method] = own
            if own != configured:
                say(f"{method.label}: with the settings of the run, not those of baselines.{name}")
            continue
        try:
            configured(PatchData.from_batch(collate([sample])))
        except UserError as error:
            say(f"{method.label} is left out, it cannot be made for these data: {error}")
            continue
        baselines[method] = configured
        if own is None:
            say(
                f"{method.label}: with the settings of baselines.{name}, because the run has no first guess; fit "
                f"others with {command('fit_first_guess')} model/first_guess={name}"
            )
    return baselines


def first_patches(data: OceanDataModule, count: int | None, density: float | None = None) -> Subset[Sample]:
    """The first `count` patches of the validation set, or all; a UserError where it has fewer."""
    samples = data.validation_samples(density)
    if count is not None and count > len(samples):
        raise UserError(
            f"patches={count}, but the validation set has {len(samples)}; for a larger one set "
            f"data.validation_patches={count} instead"
        )
    return Subset(samples, range(count or len(samples)))
